"""Runs of methods that are not ours: Optuna's samplers, Kernel Tuner's strategies, functions in
files.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.search_quality.methods import Method
from benchmarks.search_quality.objective import BudgetSpent, Grid, Objective
from tuner.backends.recording import Recording
from tuner.runtime.errors import unknown

__all__ = ["function_of", "run"]

PENALTY = 2.0


def run(method: Method, recording: Recording, seed: int, budget: int) -> tuple[list[int], float]:
    """Returns the rows in the order of their first evaluation, and the seconds the method took."""
    grid = Grid(recording.space)
    objective = Objective(recording.time_us / 1000, min(budget, grid.n))
    with _reproducibly(seed):
        prepared = _PREPARE[method.family](method, grid, objective, seed)
        begun = time.perf_counter()
        with contextlib.suppress(BudgetSpent):
            prepared()
        return objective.order, time.perf_counter() - begun - objective.spent_s


@contextlib.contextmanager
def _reproducibly(seed: int) -> Iterator[None]:
    """Seeds every generator that a method may take without asking, and keeps it quiet."""
    random.seed(seed)
    np.random.seed(seed)
    fresh, seeds = np.random.default_rng, np.random.SeedSequence(seed)

    def seeded(given: Any = None) -> np.random.Generator:
        return fresh(seeds.spawn(1)[0] if given is None else given)

    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(patch.object(np.random, "default_rng", seeded))
        logging.disable(logging.WARNING)
        stack.callback(logging.disable, logging.NOTSET)
        yield


def _optuna(method: Method, grid: Grid, objective: Objective, seed: int) -> Callable[[], None]:
    """A study as any user would write it: a point that is not valid or fails is told as slower
    than all so far, since Optuna learns nothing from a trial that is told to have failed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options = dict(method.options)
    categorical = options.pop("encoding", "index") == "categorical"
    study = optuna.create_study(sampler=getattr(optuna.samplers, method.name)(seed=seed, **options))
    distributions: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(range(count))
        if categorical
        else optuna.distributions.IntDistribution(0, int(count) - 1)
        for name, count in zip(grid.names, grid.card, strict=True)
    }

    def minimise() -> None:
        slowest = float(np.median(objective.times_ms[np.isfinite(objective.times_ms)]))
        while True:
            trial = study.ask(distributions)
            found = objective(grid.row([trial.params[name] for name in grid.names]))
            if np.isfinite(found):
                slowest = max(slowest, found)
            study.tell(trial, found if np.isfinite(found) else PENALTY * slowest)

    return minimise


def _kernel_tuner(
    method: Method, grid: Grid, objective: Objective, seed: int
) -> Callable[[], None]:
    """A strategy with its own space of the same configs, and a runner that looks times up."""
    from kernel_tuner.interface import Options, strategy_map
    from kernel_tuner.searchspace import Searchspace
    from kernel_tuner.util import TuningBudget

    tuned, configs = _plain(grid)
    cache = {"tune_params": tuned, "cache": dict(enumerate(configs))}
    space = Searchspace(None, None, None, from_cache=cache)
    runner = _Runner(objective, configs)
    strategy = strategy_map[method.name]
    budget = {"max_fevals": objective.budget}
    if "budget" in strategy._options:  # counts calls for the schedule, 5000 if left alone
        budget["budget"] = objective.budget
    tuning = Options(
        tune_params=tuned,
        restrictions=[],
        objective=["time"],
        objective_higher_is_better=[False],
        strategy_options=Options(budget | dict(method.options)),
        budget=TuningBudget(max_fevals=objective.budget),
        max_fevals=objective.budget,
        verbose=False,
        cache={},
        metrics=None,
    )
    return lambda: strategy.tune(space, runner, tuning)


def _plain(grid: Grid) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    """Values by parameter, and all configs; indices in place of values that are no numbers, since
    some strategies reckon with them.
    """
    numeric = all(isinstance(value, int | float) for values in grid.values for value in values)
    values = grid.values if numeric else [list(range(count)) for count in grid.card]
    tuned = dict(zip(grid.names, values, strict=True))
    configs = [
        {name: choices[index] for (name, choices), index in zip(tuned.items(), row, strict=True)}
        for row in grid.X.tolist()
    ]
    return tuned, configs


class _Runner:
    """What Kernel Tuner calls to time configs."""

    def __init__(self, objective: Objective, configs: Sequence[Mapping[str, Any]]) -> None:
        self._objective = objective
        self._configs = configs
        self._row_of = {tuple(config.values()): row for row, config in enumerate(configs)}
        self.dev = SimpleNamespace(max_threads=1 << 30)

    def add_strategy_time(self, seconds: float) -> None:
        """Takes the time that a strategy says it needed."""

    def run(self, configs: Iterable[Any], tuning: Any) -> list[dict[str, Any] | None]:
        """Returns a result for each config, None for those that the budget does not cover."""
        return [self._one(tuple(config), tuning.budget) for config in configs]

    def _one(self, config: tuple[Any, ...], budget: Any) -> dict[str, Any] | None:
        from kernel_tuner.util import RuntimeFailedConfig

        if budget.is_done():
            return None
        row = self._row_of[config]
        with contextlib.suppress(BudgetSpent):
            self._objective(row)
        over = self._objective.exhausted
        budget.num_fevals = budget.max_fevals if over else len(self._objective.order)
        found = self._objective.seen[row]
        result = {**self._configs[row], "time": found}
        if not np.isfinite(found):
            result["__error__"] = RuntimeFailedConfig()
        return result


def _file(method: Method, grid: Grid, objective: Objective, seed: int) -> Callable[[], None]:
    function = function_of(method.name)
    return lambda: function(grid, objective, np.random.default_rng(seed), **dict(method.options))


@lru_cache
def function_of(name: str) -> Callable[..., Any]:
    """The function of a file, whose own folder is searched for what it imports."""
    path, _, function = name.rpartition(":")
    file = Path(path).resolve()
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions: dict[str, Callable[..., Any]] = {
        name: value for name, value in vars(module).items() if callable(value)
    }
    if function not in functions:
        raise unknown(f"function of {path}:", function, functions)
    return functions[function]


_PREPARE = {"optuna": _optuna, "kernel_tuner": _kernel_tuner, "file": _file}
