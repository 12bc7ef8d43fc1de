from __future__ import annotations

import optuna
import pytest

from tests.search.studies import small_space
from tuner.runtime.errors import TunerError
from tuner.search import DEFAULT, EXHAUSTIVE, GUIDED, SAMPLERS, full_name, make_sampler


def test_the_names_with_a_meaning_are_samplers() -> None:
    assert {DEFAULT, EXHAUSTIVE, *GUIDED} <= set(SAMPLERS)


@pytest.mark.parametrize("name", [*SAMPLERS, "TPESampler", "NSGAIISampler", "GPSampler"])
def test_full_names_stay(name: str) -> None:
    assert full_name(name) == name


@pytest.mark.parametrize(
    ("short", "name"), [("GP", "gp"), ("tpe", "TPESampler"), ("NSGAII", "NSGAIISampler")]
)
def test_short_names(short: str, name: str) -> None:
    assert full_name(short) == name


@pytest.mark.parametrize(
    "name", ["", "annealing", "BaseSampler", "GridSampler", "BruteForceSampler"]
)
def test_other_names_do_not(name: str) -> None:
    with pytest.raises(TunerError, match="unknown sampler"):
        full_name(name)
    with pytest.raises(TunerError, match="unknown sampler"):
        make_sampler(name, small_space())


@pytest.mark.parametrize("name", [*SAMPLERS, "TPESampler"])
def test_what_is_made_is_a_sampler_of_optuna(name: str) -> None:
    assert isinstance(make_sampler(name, small_space()), optuna.samplers.BaseSampler)
