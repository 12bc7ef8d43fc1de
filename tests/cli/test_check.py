from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.console import Call
from tuner import bundled
from tuner.database import export


@pytest.fixture
def table(results: Path, tmp_path: Path) -> Path:
    """A table of three records, two of them stale."""
    export(results, tmp_path / "t.json")
    data = json.loads((tmp_path / "t.json").read_text())
    for record in data["records"][:2]:
        record["fingerprint"]["kernel_hash"] = "old"
    (tmp_path / "t.json").write_text(json.dumps(data))
    return tmp_path / "t.json"


def test_stale_records_are_grouped_by_reason(call: Call, table: Path) -> None:
    said = call("check", str(table))
    command = json.loads(table.read_text())["records"][0]["command"]
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"{table}: 3 records, simulated times: 2 stale",
        "  2 of double: changed since: kernel",
        f"  to make anew: {command} (and 1 more such commands)",
    ]
    assert call("check", str(table), "--strict").code == 1


def test_the_command_of_the_whole_table_is_named(call: Call, table: Path) -> None:
    data = json.loads(table.read_text())
    table.write_text(json.dumps({**data, "command": "nki-tuner batch jobs.toml"}))
    assert call("check", str(table)).out.endswith("  to make anew: nki-tuner batch jobs.toml\n")


def test_fresh_tables_are_a_line_each(call: Call, results: Path, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for path in paths:
        export(results, path)
    said = call("check", *paths, "--strict")
    assert said.code == 0
    told = "3 records, simulated times: none stale"
    assert said.out.splitlines() == [f"{path}: {told}" for path in paths]


def test_without_a_name_it_checks_the_shipped_tables(
    call: Call, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "folder", lambda _: tmp_path)
    assert call("check").out == call("check", str(table)).out
    table.unlink()
    assert (call("check", "--strict").code, call("check").out) == (0, "no tables\n")
