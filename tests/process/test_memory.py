from __future__ import annotations

from pathlib import Path

import pytest

from tuner.process import memory


def test_a_machine_has_memory() -> None:
    total = next(
        int(line.split()[1]) << 10
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    assert 0 < memory.machine_bytes() <= total


def test_a_container_has_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, none = tmp_path / "limit", tmp_path / "none"
    limit.write_text("1048576\n")
    none.write_text("max\n")
    monkeypatch.setattr(memory, "_CGROUPS", (str(none), str(tmp_path / "missing"), str(limit)))
    assert memory.machine_bytes() == 1 << 20
