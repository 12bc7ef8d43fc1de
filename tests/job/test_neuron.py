"""Options of backend "neuron" on a machine made of small stand-ins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.backends.neuron.packages import write_machine, write_package, write_python, write_sdk
from tuner.job import Job
from tuner.job.neuron import neuron_options
from tuner.job.settings import NEURON_OPTIONS
from tuner.neuroncore import device
from tuner.runtime.errors import TunerError

SHAPE = "M=256,K=512,N=1024"


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An interpreter with the packages of SDK 2.32, on a trn2."""
    write_machine(tmp_path, monkeypatch)
    return write_python(tmp_path, write_sdk(tmp_path / "packages"))


def options(backend: str = "neuron", name: str = "trn2", **settings: Any) -> dict[str, Any]:
    job = Job("matmul", SHAPE, device=name, backend=backend, **settings)
    return neuron_options(job, device(name))


def test_the_defaults_are_those_of_a_job() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Job)}
    assert {name: defaults[name] for name in NEURON_OPTIONS} == NEURON_OPTIONS


def test_other_backends_get_none() -> None:
    assert options("simulator") == {}


def test_the_way_of_timing_is_settled_on_this_machine(python: str) -> None:
    expected = {**NEURON_OPTIONS, "nki_python": python, "timing": "nrtpy", "lnc": 2}
    assert options(nki_python=python, lnc=2, ray="serial") == expected


def test_interpreters_are_paths_that_hold_in_any_folder(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = options(nki_python="./python", nrtpy_python="python3", ray="10.0.0.1:6379")
    assert found["nki_python"] == python
    assert Path(found["nrtpy_python"]).is_absolute()
    assert found["beta1_python"] is None


def test_of_a_cluster_nothing_is_settled_here() -> None:
    assert options(ray="10.0.0.1:6379") == NEURON_OPTIONS


@pytest.mark.parametrize("name", ["trn1", "trn3"])
def test_a_device_of_another_machine_is_refused(python: str, name: str) -> None:
    with pytest.raises(TunerError) as error:
        options(name=name, nki_python=python)
    assert str(error.value) == (
        f"device {name} does not agree with this machine, of family trn2: use --device trn2"
    )


def test_first_generation_machines_are_refused_with_the_new_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_machine(tmp_path, monkeypatch, "trn1.2xlarge")
    new = write_python(tmp_path, write_sdk(tmp_path / "packages"))
    with pytest.raises(TunerError, match=r"nki 0\.6\.0 does not support trn1: .* SDK 2\.28"):
        options(name="trn1", nki_python=new)
    write_package(tmp_path / "old", "neuronx-cc", "2.23.1", "neuronxcc.nki", "benchmark = 1\n")
    old = write_python(tmp_path, tmp_path / "old", "old-python")
    found = options(name="trn1", nki_python=new, beta1_python=old)
    assert (found["timing"], found["beta1_python"]) == ("beta1", old)
