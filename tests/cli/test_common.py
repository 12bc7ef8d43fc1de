from __future__ import annotations

from typing import Any

import pytest

from tuner.cli.common import microseconds, table, time_of
from tuner.space import parse_params


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("-4", -4), ("0.5", 0.5), ("true", True), ("false", False), ("mnk", "mnk")],
)
def test_a_parameter_is_a_number_a_flag_or_a_word(text: str, value: Any) -> None:
    found = parse_params((f"name={text}",))
    assert repr(found) == repr({"name": value})


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parse_params(("a=b=c",)) == {"a": "b=c"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.34, "12.3 us (simulated)"),
        (9999.9, "9,999.9 us (simulated)"),
        (12345.6, "12.35 ms (simulated)"),
        (None, "failed"),
    ],
)
def test_a_time_has_its_unit_and_its_kind(value: float | None, text: str) -> None:
    assert microseconds(value, "simulated") == text


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({}, "412.3 us (measured)"),
        ({"error_percent": 7.0}, "412.3 us +- 7 % (measured)"),
        ({"samples": 1, "ci_us": None}, "412.3 us (measured)"),
        ({"samples": 12, "ci_us": [409, 415.6]}, "412.3 us +- 0.8 % (measured, median of 12)"),
        (
            {"samples": 12, "ci_us": [409, 415.6], "error_percent": 7.0},
            "412.3 us +- 7 % (measured, median of 12 +- 0.8 %)",
        ),
    ],
)
def test_a_repeated_time_says_of_how_many_it_is_the_median(
    figures: dict[str, Any], text: str
) -> None:
    assert time_of(412.3, "measured", figures) == text
    assert time_of(None, "measured", figures) == "failed"


def test_a_table_prints_texts_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table("a [/] title", ["column"], [["x[0, 1] [red] \\[/red] :smile: [/nothing]"], ["y" * 300]])
    out = capsys.readouterr().out
    assert "a [/] title" in out
    assert "x[0, 1] [red] \\[/red] :smile: [/nothing]" in out
    assert "y" * 300 in out
