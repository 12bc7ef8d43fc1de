"""The README's way: tune on local Ray, export, look up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tuner
import tuner.runtime
from tests.cli.console import console
from tuner.runtime import Record

SHAPE = "M=256,K=512,N=1024"
SIZES: dict[str, Any] = {"M": 256, "K": 512, "N": 1024}


def found(table_file: Path) -> Record:
    answer = tuner.runtime.load(table_file).lookup("matmul", **SIZES, dtype="bfloat16")
    assert (answer.match, answer.kind) == ("exact", "simulated")
    assert answer.record is not None
    assert answer.config == answer.record.config
    return answer.record


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_command_line_and_python_find_and_export_the_same(tmp_path: Path) -> None:
    tuned = console(f"tune matmul --shape {SHAPE} --device trn2 --trials 16", cwd=tmp_path)
    assert tuned.code == 0, tuned.err
    assert "best verified yes" in tuned.flat
    exported = console("export results/ -o trn2.json", cwd=tmp_path)
    assert exported.code == 0, exported.err
    record = found(tmp_path / "trn2.json")
    assert (record.trials, record.verified) == (16, True)
    assert record.default_latency_us is not None
    assert record.latency_us <= record.default_latency_us
    looked_up = console(f"lookup trn2.json matmul --shape {SHAPE} --json", cwd=tmp_path)
    assert json.loads(looked_up.out)["config"] == record.config

    folder = tmp_path / "python"
    outcome = tuner.tune("matmul", SHAPE, device="trn2", trials=16, results=str(folder))
    tuner.export(folder, tmp_path / "python.json")
    assert outcome.best is not None
    assert outcome.best.config == record.config
    same = found(tmp_path / "python.json")
    assert same.command == f"{record.command} --results {folder}"
    assert {**vars(same), "command": record.command} == vars(record)
