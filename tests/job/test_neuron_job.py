"""Whole jobs on the neuron backend, with the fake of AWS's SDK."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.backends.neuron.fake import Fake, machine
from tests.backends.small_kernel import SHAPE, write_space
from tuner.backends import Status
from tuner.database import Store
from tuner.job import Outcome, tune


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return machine(tmp_path / "sdk", monkeypatch)


def run(space_file: Path, tmp_path: Path, fake: Fake, **settings: Any) -> Outcome:
    pythons = {n: v for n, v in fake.options.items() if n in ("nki_python", "nrtpy_python")}
    chosen = {"ray": "serial", "trials": 4, "repeats": 2, "remeasure": 2, "prior": "none"}
    return tune(
        str(space_file),
        SHAPE,
        backend="neuron",
        results=str(tmp_path / "results"),
        **{**pythons, **chosen, **settings},
    )


@pytest.mark.slow
def test_a_job_finds_the_fastest_and_checks_it(tmp_path: Path, fake: Fake) -> None:
    outcome = run(write_space(tmp_path), tmp_path, fake)
    assert (outcome.kind, outcome.trials, outcome.failures) == ("measured", 4, {})
    assert outcome.best is not None
    assert outcome.best.verified
    assert outcome.best.figures["metric"] == "device_time_us"
    with Store(str(tmp_path / "results")) as store:
        (study,) = store.studies()
    assert study.info.fingerprint["versions"]["nki"] == "0.6.0"


@pytest.mark.slow
def test_wrong_configs_are_found_on_the_device(tmp_path: Path, fake: Fake) -> None:
    space = write_space(tmp_path, faults=("none", "element"))
    outcome = run(space, tmp_path, fake, verify="all", trials=6)
    assert set(outcome.failures) == {Status.CORRECTNESS.value}
    assert outcome.best is not None
    assert outcome.best.config["fault"] == "none"


@pytest.mark.slow
def test_an_interrupted_job_goes_on(tmp_path: Path, fake: Fake) -> None:
    space = write_space(tmp_path)
    run(space, tmp_path, fake, trials=2)
    outcome = run(space, tmp_path, fake, trials=4, resume=True)
    assert (outcome.trials, outcome.measured) == (4, 2)
    compiled = [line for line in fake.log() if "columns" in line]
    assert len(compiled) == len(set(compiled)) >= 4  # the checks are of smaller tensors


@pytest.mark.slow
def test_a_job_on_ray_compiles_and_times_in_different_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    theirs = ray.is_initialized()
    fake = machine(tmp_path / "sdk", monkeypatch, private=True, cores=4)
    tools = fake.folder / "neuron" / "bin"  # where workers find them: they know no fake
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NEURON_RT_VISIBLE_CORES", "2-3")
    outcome = run(write_space(tmp_path), tmp_path, fake, ray="local", workers=2, trials=6)
    assert (outcome.trials, outcome.failures) == (6, {})
    assert outcome.best is not None
    assert outcome.best.verified
    assert outcome.best.figures["compiled_by"] == "framework"
    ran = {line for line in fake.log() if line.startswith("runs")}
    first, second = (0, 1) if theirs else (2, 3)  # a Ray that was there before numbers them itself
    assert f"runs on {first}" in ran
    assert ran <= {f"runs on {first}", f"runs on {second}"}
