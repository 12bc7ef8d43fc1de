from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.neuron.packages import write_machine, write_python, write_sdk
from tuner.backends.neuron.doctor import BROKEN, NOTE, OK, Finding
from tuner.job import Diagnosis, diagnose, doctor
from tuner.process import Finished


def named(found: Diagnosis) -> dict[str, Finding]:
    return {f"{finding.topic}/{finding.name}": finding for finding in found.findings}


def test_what_works_here(tmp_path: Path) -> None:
    found = diagnose(write_python(tmp_path), results=str(tmp_path / "no" / "results"))
    assert found.simulator
    assert found.timings == ()
    ours = [finding for finding in found.findings if not finding.topic.startswith("Neuron")]
    assert [finding for finding in ours if finding.state != OK] == []
    assert "(simulated), numbers right" in named(found)["simulator/a kernel"].told
    assert "no/results/local/nki-tuner.sqlite3 can be written" in (
        named(found)["this machine/results folder"].told
    )
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


def test_a_neuron_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_simulate", "_deadline", "_memory_limit", "_orphans"):
        monkeypatch.setattr(doctor, name, lambda: "not looked at")
    write_machine(tmp_path, monkeypatch)
    found = diagnose(write_python(tmp_path, write_sdk(tmp_path / "packages")))
    assert found.timings == ("nrtpy",)
    assert named(found)["Neuron timing/nrtpy"].state == OK


def test_a_simulator_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SHAPE", "M=128,K=128")
    found = doctor._checked("simulator", "a kernel", doctor._simulate)
    assert found.state == BROKEN
    assert found.told.startswith("matmul needs a size for N")


@pytest.mark.parametrize("check", ["_deadline", "_memory_limit"])
def test_limits_that_do_not_hold_are_told(monkeypatch: pytest.MonkeyPatch, check: str) -> None:
    def run(*_: object, **__: object) -> Finished:
        return Finished("exit", 0, "", "", 0.0)

    monkeypatch.setattr(doctor, "run", run)
    found = doctor._checked("isolation", "x", getattr(doctor, check))
    assert found.state == BROKEN
    assert found.told.endswith(": exit")


def test_a_results_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    found = doctor._checked("x", "y", lambda: doctor._database("/proc/results"))
    assert found.state == BROKEN
    assert "/proc" in found.told


def test_code_that_cannot_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.neuroncore.compiled._cache_folder", lambda: None)
    found = doctor._compiled_code()
    assert found.state == NOTE
    assert "XDG_CACHE_HOME" in found.mend


@pytest.mark.slow
def test_ray_is_started_when_asked(ray_session: None) -> None:
    found = doctor._ray(start=True)
    assert found.state == OK
    assert " ran a task, in " in found.told
