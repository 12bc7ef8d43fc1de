"""Search spaces, times and studies that the tests of samplers share."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean

import numpy as np
import optuna
from optuna import Study
from optuna.trial import TrialState

from tuner.runtime.rules import Config
from tuner.search import Search, make_sampler, suggest
from tuner.space import SearchSpace

Time = Callable[[Config], float | None]


def small_space() -> SearchSpace:
    """21 configs: numbers, words, a flag, one that has a value only at times, a constraint."""
    return SearchSpace.of_values(
        {
            "width": (1, 2, 4, 8),
            "order": ("mn", "nm"),
            "keep": (False, True),
            "depth": (0.5, 2.0),
        },
        constraints=["width <= 6 or depth < 1"],
        default={"width": 2, "order": "nm", "depth": 2.0},
        when={"keep": "order == 'mn'"},
    )


def block_space() -> SearchSpace:
    """3,024 configs like those of a blocked matmul."""
    return SearchSpace.of_values(
        {
            "rows": (16, 32, 64, 128, 256),
            "columns": (16, 32, 64, 128, 256),
            "depth": (1, 2, 4, 8),
            "unroll": (1, 2, 3, 4, 5, 6),
            "order": ("mnk", "nmk", "kmn"),
            "cache": (False, True),
        },
        constraints=["rows * columns <= 16384", "rows * columns * depth >= 1024"],
        default={"rows": 32, "columns": 32, "depth": 1},
    )


def smooth(config: Config) -> float:
    """Least, 10, at blocks of 128 x 64 x 4."""
    away = abs(np.log2(float(config["rows"]) / 128)) + abs(np.log2(float(config["columns"]) / 64))
    away += 0.5 * abs(np.log2(float(config["depth"]) / 4)) + 0.2 * abs(float(config["unroll"]) - 4)
    away += (config["order"] != "nmk") + 0.5 * (not config["cache"])
    return float(10 * (1 + 0.3 * away))


def rugged(config: Config) -> float:
    """The smooth time with jumps: odd unrolling and some pairs of values cost more."""
    rows, columns, unroll = (int(config[name]) for name in ("rows", "columns", "unroll"))
    cost = 1.0 + 0.25 * (unroll % 2) + 0.3 * (rows == columns)
    cost += 0.15 * ((rows // 16 + columns // 16 * 3 + unroll * 5) % 7) / 6
    return float(smooth(config) * cost)


def study_of(
    space: SearchSpace, sampler: str, seed: int = 0, maximize: bool = False, **options: object
) -> Study:
    """A study in memory."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = make_sampler(sampler, space, seed, **options)
    return optuna.create_study(sampler=made, direction="maximize" if maximize else "minimize")


def step(study: Study, space: SearchSpace, time: Time) -> Config:
    """Asks once and tells; None is a failure."""
    trial = study.ask()
    config = suggest(trial, space)
    value = time(config)
    study.tell(trial, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
    return config


def copied(study: Study, sampler: optuna.samplers.BaseSampler) -> Study:
    """A study with the same trials and another sampler."""
    other = optuna.create_study(sampler=sampler, directions=study.directions)
    other.add_trials(study.get_trials())
    for name, noted in study._storage.get_study_system_attrs(study._study_id).items():
        other._storage.set_study_system_attr(other._study_id, name, noted)
    return other


def run(search: Search, count: int, time: Time = smooth, pending: int = 1) -> list[Config]:
    """Keeps some configs asked and tells them in turn; stops when nothing is left."""
    configs: list[Config] = []
    open_: list[tuple[int, Config]] = []
    while len(configs) < count and not search.exhausted:
        open_.append(search.ask())
        configs.append(open_[-1][1])
        if len(open_) == pending:
            number, config = open_.pop(0)
            search.tell(number, time(config))
    for number, config in open_:
        search.tell(number, time(config))
    return configs


def mean_best(space: SearchSpace, sampler: str, count: int, time: Time, seeds: int = 3) -> float:
    """The mean over seeds of the best time after some trials."""
    best = []
    for seed in range(seeds):
        search = Search(space, sampler, seed)
        run(search, count, time)
        best.append(search.best_us or np.inf)
    return mean(best)
