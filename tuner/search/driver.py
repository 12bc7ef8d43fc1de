"""The ask/tell loop over Optuna: which config is next, given what is known."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import optuna

from tuner.runtime.rules import Config
from tuner.search.sampler import make_sampler
from tuner.space import SearchSpace

__all__ = ["Search"]

PENALTY = 2.0


class Search:
    """Proposes configs and learns from their times.

    Told in the order of asking, the proposals are a function of space, seed and results alone; so a
    job is resumed by asking again from the start and answering from the database.

    Args:
        space: Where to search.
        sampler: Name of a sampler.
        seed: Any whole number from 0.
        seeds: Configs to propose right after the default.
        prior: A cheap time of every row, in any unit.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: str = "tpe",
        seed: int = 0,
        *,
        seeds: Sequence[Config] = (),
        prior: npt.NDArray[np.float64] | None = None,
    ) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._space = space
        self._sampler = make_sampler(sampler, space, seed)
        self._sampler.seeds = [space.row(config) for config in seeds]
        self.ask_s = 0.0
        self._study = optuna.create_study(sampler=self._sampler)
        self._trials: dict[int, optuna.Trial] = {}
        self._worst: float | None = None
        self._best: float | None = None

    @property
    def best_us(self) -> float | None:
        """The best time told so far."""
        return self._best

    @property
    def exhausted(self) -> bool:
        """Whether no config is left to propose."""
        return self._sampler.exhausted

    def chance_of_better(self, margin: float) -> float | None:
        """Returns the model's probability that an untried config is faster by more than `margin`
        as a share; None where the sampler has no model.
        """
        return None

    def ask(self) -> tuple[int, Config]:
        """Returns the number of a new trial and its config."""
        started = time.perf_counter()
        trial = self._study.ask()
        self.ask_s += time.perf_counter() - started
        config: Config = dict(trial.relative_params)
        for parameter in self._space.parameters:
            if parameter.name in config:
                trial.suggest_categorical(parameter.name, parameter.values)
        self._trials[trial.number] = trial
        return trial.number, config

    def tell(self, number: int, latency_us: float | None) -> None:
        """Takes the time of a trial; None for one that failed, which counts as worse than all so
        far.

        Optuna learns nothing from trials in its state FAIL, so a failure is told as a slow time.
        """
        if latency_us is not None:
            self._worst = max(self._worst or 0.0, latency_us)
            self._best = min(self._best or latency_us, latency_us)
        value = latency_us if latency_us is not None else PENALTY * (self._worst or 1e6)
        self._study.tell(self._trials.pop(number), value)
