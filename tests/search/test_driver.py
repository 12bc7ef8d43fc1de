from __future__ import annotations

import numpy as np
import pytest

from tests.search.studies import block_space, run, small_space, smooth
from tuner.runtime.errors import TunerError
from tuner.search import SAMPLERS, Search
from tuner.space import SearchSpace


@pytest.fixture
def small() -> SearchSpace:
    return small_space()


def test_the_best_time_is_the_least_told(small: SearchSpace) -> None:
    search = Search(small, "random")
    assert search.best_us is None
    best: list[float | None] = []
    for latency_us in (5.0, None, 7.0, 0.0, 3.0):
        number, _ = search.ask()
        search.tell(number, latency_us)
        best.append(search.best_us)
    assert best == [5.0, 5.0, 5.0, 0.0, 0.0]


def test_failures_alone_bring_no_best_time(small: SearchSpace) -> None:
    search = Search(small, "random")
    for _ in range(3):
        search.tell(search.ask()[0], None)
    assert search.best_us is None


def test_numbers_count_up_and_are_told_once(small: SearchSpace) -> None:
    search = Search(small, "random")
    assert [search.ask()[0] for _ in range(4)] == [0, 1, 2, 3]
    search.tell(2, 1.0)
    with pytest.raises(KeyError):
        search.tell(2, 1.0)


@pytest.mark.parametrize("sampler", ["gp", "random", "TPESampler"])
def test_a_config_of_somebody_else_is_not_proposed(small: SearchSpace, sampler: str) -> None:
    search = Search(small, sampler)
    others = [small.config(row) for row in range(0, len(small), 2)]
    numbers = [search.adopt(config) for config in others]
    own = []
    while not search.exhausted:
        number, config = search.ask()
        search.tell(number, 5.0)
        own.append(config)
    assert len(own) == len(small) - len(others)
    assert not [config for config in own if config in others]
    search.tell(numbers[0], 3.0)
    assert search.best_us == 3.0


def test_the_seconds_spent_on_asking_add_up(small: SearchSpace) -> None:
    search = Search(small)
    assert search.ask_s == 0
    spent = []
    for _ in range(3):
        search.tell(search.ask()[0], 1.0)
        spent.append(search.ask_s)
    assert 0 < spent[0] < spent[1] < spent[2] < 60


def test_seeds_have_to_be_valid(small: SearchSpace) -> None:
    with pytest.raises(KeyError, match="not a valid config"):
        Search(small, seeds=[{"width": 8, "order": "nm", "depth": 2.0}])


@pytest.mark.parametrize("sampler", [*SAMPLERS, "TPESampler"])
def test_every_sampler_takes_a_prior(small: SearchSpace, sampler: str) -> None:
    prior = np.arange(len(small), dtype=float)
    assert len(run(Search(small, sampler, prior=prior), 5, lambda config: 1.0)) == 5


@pytest.mark.parametrize("sampler", ["anneal", "random", "exhaustive", "TPESampler"])
def test_without_a_model_there_is_no_chance(small: SearchSpace, sampler: str) -> None:
    search = Search(small, sampler)
    run(search, 15, lambda config: float(config["width"]))
    assert search.chance_of_better(0.0) is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TPESamplr", "TPESampler"),
        ("gpp", "gp"),
        ("exhaust", "exhaustive"),
        ("annealing", "anneal"),
    ],
)
def test_an_unknown_sampler(small: SearchSpace, name: str, nearest: str) -> None:
    with pytest.raises(TunerError, match=rf"unknown sampler '{name}'; did you mean .*{nearest}"):
        Search(small, name)


def test_the_default_sampler_is_the_gaussian_process() -> None:
    space = block_space()
    assert run(Search(space), 12, smooth) == run(Search(space, "gp", 0), 12, smooth)
