from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.runtime.small_rules import SCOPE, legal_configs, small_rules
from tuner.runtime.rules import Config, Parameter, Rules, Value
from tuner.space import INACTIVE, SearchSpace, neighbourhood


@st.composite
def row_lists(draw: st.DrawFn) -> tuple[list[Parameter], list[tuple[int, ...]]]:
    """Parameters and explicit rows of them, in any order, some values missing."""
    few = st.lists(st.integers(1, 4), min_size=1, max_size=4)
    counts = draw(few.filter(lambda each: prod(each) <= neighbourhood.MAX_SWITCHED_ON))
    optional = [draw(st.booleans()) for _ in counts]
    cells = [
        st.integers(INACTIVE if may else 0, count - 1)
        for count, may in zip(counts, optional, strict=True)
    ]
    rows = draw(st.lists(st.tuples(*cells), min_size=1, max_size=40, unique=True))
    parameters = [
        Parameter(f"p{i}", tuple(range(count)), draw(st.integers(0, count - 1)))
        for i, count in enumerate(counts)
    ]
    return parameters, rows


def changed(a: Config, b: Config) -> list[str]:
    """The parameters that have a value in both, and another one."""
    return [name for name in a if name in b and a[name] != b[name]]


def brute_force(space: SearchSpace, row: int) -> list[int]:
    start = space.config(row)
    return [r for r in range(len(space)) if len(changed(start, space.config(r))) == 1]


def brute_force_adjacent(space: SearchSpace, row: int) -> list[int]:
    """Of a number only the next lower and the next higher one that neighbours have."""
    start = space.config(row)
    ordered = {
        p.name for p, is_ordered in zip(space.parameters, space.ordered, strict=True) if is_ordered
    }
    by_parameter: dict[str, list[int]] = {}
    for other in brute_force(space, row):
        (name,) = changed(start, space.config(other))
        by_parameter.setdefault(name, []).append(other)
    kept: list[int] = []
    for name, rows in by_parameter.items():
        values = {other: space.config(other)[name] for other in rows}
        next_to = next_values(start[name], list(values.values())) if name in ordered else []
        kept += [other for other in rows if name not in ordered or values[other] in next_to]
    return sorted(kept)


def next_values(value: Value, others: Sequence[Value]) -> list[float]:
    numbers = [float(other) for other in others]
    now = float(value)
    return [
        *sorted(other for other in numbers if other > now)[:1],
        *sorted(other for other in numbers if other < now)[-1:],
    ]


def opened(rules: Rules) -> SearchSpace:
    assume(legal_configs(rules, SCOPE))
    return SearchSpace(rules, SCOPE)


@given(small_rules())
def test_neighbours_differ_in_one_parameter_that_both_have(rules: Rules) -> None:
    space = opened(rules)
    for row in range(len(space)):
        assert space.neighbours(row).tolist() == brute_force(space, row)
        assert space.neighbours(row, adjacent=True).tolist() == brute_force_adjacent(space, row)


@given(row_lists())
def test_neighbours_in_explicit_rows(case: tuple[list[Parameter], list[tuple[int, ...]]]) -> None:
    space = SearchSpace.of_rows(*case)
    for row in range(len(space)):
        assert space.neighbours(row).tolist() == brute_force(space, row)
        assert space.neighbours(row, adjacent=True).tolist() == brute_force_adjacent(space, row)


@given(small_rules())
def test_neighbours_are_mutual(rules: Rules) -> None:
    space = opened(rules)
    pairs = {(a, b) for a in range(len(space)) for b in space.neighbours(a).tolist()}
    assert pairs == {(b, a) for a, b in pairs}


def test_what_a_change_switches_on_takes_every_value() -> None:
    space = SearchSpace.of_values(
        {"mode": ["off", "on"], "depth": [1, 2, 3]}, when={"depth": "mode == 'on'"}
    )
    off = space.row({"mode": "off"})
    assert [space.config(row) for row in space.neighbours(off)] == [
        {"mode": "on", "depth": depth} for depth in (1, 2, 3)
    ]
    assert off in space.neighbours(space.row({"mode": "on", "depth": 2}))


def test_switching_on_too_much_takes_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbourhood, "MAX_SWITCHED_ON", 8)
    space = SearchSpace.of_values(
        {"mode": ["off", "on"], "a": [1, 2, 3], "b": [1, 2, 3]},
        when={"a": "mode == 'on'", "b": "mode == 'on'"},
        default={"a": 2, "b": 3},
    )
    off = space.row({"mode": "off"})
    on = [space.config(row) for row in space.neighbours(off)]
    assert on == [{"mode": "on", "a": 2, "b": 3}]
    assert off in space.neighbours(space.row({"mode": "on", "a": 1, "b": 1}))


def test_adjacent_steps_over_values_that_are_not_valid() -> None:
    space = SearchSpace.of_values(
        {"size": [1, 2, 4, 8, 16], "word": ["x", "y", "z"]}, ["size not in (2, 8)"]
    )
    row = space.row({"size": 4, "word": "x"})
    assert [space.config(other) for other in space.neighbours(row, adjacent=True)] == [
        {"size": 1, "word": "x"},
        {"size": 4, "word": "y"},
        {"size": 4, "word": "z"},
        {"size": 16, "word": "x"},
    ]


@given(row_lists(), st.data())
def test_nearest_is_the_same_by_prefixes_and_by_looking_at_all(
    case: tuple[list[Parameter], list[tuple[int, ...]]], data: st.DataObject
) -> None:
    space = SearchSpace.of_rows(*case)
    point = {p.name: data.draw(st.sampled_from(p.values)) for p in space.parameters}
    taken = np.array(data.draw(st.lists(st.booleans(), min_size=len(space), max_size=len(space))))
    assume(not taken.all())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbourhood, "RADII", (10.0,))
        by_prefixes = space.nearest(point, taken)
        patch.setattr(neighbourhood, "RADII", ())
        patch.setattr(neighbourhood, "CHUNK", 3)
        assert space.nearest(point, taken) == by_prefixes
    assert space.nearest(point, taken) == by_prefixes


def test_nearest_of_a_large_space() -> None:
    space = SearchSpace.of_values(
        {name: list(range(8)) for name in "abcdef"}, ["a + b + c >= d + e + f", "a != b"]
    )
    generator = np.random.default_rng(0)
    for _ in range(20):
        taken = generator.random(len(space)) < 0.9
        target = generator.integers(8, size=6)
        away = (np.abs(space.rows - target) / 7 + 0.25 * (space.rows != target)).sum(axis=1)
        away[taken] = np.inf
        point = dict(zip("abcdef", target.tolist(), strict=True))
        assert space.nearest(point, taken) == int(np.argmin(np.round(away, 9)))


def test_nearest_of_none() -> None:
    space = SearchSpace.of_values({"p": [1, 2]})
    with pytest.raises(ValueError, match="every row is taken"):
        space.nearest({"p": 1}, np.ones(2, bool))


def test_ties_go_to_the_lowest_row() -> None:
    pairs: list[tuple[int, int]] = list(itertools.product(range(4), range(3)))
    parameters = [Parameter("p", (0, 1, 2, 3), 0), Parameter("q", (0, 1, 2), 0)]
    space = SearchSpace.of_rows(parameters, [pair for pair in pairs if pair not in [(1, 1)]])
    assert space.config(space.nearest({"p": 1, "q": 1})) == {"p": 0, "q": 1}
