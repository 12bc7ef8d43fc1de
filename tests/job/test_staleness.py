from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import KERNEL
from tests.job.jobs import Tune
from tuner.backends import simulator
from tuner.database import export
from tuner.job import check
from tuner.runtime.errors import TunerError


@pytest.fixture
def table(tune_small: Tune, tmp_path: Path) -> Path:
    """A table with a record of each of two devices."""
    for device in ("trn1", "trn2"):
        tune_small(trials=2, device=device, policy="beta1:2.20", cores_busy=2)
    export(tmp_path / "results", tmp_path / "t.json")
    return tmp_path / "t.json"


def reasons(table: Path) -> list[str]:
    return [stale.why for stale in check(table).stale]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_new_table_is_not_stale(table: Path) -> None:
    found = check(table)
    assert (found.records, found.kinds, found.stale) == (2, ("simulated",), ())


def test_a_changed_kernel_is_named(table: Path, tmp_path: Path) -> None:
    (tmp_path / "double.py").write_text(f"{KERNEL}# a comment\n")
    assert reasons(table) == []
    (tmp_path / "double.py").write_text(KERNEL.replace("buffers=1", "buffers=2"))
    assert reasons(table) == ["changed since: kernel"] * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [("[1, 2, 4]", "[1, 2, 8]"), ('flops = "M*N"', 'flops = "2*M*N"'), ("columns <= N", "1 <= N")],
)
def test_a_changed_search_space_is_named(table: Path, tmp_path: Path, old: str, new: str) -> None:
    edit(tmp_path / "double.toml", old, new)
    assert reasons(table) == ["changed since: search space"] * 2


def test_a_changed_simulator_is_named(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "model_hash", lambda: "another")
    assert reasons(table) == ["changed since: simulator"] * 2


@pytest.mark.parametrize(
    ("name", "word"),
    [("device_hash", "device constants"), ("policy_hash", "compiler policy"), ("new", "new")],
)
def test_what_else_differs_is_named(table: Path, name: str, word: str) -> None:
    data: dict[str, Any] = json.loads(table.read_text())
    data["records"][0]["fingerprint"][name] = "x"
    table.write_text(json.dumps(data))
    found = check(table)
    assert [(s.record.device, s.changed) for s in found.stale] == [
        (data["records"][0]["device"], (word,))
    ]


def test_a_kernel_that_is_gone_is_named(table: Path, tmp_path: Path) -> None:
    (tmp_path / "double.toml").unlink()
    assert reasons(table) == [f"{tmp_path}/double.toml: No such file or directory"] * 2


@pytest.mark.parametrize(
    "command",
    [
        "",
        "rm -r results",
        "nki-tuner tune matmul",
        "nki-tuner tune matmul --shape",
        "nki-tuner tune matmul --shape M=1 --fast 1",
        "nki-tuner tune matmul --shape M=1 --trials many",
        "nki-tuner record matmul --shape M=1",
        "nki-tuner tune 'matmul --shape M=1",
    ],
)
def test_a_command_of_another_kind_is_named(table: Path, command: str) -> None:
    data: dict[str, Any] = json.loads(table.read_text())
    data["records"][0]["command"] = command
    table.write_text(json.dumps(data))
    (stale,) = check(table).stale
    assert stale.error == f"its command is not one of nki-tuner tune: {command!r}"


def test_what_is_no_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"none\.json: No such file"):
        check(tmp_path / "none.json")


def test_interpreters_that_a_table_names_are_not_started(table: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    options = " ".join(f"--{name}-python {program}" for name in ("nki", "nrtpy", "beta1"))
    content = json.loads(table.read_text())
    text = json.dumps(content).replace("--policy beta1:2.20", f"--backend neuron {options}")
    assert options in text
    table.write_text(text)
    assert len(reasons(table)) == 2
    assert not started.exists()
