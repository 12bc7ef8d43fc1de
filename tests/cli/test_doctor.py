from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.backends.neuron.packages import (
    PLACEHOLDER,
    write_machine,
    write_package,
    write_python,
    write_sdk,
)
from tests.cli.console import Call
from tuner.job import doctor

INDEX = "comes only from AWS's Neuron package index (https://pip.repos.neuron.amazonaws.com)"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what has nothing to do with Neuron and takes seconds."""
    for name in ("_simulate", "_deadline", "_memory_limit", "_orphans"):
        monkeypatch.setattr(doctor, name, lambda: "not looked at")


def test_placeholders_are_told(call: Call, tmp_path: Path, quick: None) -> None:
    packages = tmp_path / "packages"
    write_package(packages, "nki", "0.0.1", "nki", PLACEHOLDER)
    write_package(packages, "neuronx-cc", "1.0.post1", "neuronx-cc")
    python = write_python(tmp_path, packages)
    for backend, code in (("simulator", 0), ("neuron", 1)):
        said = call("doctor", "--nki-python", python, "--backend", backend)
        assert (said.code, said.err) == (code, "")
        for name in ("nki 0.0.1", "neuronx-cc 1.0.post1"):
            told = f"{name} of {python}: a placeholder from the public package index; "
            assert f"{told}the real {name.split()[0]} {INDEX}" in said.flat
        assert "backend simulator: works; its times are simulated" in said.out
        assert "backend neuron: cannot be used here" in said.out


def test_a_machine_that_can_time_kernels(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    write_machine(tmp_path, monkeypatch)
    python = write_python(tmp_path, write_sdk(tmp_path / "packages"))
    said = call("doctor", "--backend", "neuron", "--nki-python", python)
    assert (said.code, said.err) == (0, "")
    assert "backend neuron: can time kernels with nrtpy; its times are measured" in said.out
    assert "0.6.0 (SDK 2.32)" in said.flat


def test_json(call: Call, tmp_path: Path, quick: None) -> None:
    said = call("doctor", "--json", "--nki-python", write_python(tmp_path))
    assert (said.code, said.err) == (0, "")
    told = json.loads(said.out)
    assert (told["backend"], told["works"]) == ("simulator", True)
    assert (told["simulator"], told["timings"]) == (True, [])
    nki = [finding for finding in told["findings"] if finding["name"] == "nki"]
    assert [finding["state"] for finding in nki] == ["missing"]


def test_a_simulator_that_fails_is_an_exit_code(
    call: Call, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> str:
        raise RuntimeError("no\nway")

    monkeypatch.setattr(doctor, "_simulate", fails)
    said = call("doctor", "--nki-python", write_python(tmp_path))
    assert (said.code, said.err) == (1, "")
    assert "broken no way" in said.flat


@pytest.mark.parametrize(
    ("words", "message"),
    [("--backend neurn", "unknown backend 'neurn'; did you mean neuron"), ("--rai", "--rai")],
)
def test_bad_input(call: Call, words: str, message: str) -> None:
    said = call("doctor", *words.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert message in said.err
    assert said.err.count("\n") == 1
