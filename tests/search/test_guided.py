from __future__ import annotations

from functools import partial
from itertools import pairwise
from statistics import mean

import numpy as np
import numpy.typing as npt
import optuna
import pytest
from optuna import Trial

from tests.search.studies import block_space, mean_best, rugged, run, smooth, step, study_of
from tuner.runtime.rules import Config
from tuner.search import RowSampler, Search, make_sampler, suggest
from tuner.search.guided import _Fits
from tuner.space import SearchSpace

Floats = npt.NDArray[np.float64]
FASTEST = 10.0


@pytest.fixture(scope="module")
def blocks() -> SearchSpace:
    return block_space()


@pytest.fixture(scope="module")
def times(blocks: SearchSpace) -> Floats:
    return np.array([smooth(blocks.config(row)) for row in range(len(blocks))])


def best_of(space: SearchSpace, count: int, prior: Floats | None, seeds: int = 3) -> float:
    """The mean over seeds of the best smooth time under a prior."""
    best = []
    for seed in range(seeds):
        search = Search(space, "gp", seed, prior=prior)
        run(search, count)
        best.append(search.best_us or np.inf)
    return mean(best)


# What it finds.


@pytest.mark.parametrize("time", [smooth, rugged])
def test_it_finds_better_configs_than_chance(blocks: SearchSpace, time: object) -> None:
    of = smooth if time is smooth else rugged
    fastest = min(of(blocks.config(row)) for row in range(len(blocks)))
    ours = mean_best(blocks, "gp", 45, of) - fastest
    assert ours < 0.5 * (mean_best(blocks, "random", 45, of) - fastest)


def test_it_does_with_eight_pending(blocks: SearchSpace) -> None:
    def above(sampler: str, seed: int) -> float:
        search = Search(blocks, sampler, seed)
        run(search, 56, smooth, pending=8)
        return (search.best_us or np.inf) - FASTEST

    assert mean(above("gp", s) for s in range(3)) < 0.6 * mean(above("random", s) for s in range(3))


def test_proposals_depend_on_the_results(blocks: SearchSpace) -> None:
    def other(config: Config) -> float:
        return 100 / smooth(config)

    assert run(Search(blocks), 20, smooth) != run(Search(blocks), 20, other)


def test_failures_are_avoided(blocks: SearchSpace) -> None:
    """Half of the space fails; of the proposals after the first ones far fewer do."""

    def time(config: Config) -> float | None:
        return smooth(config) if config["cache"] else None

    late = [
        time(config) is None
        for seed in range(3)
        for config in run(Search(blocks, "gp", seed), 40, time)[20:]
    ]
    assert mean(late) < 0.25


def test_the_two_values_of_two_objectives_spread_over_the_front(blocks: SearchSpace) -> None:
    def area(sampler: str, seed: int) -> float:
        made = make_sampler(sampler, blocks, seed)
        study = optuna.create_study(sampler=made, directions=["minimize", "minimize"])

        def objective(trial: Trial) -> tuple[float, float]:
            config = suggest(trial, blocks)
            memory = float(config["rows"]) * float(config["columns"]) * float(config["depth"])
            return smooth(config), float(np.log2(memory)) * (1 + 0.1 * float(config["unroll"]))

        study.optimize(objective, n_trials=45)
        return hypervolume([(t.values[0], t.values[1]) for t in study.best_trials], (40.0, 26.0))

    seeds = range(3)
    assert mean(area("gp", s) for s in seeds) > 1.02 * mean(area("random", s) for s in seeds)


def hypervolume(front: list[tuple[float, float]], worst: tuple[float, float]) -> float:
    """The area that two minimised objectives dominate."""
    area, height = 0.0, worst[1]
    for x, y in sorted(front):
        if x < worst[0] and y < height:
            area += (worst[0] - x) * (height - y)
            height = y
    return area


# Priors.


def test_a_perfect_prior_finds_the_best_with_its_first_favourite(
    blocks: SearchSpace, times: Floats
) -> None:
    assert best_of(blocks, 4, 1e-6 * times**2) == FASTEST


def test_a_prior_has_a_time_for_every_row(blocks: SearchSpace, times: Floats) -> None:
    for wrong in (times[1:], np.append(times, 1.0), times[None]):
        with pytest.raises(ValueError, match="expected one time for each of 3024 rows"):
            Search(blocks, prior=wrong)


def test_a_good_prior_helps(blocks: SearchSpace, times: Floats) -> None:
    good = times * np.random.default_rng(0).lognormal(0, 0.2, len(times))
    assert best_of(blocks, 14, good) - FASTEST < 0.7 * (best_of(blocks, 14, None) - FASTEST)


def test_a_useless_prior_does_not_break_it(blocks: SearchSpace, times: Floats) -> None:
    shuffled = np.random.default_rng(0).permutation(times)
    chance = mean_best(blocks, "random", 45, smooth) - FASTEST
    assert best_of(blocks, 45, shuffled) - FASTEST < 0.7 * chance


@pytest.mark.parametrize("known", [0.0, 0.02, 0.5])
def test_a_prior_may_know_few_rows(blocks: SearchSpace, times: Floats, known: float) -> None:
    """Even if it knows none of the first that are tried."""
    generator = np.random.default_rng(1)
    prior = np.where(generator.random(len(times)) < known, times, np.nan)
    configs = run(Search(blocks, "gp", 1, prior=prior), 25, smooth)
    assert len({blocks.row(config) for config in configs}) == 25


def test_a_prior_may_predict_failures(blocks: SearchSpace, times: Floats) -> None:
    prior = np.where(times < 15, np.inf, times)
    configs = run(Search(blocks, "gp", 1, prior=prior), 25, smooth)
    assert len({blocks.row(config) for config in configs}) == 25
    nothing = run(Search(blocks, "gp", 1, prior=np.full(len(times), np.inf)), 25, smooth)
    assert len({blocks.row(config) for config in nothing}) == 25


# The chance of better.


def test_there_is_no_chance_before_there_is_a_model(blocks: SearchSpace) -> None:
    search = Search(blocks)
    assert search.chance_of_better(0.0) is None
    run(search, 2)
    assert search.chance_of_better(0.0) is None
    failing = Search(blocks)
    run(failing, 12, lambda config: None)
    assert failing.chance_of_better(0.0) is None


def test_an_unexplored_space_has_a_high_chance(blocks: SearchSpace) -> None:
    search = Search(blocks, seed=3)
    run(search, 8, rugged)
    chance = search.chance_of_better(0.0)
    assert chance is not None
    assert 0.5 < chance <= 1


def test_the_chance_falls_with_the_margin_and_is_none_of_less_than_no_time(
    blocks: SearchSpace,
) -> None:
    search = Search(blocks)
    run(search, 15, rugged)
    chances = [search.chance_of_better(margin) or 0.0 for margin in (0.0, 0.05, 0.3, 0.9, 1.0, 2.0)]
    assert chances == sorted(chances, reverse=True)
    assert chances[-2:] == [0.0, 0.0]


def test_the_chance_falls_as_a_space_is_used_up() -> None:
    space = SearchSpace.of_values({"a": range(7), "b": range(7)})

    def time(config: Config) -> float:
        return 1.0 + (float(config["a"]) - 2) ** 2 + (float(config["b"]) - 5) ** 2

    search = Search(space)
    chances = []
    for count in (8, 17, 23):
        run(search, count, time)
        chances.append(search.chance_of_better(0.01))
    first, middle, last = (0.0 if chance is None else chance for chance in chances)
    assert first > middle
    assert max(middle, last) < 0.2
    run(search, 100, time)
    assert search.exhausted
    assert search.chance_of_better(0.0) == 0.0


def test_no_chance_is_left_in_a_space_too_small_for_a_model() -> None:
    search = Search(SearchSpace.of_values({"a": (1, 2)}))
    run(search, 2, lambda config: 1.0)
    assert search.chance_of_better(0.0) == 0.0


def test_asking_for_the_chance_changes_no_proposal(blocks: SearchSpace) -> None:
    quiet, asked = Search(blocks), Search(blocks)

    def step(search: Search) -> Config:
        number, config = search.ask()
        search.tell(number, rugged(config))
        return config

    for _ in range(20):
        expected = step(quiet)
        asked.chance_of_better(0.02)
        assert step(asked) == expected


def test_with_several_objectives_there_is_no_chance(blocks: SearchSpace) -> None:
    sampler = make_sampler("gp", blocks)
    study = optuna.create_study(sampler=sampler, directions=["minimize", "minimize"])
    study.optimize(
        lambda t: (smooth(config := suggest(t, blocks)), float(config["rows"])), n_trials=12
    )
    assert sampler.chance_of_better(study, 0.0) is None


# How it works.


def test_models_are_fitted_ever_more_seldom(
    blocks: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    original = _Fits._fit

    def counted(self: _Fits, rows: Floats, *args: object) -> object:
        counts.append(len(rows))
        return partial(original, self)(rows, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(_Fits, "_fit", counted)
    run(Search(blocks), 60)
    assert counts == sorted(set(counts))
    assert len(counts) < 20
    assert all(b >= a + 2 for a, b in pairwise(counts))


def test_a_model_is_of_the_study_at_hand_alone(blocks: SearchSpace) -> None:
    """The first rows of all studies are the same, whatever comes out."""

    def other(config: Config) -> float:
        return 1.0 + 9 * (float(config["unroll"]) % 3)

    used = study_of(blocks, "gp")
    for _ in range(14):
        step(used, blocks, other)
    second = study_of(blocks, "random")
    second.sampler = used.sampler
    for _ in range(9):
        step(second, blocks, rugged)
    fresh = make_sampler("gp", blocks)
    expected = fresh.chance_of_better(second, 0.1)
    assert make_sampler("gp", blocks).chance_of_better(second, 0.1) == expected
    assert isinstance(used.sampler, RowSampler)
    assert used.sampler.chance_of_better(second, 0.1) == expected


def test_a_parameter_of_a_thousand_values() -> None:
    space = SearchSpace.of_values({"a": range(1, 1001), "b": (False, True)})

    def time(config: Config) -> float:
        return 10 + abs(float(config["a"]) - 700) / 50 + (not config["b"])

    search = Search(space)
    assert len({space.row(config) for config in run(search, 30, time)}) == 30
    assert (search.best_us or np.inf) < 10.5


@pytest.mark.parametrize("value", [1.0, 0.0, -3.0])
def test_results_that_are_all_equal(blocks: SearchSpace, value: float) -> None:
    configs = run(Search(blocks), 20, lambda config: value)
    assert len({blocks.row(config) for config in configs}) == 20
