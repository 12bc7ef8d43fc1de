from __future__ import annotations

import json

import pytest

from benchmarks.papi.__main__ import MISSES, WITHIN, main, rows


def test_every_bar_is_met_and_every_known_miss_is_one() -> None:
    found = {row.id: row for row in rows()}
    assert len(found) == 60
    assert {row.word for row in found.values()} == {"PASS", "known miss", ""}
    assert {row.id for row in found.values() if row.word == "known miss"} == set(MISSES)
    assert {found[name].word for name in WITHIN} == {"PASS"}
    assert [row.id for row in found.values() if row.ours["reference"] is None] == ["s32_slo"]


def test_json_has_every_row_with_its_use(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"id", "paper", "ours", "use"} <= set(found[0])


def test_the_table_says_that_it_is_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    printed = capsys.readouterr().out
    assert "(simulated)" in printed
    assert "0 missed" in printed
    with pytest.raises(SystemExit) as ended:
        main(["--jason"])
    assert ended.value.code == 2
