"""Options of backend "neuron" on a machine made of small stand-ins."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.backends.neuron.packages import (
    PLACEHOLDER,
    write_machine,
    write_package,
    write_python,
    write_sdk,
)
from tuner.cli import cli
from tuner.job import Job, prepare
from tuner.job.batches.reading import read_jobs
from tuner.job.neuron import deadlines, neuron_options
from tuner.job.settings import NEURON_OPTIONS, other_options
from tuner.runtime.errors import TunerError

SHAPE = "M=256,K=512,N=1024"


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An interpreter with the packages of SDK 2.32, on a trn2."""
    write_machine(tmp_path, monkeypatch)
    return write_python(tmp_path, write_sdk(tmp_path / "packages"))


def refused(**settings: Any) -> str:
    with pytest.raises(TunerError) as error:
        prepare(Job("matmul", SHAPE, backend="neuron", **settings))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_defaults_are_those_of_a_job() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Job)}
    assert {name: defaults[name] for name in NEURON_OPTIONS} == NEURON_OPTIONS


def test_studies_of_other_backends_have_none_of_them() -> None:
    prepared = prepare(Job("matmul", SHAPE))
    assert not set(NEURON_OPTIONS) & set(prepared.problem.options)
    assert "python" not in prepared.info.command


def test_interpreters_are_paths_that_hold_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = write_python(tmp_path)
    monkeypatch.chdir(tmp_path)
    job = Job("matmul", SHAPE, backend="neuron", nki_python="./python", nrtpy_python="python3")
    options = neuron_options(job)
    assert options["nki_python"] == python
    assert Path(options["nrtpy_python"]).is_absolute()
    assert options["beta1_python"] is None


def test_the_phases_have_room_for_all_programs_of_the_backend() -> None:
    simulated = Job("matmul", SHAPE, timeout_s=5.0)
    assert deadlines(simulated) == (5.0, None)
    measured = Job("matmul", SHAPE, backend="neuron", timeout_s=5.0, repeats=20)
    limits = neuron_options(measured)
    phase_s, compile_s = deadlines(measured)
    assert compile_s is not None
    assert compile_s > limits["compile_timeout_s"] == 600.0
    assert phase_s > limits["compile_timeout_s"] + 2 * limits["timeout_s"]
    many = Job("matmul", SHAPE, backend="neuron", timeout_s=90.0, compile_timeout_s=60.0)
    assert deadlines(many)[0] > many.repeats * 90.0
    assert neuron_options(many)["compile_timeout_s"] == 60.0
    beta1 = Job("matmul", SHAPE, backend="neuron", timing="beta1", repeats=20)
    assert deadlines(beta1)[0] > 20 * 600.0  # each sample compiles
    assert deadlines(dataclasses.replace(beta1, timing="nrtpy"))[0] < 20 * 600.0


@pytest.mark.parametrize("name", ["trn1", "trn3"])
def test_a_device_of_another_machine_is_refused(python: str, name: str) -> None:
    told = refused(device=name, nki_python=python)
    assert told.startswith(f"device {name}: this machine is trn2: ")


def test_first_generation_machines_are_refused_with_the_new_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_machine(tmp_path, monkeypatch, "trn1.2xlarge")
    python = write_python(tmp_path, write_sdk(tmp_path / "packages"))
    told = refused(device="trn1", nki_python=python)
    assert told.startswith("device trn1: nki 0.6.0 does not support trn1 and inf2 on hardware")
    assert "SDK 2.28" in told


def test_a_placeholder_is_told_before_what_is_missing_besides(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    write_package(packages, "nki", "0.0.1", "nki", PLACEHOLDER)
    python = write_python(tmp_path, packages)
    told = refused(nki_python=python)
    assert told.startswith(f"nki 0.0.1 of {python}: a placeholder from the public package index; ")


def test_nothing_can_be_timed_without_packages(tmp_path: Path) -> None:
    told = refused(nki_python=write_python(tmp_path))
    assert told.startswith("nothing here can time kernels: nrtpy is not installed; ")


def test_a_command_and_a_batch_hold_them(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"nki_python": "a b/python", "timing": "spike-host"}
    settings |= {"lnc": 2, "exclusive_hbm": True}
    job = Job("matmul", SHAPE, backend="neuron", **settings)
    words = ["matmul", "--shape", SHAPE, *other_options(job, ("kernel", "shape"))]
    parent = cli.make_context("nki-tuner", ["tune"], resilient_parsing=True)
    read = cli.commands["tune"].make_context("tune", words, parent)
    assert {name: read.params[name] for name in settings} == settings
    table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    entry = f'[[jobs]]\nkernel = "matmul"\nshape = "{SHAPE}"\nbackend = "neuron"\n{table}\n'
    (tmp_path / "jobs.toml").write_text(entry)
    jobs = read_jobs(tmp_path / "jobs.toml", {}).listed
    assert [listed.job for listed in jobs] == [job]
