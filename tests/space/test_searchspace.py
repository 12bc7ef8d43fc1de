from __future__ import annotations

import pickle
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.runtime.small_rules import (
    SCOPE,
    away,
    legal_configs,
    parameter,
    rules_and_start,
    rules_of,
    small_rules,
)
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config, Parameter, Rules, Value
from tuner.space import INACTIVE, SearchSpace
from tuner.space.enumeration import walk

P = parameter("p", [1, 2, 4], 2)
FLAG = parameter("flag", [False, True], False)
WORD = parameter("word", ["x", "y"], "x", when="p > 1")


def opened(rules: Rules) -> SearchSpace:
    assume(legal_configs(rules, SCOPE))
    return SearchSpace(rules, SCOPE)


def key(config: Config) -> str:
    return repr(sorted(config.items()))


# Truth values add up; what an inactive parameter would divide by, or divide, is not looked at.
COUNTED = rules_of([P, FLAG, WORD], "flag + (p > 1) <= 1", "p + flag < 5")
DIVIDED = rules_of(
    [P, parameter("z", [0, 3], 3), parameter("y", [1, 2], 1, when="z > 0")], "p + y // z < 5"
)


@given(small_rules())
@example(COUNTED)
@example(DIVIDED)
def test_it_holds_exactly_the_legal_configs(rules: Rules) -> None:
    expected = sorted(legal_configs(rules, SCOPE), key=key)
    if not expected:
        with pytest.raises(TunerError, match="no config is valid here"):
            SearchSpace(rules, SCOPE)
    else:
        space = SearchSpace(rules, SCOPE)
        assert sorted((space.config(row) for row in range(len(space))), key=key) == expected


@given(small_rules())
def test_a_row_and_its_config_are_found_from_each_other(rules: Rules) -> None:
    space = opened(rules)
    assert [space.row(space.config(row)) for row in range(len(space))] == list(range(len(space)))


def test_rows_hold_indices_in_rising_order() -> None:
    space = SearchSpace(rules_of([P, WORD]), SCOPE)
    assert space.rows.tolist() == [[0, INACTIVE], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert space.config(0) == {"p": 1}
    assert space.raw_size == 6


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"p": 2},
        {"p": 1, "word": "x"},
        {"p": 3, "word": "x"},
        {"p": 4, "word": "x"},
        {"p": 2, "word": "x", "other": 1},
    ],
)
def test_a_config_that_is_not_valid_has_no_row(config: Config) -> None:
    space = SearchSpace(rules_of([P, WORD], "p < 4"), SCOPE)
    with pytest.raises(KeyError, match="not a valid config"):
        space.row(config)


@given(rules_and_start(), st.randoms(use_true_random=False))
def test_nearest_is_the_nearest_that_is_not_taken(
    case: tuple[Rules, Config], random: Random
) -> None:
    rules, start = case
    space = opened(rules)
    taken = np.array([random.random() < 0.5 for _ in range(len(space))])
    assume(not taken.all())
    row = space.nearest(start, taken)
    distances = [away(rules, start, space.config(row)) for row in range(len(space))]
    assert not taken[row]
    assert distances[row] == pytest.approx(
        min(d for d, is_taken in zip(distances, taken, strict=True) if not is_taken)
    )


@given(rules_and_start())
def test_nearest_and_nearest_legal_are_as_far(case: tuple[Rules, Config]) -> None:
    rules, start = case
    space = opened(rules)
    legal = rules.nearest_legal(start, SCOPE)
    assert legal is not None
    near = space.config(space.nearest(start))
    assert away(rules, start, near) == pytest.approx(away(rules, start, legal))


@given(small_rules())
def test_default_is_the_default_config_or_as_near_as_can_be(rules: Rules) -> None:
    space = opened(rules)
    start = rules.complete({}, SCOPE)
    found = space.config(space.default)
    least = min(away(rules, start, config) for config in legal_configs(rules, SCOPE))
    assert away(rules, start, found) == pytest.approx(least)


def test_a_full_choice_is_nearest_to_what_it_completes_to() -> None:
    space = SearchSpace(rules_of([P, WORD]), SCOPE)
    assert space.config(space.nearest({"p": 1, "word": "y"})) == {"p": 1}


def test_an_empty_space_names_the_constraint_and_its_reason() -> None:
    with pytest.raises(TunerError, match="no config is valid here: 'p > K': because p > K"):
        SearchSpace(rules_of([P], "p > K"), SCOPE)


def test_a_constraint_that_cannot_be_evaluated_is_an_error() -> None:
    for text in ("8 // (p - 1) > 0", "8 % (p - 1) > 0", "device.missing > p"):
        with pytest.raises(TunerError):
            SearchSpace(rules_of([P], text), SCOPE)


def test_too_many_rows_name_the_largest_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_ROWS", 5)
    with pytest.raises(TunerError, match=r"more than 5 configs are valid .*parameter 'p', 3"):
        SearchSpace(rules_of([P, FLAG]), SCOPE)
    assert len(SearchSpace(rules_of([P, FLAG], "p > 1"), SCOPE)) == 4


def test_numbers_in_rising_order_are_ordered() -> None:
    parameters = [P, FLAG, WORD, Parameter("falling", (3, 1, 2), 3)]
    space = SearchSpace.of_rows(parameters, [[0, 0, 0, 0]])
    assert space.ordered.tolist() == [True, False, False, False]
    assert space.counts.tolist() == [3, 2, 2, 3]


@given(small_rules(), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_sample_has_no_row_twice_and_none_taken(rules: Rules, count: int, random: Random) -> None:
    space = opened(rules)
    taken = np.array([random.random() < 0.5 for _ in range(len(space))])
    drawn = space.sample(np.random.default_rng(random.randrange(100)), count, taken)
    assert min(count, int((~taken).sum())) == len(drawn) == len(set(drawn.tolist()))
    assert not taken[drawn].any()


@pytest.mark.parametrize(("count", "free"), [(3, 1000), (40, 100), (3, 20)])
def test_a_sample_is_uniform(count: int, free: int) -> None:
    space = SearchSpace.of_values({"p": list(range(1000))})
    taken = np.arange(1000) >= free
    generator = np.random.default_rng(0)
    times = np.zeros(1000)
    for _ in range(2000):
        np.add.at(times, space.sample(generator, count, taken), 1)
    expected = 2000 * count / free
    chi_square = ((times[:free] - expected) ** 2 / expected).sum()
    assert not times[free:].any()
    assert abs(chi_square - free) < 5 * np.sqrt(2 * free)


def test_a_sample_of_all_is_a_permutation() -> None:
    space = SearchSpace.of_values({"p": list(range(50))})
    drawn = space.sample(np.random.default_rng(0), 60)
    assert sorted(drawn.tolist()) == list(range(50))
    assert drawn.tolist() != list(range(50))


@given(small_rules(), st.randoms(use_true_random=False))
def test_explicit_rows_may_come_in_any_order(rules: Rules, random: Random) -> None:
    space = opened(rules)
    order = random.sample(range(len(space)), len(space))
    explicit = SearchSpace.of_rows(space.parameters, space.rows[order])
    assert explicit.rows.tolist() == space.rows.tolist()
    assert explicit.rows_of(space.rows[order]).tolist() == order
    assert [explicit.row(space.config(row)) for row in order] == order


def test_explicit_rows_start_at_the_default_or_near_it() -> None:
    rows = [[0, INACTIVE], [1, 0], [2, 1]]
    assert SearchSpace.of_rows([P, WORD], rows).default == 1
    assert SearchSpace.of_rows([P, WORD], rows, {"p": 1}).default == 0
    assert SearchSpace.of_rows([P, WORD], rows, {"p": 4, "word": "x"}).default == 1
    assert SearchSpace.of_rows([P, WORD], rows[2:]).default == 0


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([], r"rows of shape \(0,\): expected one row or more of 2 value indices"),
        ([[0]], r"rows of shape \(1, 1\)"),
        ([[0, 0], [3, 0]], r"row 1: \[3, 0\] is outside the values"),
        ([[0, 0], [1, 0], [0, 0]], "rows 0 and 2 are the same config"),
    ],
)
def test_explicit_rows_that_are_wrong(rows: list[list[int]], error: str) -> None:
    with pytest.raises(TunerError, match=error):
        SearchSpace.of_rows([P, WORD], np.array(rows, int))


def test_a_default_that_is_no_value() -> None:
    with pytest.raises(TunerError, match="unknown default of parameter 'p': '3'"):
        SearchSpace.of_rows([Parameter("p", (1, 2), 3)], [[0]])
    with pytest.raises(TunerError, match="unknown value of parameter 'p': '3'"):
        SearchSpace.of_values({"p": [1, 2]}).nearest({"p": 3})


def test_a_space_of_values() -> None:
    space = SearchSpace.of_values(
        {"p": [4, 1, 2], "word": ["x", "y"]}, ["p < 4 or word == 'y'"], {"p": 2}, {"word": "p > 1"}
    )
    expected: list[Config] = [
        {"p": 1},
        {"p": 2, "word": "x"},
        {"p": 2, "word": "y"},
        {"p": 4, "word": "y"},
    ]
    assert [space.config(row) for row in range(len(space))] == expected
    assert space.config(space.default) == {"p": 2, "word": "x"}


@pytest.mark.parametrize(
    ("values", "constraints", "more", "error"),
    [
        ({}, [], {}, "parameters: expected at least one"),
        ({"p": []}, [], {}, r"parameters\.p\.values: expected 1 to 1000 values of one type"),
        ({"p": [1, "x"]}, [], {}, r"parameters\.p\.values: expected 1 to 1000"),
        ({"p": [1, 1]}, [], {}, r"parameters\.p\.values: a value stands twice"),
        ({"p": [1]}, ["q > 1"], {}, r"unknown name in constraints\[0\]: 'q'"),
        ({"p": [1]}, ["p >"], {}, r"constraints\[0\]: 'p >' is not an expression"),
        ({"p": [1]}, ["p > 1"], {}, r"no config is valid here: 'p > 1': constraints\[0\]"),
        ({"p": [1]}, [], {"default": {"p": 2}}, r"parameters\.p\.default: 2 is none of"),
        ({"p": [1]}, [], {"default": {"q": 2}}, "unknown parameter in default: 'q'"),
        ({"p": [1]}, [], {"when": {"q": "p > 1"}}, "unknown parameter in when: 'q'"),
        (
            {"p": [1], "q": [1]},
            [],
            {"when": {"p": "q > 1"}},
            r"unknown name in parameters\.p\.when",
        ),
    ],
)
def test_a_space_of_wrong_values(
    values: dict[str, list[Value]], constraints: list[str], more: Any, error: str
) -> None:
    with pytest.raises(TunerError, match=error):
        SearchSpace.of_values(values, constraints, **more)


@given(small_rules())
def test_a_space_can_be_pickled(rules: Rules) -> None:
    space = opened(rules)
    assert 0 <= space.default < len(space)
    again = pickle.loads(pickle.dumps(space))
    assert again.rows.tolist() == space.rows.tolist()
    assert again.codes.tolist() == space.codes.tolist()
    assert again.default == space.default
    assert again.neighbours(0).tolist() == space.neighbours(0).tolist()
