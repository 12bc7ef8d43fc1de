from __future__ import annotations

import random
from collections.abc import Callable
from statistics import mean

import numpy as np
import pytest

from tuner.job import Job, prepare
from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import Config, Constraint, Parameter, Rules
from tuner.search import SAMPLERS, Search
from tuner.space import SearchSpace

Time = Callable[[Config], float | None]

both = pytest.mark.parametrize("sampler", sorted(SAMPLERS))


@pytest.fixture
def small() -> SearchSpace:
    """21 configs: numbers, words, a flag, one that has a value only at times, a constraint."""
    rules = Rules(
        (
            Parameter("width", (1, 2, 4, 8), 2),
            Parameter("order", ("mn", "nm"), "nm"),
            Parameter("keep", (False, True), False, Expression("order == 'mn'")),
            Parameter("depth", (0.5, 2.0), 2.0),
        ),
        (Constraint(Expression("width <= M or depth < 1"), "too wide"),),
    )
    return SearchSpace(rules, {"M": 6})


@pytest.fixture(scope="module")
def matmul() -> SearchSpace:
    return prepare(Job("matmul", "M=256,K=512,N=1024")).space


def slow_when_wide(config: Config) -> float | None:
    return float(config["width"])


def run(search: Search, count: int, time: Time = slow_when_wide) -> list[Config]:
    """Asks and tells in turn; stops when nothing is left."""
    configs: list[Config] = []
    while len(configs) < count and not search.exhausted:
        number, config = search.ask()
        configs.append(config)
        search.tell(number, time(config))
    return configs


@both
def test_a_small_space_is_proposed_completely_and_nothing_twice(
    small: SearchSpace, sampler: str
) -> None:
    search = Search(small, sampler)
    configs = run(search, 1000)
    assert search.exhausted
    assert sorted(map(small.row, configs)) == list(range(len(small)))


@both
def test_it_is_exhausted_with_the_last_proposal_and_not_before(
    small: SearchSpace, sampler: str
) -> None:
    search = Search(small, sampler)
    for _ in range(len(small)):
        assert not search.exhausted
        search.ask()
    assert search.exhausted


@both
def test_the_default_comes_first(small: SearchSpace, sampler: str) -> None:
    for seed in range(5):
        _, config = Search(small, sampler, seed).ask()
        assert config == {"width": 2, "order": "nm", "depth": 2.0}


@both
def test_proposals_have_the_types_of_the_space(small: SearchSpace, sampler: str) -> None:
    for config in run(Search(small, sampler), len(small)):
        assert {name: type(value) for name, value in config.items()} == {
            "width": int,
            "order": str,
            "depth": float,
            **({"keep": bool} if config["order"] == "mn" else {}),
        }


@both
def test_the_same_seed_and_results_give_the_same_proposals(
    matmul: SearchSpace, sampler: str
) -> None:
    time = far_from(matmul, GOOD)
    first = run(Search(matmul, sampler, 3), 30, time)
    random.seed(9)
    np.random.seed(9)
    assert run(Search(matmul, sampler, 3), 30, time) == first


@both
def test_another_seed_gives_other_proposals(matmul: SearchSpace, sampler: str) -> None:
    time = far_from(matmul, GOOD)
    first, second = (run(Search(matmul, sampler, seed), 12, time) for seed in (0, 1))
    assert first[0] == second[0]
    assert len([config for config in second if config in first]) < 6


def test_tpe_depends_on_the_results(matmul: SearchSpace) -> None:
    near, far = far_from(matmul, GOOD), far_from(matmul, BAD)
    assert run(Search(matmul, "tpe"), 30, near) != run(Search(matmul, "tpe"), 30, far)


@both
def test_several_may_be_asked_before_any_is_told(small: SearchSpace, sampler: str) -> None:
    search = Search(small, sampler)
    asked = [search.ask() for _ in range(8)]
    for number, config in asked:
        search.tell(number, slow_when_wide(config))
    configs = [config for _, config in asked] + run(search, 100)
    assert sorted(map(small.row, configs)) == list(range(len(small)))


@both
@pytest.mark.parametrize("failing", [1.0, 0.5])
def test_failures_do_not_break_it(matmul: SearchSpace, sampler: str, failing: float) -> None:
    good = far_from(matmul, GOOD)

    def time(config: Config) -> float | None:
        return None if matmul.row(config) < failing * len(matmul) else good(config)

    configs = run(Search(matmul, sampler), 25, time)
    assert len({matmul.row(config) for config in configs}) == 25


def test_failures_are_avoided(matmul: SearchSpace) -> None:
    """Half of the space fails; of the proposals after the first ones far fewer do."""

    def time(config: Config) -> float | None:
        return None if config["evict"] == "vector" or config["buffers"] == 1 else 10.0

    share = mean(
        mean(time(config) is None for config in run(Search(matmul, "tpe", seed), 60, time)[30:])
        for seed in range(3)
    )
    everywhere = mean(time(matmul.config(row)) is None for row in range(0, len(matmul), 7))
    assert share < everywhere / 2


GOOD: Config = {"tiles_m": 1, "tiles_n": 1, "loop_order": "mnk", "buffers": 4, "evict": "both"}
BAD: Config = {"tiles_m": 2, "tiles_n": 2, "loop_order": "nkm", "buffers": 1, "evict": "vector"}


def far_from(space: SearchSpace, target: Config) -> Time:
    """A smooth time: the least at `target`."""

    def time(config: Config) -> float | None:
        total = 10.0
        for parameter in space.parameters:
            if parameter.name in target:
                index = parameter.values.index
                steps = index(config[parameter.name]) - index(target[parameter.name])
                total += 10 * (steps / (len(parameter.values) - 1)) ** 2
        return total

    return time


@pytest.mark.parametrize("target", [GOOD, BAD], ids=["good", "bad"])
def test_tpe_finds_the_good_region_and_random_does_not(matmul: SearchSpace, target: Config) -> None:
    time = far_from(matmul, target)

    def late(sampler: str, seed: int) -> float:
        return mean(time(c) or 0.0 for c in run(Search(matmul, sampler, seed), 60, time)[30:])

    above = {s: mean(late(s, seed) - 10 for seed in range(3)) for s in ("tpe", "random")}
    assert above["tpe"] < 0.6 * above["random"]


def test_an_unknown_sampler(small: SearchSpace) -> None:
    with pytest.raises(TunerError, match="unknown sampler 'grid'"):
        Search(small, "grid")
