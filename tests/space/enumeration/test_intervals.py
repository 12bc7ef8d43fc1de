from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.runtime.test_expressions import LEAF, arithmetic
from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import Expression
from tuner.space.enumeration.intervals import RANGES, Interval, may_hold

A = np.array([-3, 0, 1, 2, 5])
K = 4


def ranged(text: str, b: list[int]) -> Any:
    """What is known of a text when `a` is a column and `b` may be any of its values."""
    with np.errstate(divide="raise", invalid="ignore", over="ignore"):
        return Expression(text).evaluate({"a": A, "b": Interval.over(b), "K": K}, RANGES)


def outside(text: str, b: list[int], known: Any) -> list[tuple[Any, ...]]:
    """The values of a text that are not in the range that is known of it."""
    low, high = (known.low, known.high) if isinstance(known, Interval) else (known, known)
    found = []
    for a, lower, upper in np.broadcast(A, low, high):
        for choice in b:
            try:
                value = Expression(text).evaluate({"a": int(a), "b": choice, "K": K})
            except TunerError:  # a division by zero
                continue
            if not (np.isnan(lower) or np.isnan(upper) or lower <= value <= upper):
                found.append((a, choice, value, lower, upper))
    return found


@given(
    arithmetic(LEAF, "+ - * // % / < <= > >= == != and or"),
    st.lists(st.integers(-5, 5), min_size=1, max_size=4),
)
@example("a % b", [2, 3])
@example("b % K", [-1, 5])
@example("a // b", [1, 2])
@example("a ** b", [0, 1])
@example("b * b - K", [-2, 3])
@example("not (a < b and b < K)", [1, 2, 3])
@example("min(a, b) + max(a, b, K)", [1, 2])
@example("round_up(b, K) - ceil_div(a, b)", [1, 7])
@example("(b > a) * K", [1, 2])
def test_a_range_holds_every_value(text: str, b: list[int]) -> None:
    try:
        known = ranged(text, b)
    except TunerError:
        assume(False)
    assert outside(text, b, known) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a * b <= 4", [True, True, True, True, False]),
        ("a + b == 3", [False, False, True, True, False]),
        ("b - a < 0", [False, False, False, True, True]),
        ("not a <= b", [False, False, False, True, True]),
        ("b in (7, a)", [False, False, True, True, False]),
        ("b not in (7, a)", [True] * 5),
        ("a > 4 or b > 2", [False, False, False, False, True]),
        ("a > 0 and b < 3", [False, False, True, True, True]),
        ("max(a, b) < 2", [True, True, True, False, False]),
        ("10 // b > 4 * a", [True, True, True, True, False]),
        ("2 ** b + a <= 3", [True, True, True, False, False]),
    ],
)
def test_what_cannot_hold_is_seen(text: str, expected: list[bool]) -> None:
    assert np.broadcast_to(may_hold(ranged(text, [1, 2])), 5).tolist() == expected


def test_of_texts_nothing_is_known() -> None:
    values = {"word": Interval.over(["x", "y"]), "a": A, "letter": np.array(["x"] * 5)}
    for text in (
        "word == 'x'",
        "word != letter",
        "letter in (word, 'z')",
        "word not in ('x', 'y')",
    ):
        assert may_hold(Expression(text).evaluate(values, RANGES)).all()
    assert not may_hold(Expression("word == 'x' and a > 9").evaluate(values, RANGES)).any()


def test_numbers_beyond_the_exact_ones_are_not_trusted() -> None:
    values = {"b": Interval.over([2**30, 2**31])}
    product = Expression("b * b").evaluate(values, RANGES)
    assert (product.low, product.high) == (2.0**53, np.inf)
