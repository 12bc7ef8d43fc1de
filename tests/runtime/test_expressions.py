from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import MAX_DEPTH, MAX_TEXT, Expression, round_up
from tuner.space.enumeration.columns import COLUMNS


def python_value(text: str, values: dict[str, Any]) -> Any:
    """What Python makes of a text that this file generated."""
    functions = {
        "min": min,
        "max": max,
        "ceil_div": lambda a, b: -(-a // b),
        "round_up": lambda a, b: -(-a // b) * b,
    }
    return eval(text, {"__builtins__": {}}, {**functions, **values})


def arithmetic(leaf: st.SearchStrategy[str], operators: str) -> st.SearchStrategy[str]:
    """Texts over operators, calls, and conditions as 0 or 1; some brackets are left out."""

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        bracketed = inner.map(lambda text: f"({text})")
        side = inner | bracketed
        return st.one_of(
            st.tuples(side, st.sampled_from(operators.split()), side).map(" ".join),
            st.tuples(bracketed, st.sampled_from(("** 2", "** 1", "** 0"))).map(" ".join),
            bracketed.map(lambda text: f"-{text}"),
            bracketed.map(lambda text: f"(not {text})"),
            st.tuples(bracketed, st.sampled_from(("<", "<=", "==", "!=", ">", ">=")), bracketed)
            .map(" ".join)
            .map(lambda text: f"({text})"),
            st.tuples(st.sampled_from(("min", "max", "ceil_div", "round_up")), inner, inner).map(
                lambda call: f"{call[0]}({call[1]}, {call[2]})"
            ),
        )

    return st.recursive(leaf, grow, max_leaves=8)


SMALL = st.integers(-5, 5)
LEAF = st.sampled_from(("a", "b", "K")) | st.integers(0, 5).map(str)


@given(arithmetic(LEAF, "+ - * // % /"), SMALL, SMALL, SMALL)
def test_arithmetic_is_that_of_python(text: str, a: int, b: int, K: int) -> None:
    values = {"a": a, "b": b, "K": K}
    expression = Expression(text)
    try:
        expected = python_value(text, values)
    except ArithmeticError:
        with pytest.raises(TunerError, match="cannot be evaluated"):
            expression.evaluate(values)
    else:
        assert repr(expression.evaluate(values)) == repr(expected)


CONDITION = st.recursive(
    st.sampled_from(
        ("a < b", "a != b < K", "a in (1, b, 3)", "a not in [K, 2]", "w in ('x', 'y')")
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(("and", "or")), inner).map(" ".join),
        inner.map(lambda text: f"not {text}"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=6,
)


@given(CONDITION, SMALL, SMALL, SMALL, st.sampled_from("xyz"))
def test_conditions_are_those_of_python(text: str, a: int, b: int, K: int, w: str) -> None:
    values = {"a": a, "b": b, "K": K, "w": w}
    assert Expression(text).evaluate(values) is python_value(text, values)


@given(
    arithmetic(LEAF, "+ - * // % /") | CONDITION,
    st.lists(st.tuples(SMALL, SMALL, st.sampled_from("xyz")), min_size=1, max_size=6),
    SMALL,
)
def test_a_column_gives_what_each_row_gives(
    text: str, rows: list[tuple[int, int, str]], K: int
) -> None:
    expression = Expression(text)
    try:
        expected = [expression.evaluate({"a": a, "b": b, "w": w, "K": K}) for a, b, w in rows]
    except TunerError:
        assume(False)
    columns: dict[str, Any] = {
        name: np.array(column) for name, column in zip("abw", zip(*rows, strict=True), strict=True)
    }
    actual = np.broadcast_to(expression.evaluate({**columns, "K": K}, COLUMNS), len(rows))
    assert actual.tolist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2**e", [1, 2, 4, 2**62]), ("e**2", [0, 1, 4, 62**2]), ("True + (e < 2)", [2, 2, 1, 1])],
)
def test_columns_count_and_raise_to_powers(text: str, expected: list[int]) -> None:
    columns = {"e": np.array([0, 1, 2, 62])}
    assert Expression(text).evaluate(columns, COLUMNS).tolist() == expected


@pytest.mark.parametrize("text", ["2**e", "e**65", "e**-1", "9**e", "e**e"])
def test_a_power_that_no_column_holds_is_an_error(text: str) -> None:
    with pytest.raises(TunerError):
        Expression(text).evaluate({"e": np.array([1, 63])}, COLUMNS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ceil_div(7, 2)", 4),
        ("ceil_div(-7, 2)", -3),
        ("round_up(129, 128)", 256),
        ("min(3, 1, 2) + max(1, 2)", 3),
        ("device.partitions * 2", 256),
        ("(K > 1) * 3 + (K > 9)", 3),
        ("-2 ** 2", -4),
        ("a\n  + 1", 6),
    ],
)
def test_values(text: str, expected: int) -> None:
    assert Expression(text).evaluate({"a": 5, "K": 4, "device.partitions": 128}) == expected


def test_round_up_is_for_python_too() -> None:
    assert [round_up(n, 4) for n in (1, 4, 5)] == [4, 4, 8]


def test_names_are_listed_with_their_dots() -> None:
    assert Expression("min(M, device.banks) + M").names == {"M", "device.banks"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "device.a.b",
        "a.b(1, 2)",
        "print(1, 2)",
        "__import__('os')",
        "min(*a)",
        "min(a, b, key=c)",
        "lambda: 1",
        "[x for x in a]",
        "a[0]",
        "f'{a}'",
        "(a := 1)",
        "a in b",
        "a in {1, 2}",
        "a\0b",
        "'\ud800'",
        "a < 4 # four\n and b < 4",
        "(" * 500 + "1" + ")" * 500,
        "-" * (MAX_TEXT - 1) + "1",
        "1" + "+1" * (MAX_DEPTH + 1),
        "1 " + "+ 1" * MAX_TEXT,
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_nothing_else_is_an_expression(text: str) -> None:
    with pytest.raises(TunerError, match=r"^here: .*") as caught:
        Expression(text, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "1 // 0",
        "2 ** -1",
        "((9**64)**64)**64 > 0",
        "'a' * 9**15",
        "'%999999999d' % 1",
        "'a' < 1",
        "min(1, 'a')",
        "missing",
    ],
)
def test_what_cannot_be_evaluated_is_one_line(text: str) -> None:
    with pytest.raises(TunerError) as caught:
        Expression(text).evaluate({"tiles": 1})
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_name_names_the_nearest() -> None:
    with pytest.raises(TunerError, match="unknown name 'tile_m'; did you mean tiles_m"):
        Expression("tile_m > 1").evaluate({"tiles_m": 1, "K": 2})


WORDS = "a b.c 0 1 9 64 1e9 'x' '%d' in not and or min( max( ceil_div( lambda if else f' := ** //"
TOKENS = st.sampled_from([*WORDS.split(), *"()[]{},:+-*/%<=.\\#\n\0"])


def value_or_error(text: str) -> Any:
    try:
        return Expression(text).evaluate({"a": 3, "b.c": "x"})
    except TunerError as error:
        return error


@settings(max_examples=300)
@given(st.text(max_size=40) | st.lists(TOKENS, max_size=30).map(" ".join))
def test_any_text_parses_and_evaluates_or_is_a_tuner_error(text: str) -> None:
    result = value_or_error(text)
    assert isinstance(result, TunerError | bool | int | float | complex | str)
    if isinstance(result, TunerError):
        assert "\n" not in str(result)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9**9**9", "a power has more than 4096 bits|exponent"),
        ("((a**64)**64)**64", "a power has more than 4096 bits"),
        ("*".join(["a**64"] * 50), "a product has more than 4096 bits"),
        ("round_up(a**64 * a**64, a**64 * a**63 * a**6)", "a product has more than 4096 bits"),
        ("0x" + "f" * 9000, "a number has more than 4096 bits"),
        ("9" * 5000, "4300 digits"),
        ("(0 - a)**0.5", "a root of a negative number"),
        ("(" * 300 + "a" + ")" * 300, "is not an expression"),
        ("not " * 300 + "a", "nested deeper than"),
        ("a < " + "1" * 20_001, "longer than 20000"),
    ],
)
def test_an_expression_may_not_grow_without_limit(text: str, why: str) -> None:
    with pytest.raises(TunerError, match=why):
        Expression(text).evaluate({"a": 2**31 - 1})
