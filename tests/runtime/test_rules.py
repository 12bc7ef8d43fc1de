from __future__ import annotations

import pytest
from hypothesis import example, given

from tests.runtime.small_rules import (
    SCOPE,
    away,
    legal_configs,
    parameter,
    rules_and_start,
    rules_of,
)
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config, Parameter, Rules, distance

TILES = parameter("tiles", [1, 2, 4, 8], 4)
MODE = parameter("mode", ["fast", "safe"], "safe")
DEPTH = parameter("depth", [1, 2, 3], 2, when="mode == 'fast'")
EXTRA = parameter("extra", [0, 1], 0, when="depth > 1")
CHAIN = rules_of([MODE, DEPTH, EXTRA, TILES], "depth * tiles <= K", "tiles < 8")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {"mode": "safe", "tiles": 4}),
        ({"mode": "fast"}, {"mode": "fast", "depth": 2, "extra": 0, "tiles": 4}),
        ({"mode": "fast", "depth": 1}, {"mode": "fast", "depth": 1, "tiles": 4}),
        ({"depth": 3, "extra": 1}, {"mode": "safe", "tiles": 4}),
    ],
)
def test_complete_adds_defaults_and_drops_what_has_no_value(
    chosen: Config, expected: Config
) -> None:
    assert CHAIN.complete(chosen, SCOPE) == expected


def test_a_constraint_that_names_an_inactive_parameter_does_not_apply() -> None:
    assert CHAIN.broken({"mode": "safe", "tiles": 4}, {"K": 4}) is None
    broken = CHAIN.broken({"mode": "fast", "depth": 2, "extra": 0, "tiles": 4}, {"K": 4})
    assert broken is CHAIN.constraints[0]


def test_the_first_broken_constraint_is_named() -> None:
    broken = CHAIN.broken({"mode": "fast", "depth": 3, "extra": 0, "tiles": 8}, {"K": 4})
    assert broken is CHAIN.constraints[0]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"tile": 4}, "unknown parameter 'tile'; did you mean tiles"),
        ({"mode": "fats"}, "unknown value of parameter 'mode': 'fats'; did you mean fast"),
        ({"tiles": 3}, "unknown value of parameter 'tiles': '3'; did you mean 2, 4"),
        ({"tiles": "4"}, "unknown value of parameter 'tiles'"),
        ({"depth": 1}, "'depth' has a value only when mode == 'fast'"),
        ({"tiles": 8}, "config breaks 'tiles < 8': because tiles < 8; nearest legal: tiles=4"),
        ({"mode": "fast"}, r"breaks 'depth \* tiles <= K': .*; nearest legal: tiles=2$"),
    ],
)
def test_checked_says_what_is_wrong_and_what_is_near(chosen: Config, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        CHAIN.checked(chosen, {"K": 4})


def test_a_long_condition_is_cut_in_messages() -> None:
    wide = parameter("wide", [0, 1], 0, when=" or ".join(["tiles > 8"] * 40))
    with pytest.raises(TunerError, match=r"has a value only when tiles > 8 or .* \.\.\.$") as error:
        rules_of([TILES, wide]).checked({"wide": 1}, {"K": 4})
    assert len(str(error.value)) < 200


def test_checked_completes_and_takes_the_values_as_they_are_listed() -> None:
    config = CHAIN.checked({"tiles": 2.0, "mode": "fast"}, {"K": 4})
    assert config == {"mode": "fast", "depth": 2, "extra": 0, "tiles": 2}
    assert type(config["tiles"]) is int


def test_checked_has_no_hint_where_nothing_is_legal() -> None:
    with pytest.raises(TunerError, match=r"breaks 'tiles > K': because tiles > K$"):
        rules_of([TILES], "tiles > K").checked({}, {"K": 8})


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(1, 1, 0.0), (1, 2, 0.25 + 1 / 3), (8, 1, 1.25), (4, 8, 0.25 + 1 / 3)]
)
def test_distance_counts_steps_and_the_change(a: int, b: int, expected: float) -> None:
    assert distance(TILES, a, b) == pytest.approx(expected)


def _chain_of_conditions() -> tuple[Rules, Config]:
    """Only p, two conditions away from the broken constraint, mends it."""
    parameters: list[Parameter] = [
        parameter("p", [1, 2], 1),
        parameter("q", [1], 1, when="p == 1"),
        parameter("r", [1, 2], 1, when="q == 1"),
    ]
    rules = rules_of(parameters, "r > 2")
    return rules, rules.complete({}, SCOPE)


@given(rules_and_start())
@example(_chain_of_conditions())
def test_nearest_legal_is_legal_and_no_config_is_nearer(case: tuple[Rules, Config]) -> None:
    rules, start = case
    legal = legal_configs(rules, SCOPE)
    found = rules.nearest_legal(start, SCOPE)
    if not legal:
        assert found is None
    else:
        assert found in legal
        least = min(away(rules, start, config) for config in legal)
        assert away(rules, start, found) == pytest.approx(least)


def test_a_legal_config_is_its_own_nearest() -> None:
    config: Config = {"mode": "fast", "depth": 1, "tiles": 2}
    assert CHAIN.nearest_legal(config, {"K": 4}) == config
