from __future__ import annotations

import json

import pytest

from benchmarks.papi.__main__ import MISSES, WITHIN, main, rows
from benchmarks.papi.regret import cases, regrets, summary


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


def test_numbers_by_live_requests_beat_one_alpha_and_come_near_the_oracle() -> None:
    found = [regrets(case) for case in cases(["llama-65b"])]
    assert min(min(each.values()) for each in found) >= -1e-9
    told = summary(found)
    mean, _, _ = told["alpha and numbers"]
    assert mean <= 0.01
    for fixed in ("alpha, 4 tokens", "alpha, best number"):
        assert told[fixed][2] >= 1.04


def test_regret_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--regret"])
    assert "72 cases with speculation (simulated)" in capsys.readouterr().out
    main(["--regret", "--json"])
    assert len(json.loads(capsys.readouterr().out)["cases"]) == 72
