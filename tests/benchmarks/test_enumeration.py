from __future__ import annotations

import pytest

from benchmarks.enumeration import one, plain, rows_here, rows_there, rules_of
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import Parameter, Rules

SCOPE = {"K": 100, "device.banks": 8}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ceil_div(K, p) + 1", "-(-100 // p) + 1"),
        ("round_up(p + 1, device.banks)", "-(-(p + 1) // 8) * 8"),
        ("word in ('x', 'y') and min(p, K) > 2", "word in ('x', 'y') and min(p, 100) > 2"),
    ],
)
def test_an_expression_as_plain_python(text: str, expected: str) -> None:
    assert plain(Expression(text), SCOPE) == expected


def test_both_ways_find_as_many_rows() -> None:
    pytest.importorskip("constraint")
    rules, _ = rules_of({"p": [1, 2, 4], "q": [1, 2, 3]}, "p * q <= round_up(K, 3) // 20")
    when = Parameter("word", ("x", "y"), "x", Expression("p > 1"))
    rules = Rules((*rules.parameters, when), rules.constraints)
    assert rows_here(rules, SCOPE) == rows_there(rules, SCOPE)


def test_figures_of_one_space() -> None:
    figures = one("sum 1e9", "tuner")
    assert {"s", "mb", "rows"} == set(figures)
    assert figures["rows"] == 2002  # 14 - 9 = 5 ones spread over ten places: C(14, 5)
