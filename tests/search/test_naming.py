from __future__ import annotations

import optuna
import pytest

from tests.search.studies import small_space
from tuner.runtime.errors import TunerError
from tuner.search import DEFAULT, SAMPLERS, UNGUIDED, check_sampler, make_sampler


def test_the_default_and_the_unguided_are_samplers() -> None:
    assert DEFAULT in SAMPLERS
    assert set(UNGUIDED) == set(SAMPLERS) - {DEFAULT}


@pytest.mark.parametrize("name", [*SAMPLERS, "TPESampler", "NSGAIISampler", "GPSampler"])
def test_names_of_samplers_pass(name: str) -> None:
    check_sampler(name)


@pytest.mark.parametrize("name", ["", "GP", "BaseSampler", "GridSampler", "BruteForceSampler"])
def test_other_names_do_not(name: str) -> None:
    with pytest.raises(TunerError, match="unknown sampler"):
        check_sampler(name)
    with pytest.raises(TunerError, match="unknown sampler"):
        make_sampler(name, small_space())


@pytest.mark.parametrize("name", [*SAMPLERS, "TPESampler"])
def test_what_is_made_is_a_sampler_of_optuna(name: str) -> None:
    assert isinstance(make_sampler(name, small_space()), optuna.samplers.BaseSampler)
