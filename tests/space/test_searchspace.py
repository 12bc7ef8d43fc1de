from __future__ import annotations

from random import Random

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
from tuner.runtime.rules import Config, Rules
from tuner.space import INACTIVE, SearchSpace, enumeration

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
    monkeypatch.setattr(enumeration, "MAX_ROWS", 5)
    with pytest.raises(TunerError, match=r"more than 5 configs are valid .*parameter 'p', 3"):
        SearchSpace(rules_of([P, FLAG]), SCOPE)
    assert len(SearchSpace(rules_of([P, FLAG], "p > 1"), SCOPE)) == 4
