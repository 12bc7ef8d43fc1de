"""The ask/tell loop over Optuna: which config is next, given what is known."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import TrialState

from tuner.runtime.rules import Config
from tuner.search.naming import DEFAULT, make_sampler
from tuner.search.sampler import suggest
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
        prior: Shape [rows]: a cheap time of every row, in any unit; infinite where it is predicted
            to fail, NaN where nothing is known. Only "gp" looks at it.
        default: Whether the default config is proposed first.

    Attributes:
        ask_s: Seconds spent on proposing so far.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: str = DEFAULT,
        seed: int = 0,
        *,
        seeds: Sequence[Config] = (),
        prior: npt.NDArray[np.float64] | None = None,
        default: bool = True,
    ) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._space = space
        rows = [space.row(config) for config in seeds]
        self._sampler = make_sampler(sampler, space, seed, seeds=rows, prior=prior, default=default)
        self._study = optuna.create_study(sampler=self._sampler)
        self._trials: dict[int, optuna.Trial] = {}
        self._worst: float | None = None
        self._best: float | None = None
        self.ask_s = 0.0

    @property
    def best_us(self) -> float | None:
        """The best time told so far."""
        return self._best

    @property
    def learns(self) -> bool:
        """Whether what is told changes what is proposed."""
        return self._sampler.learns

    @property
    def exhausted(self) -> bool:
        """Whether no config is left to propose."""
        return len(self._study.get_trials(deepcopy=False)) >= len(self._space)

    def chance_of_better(self, margin: float) -> float | None:
        """Returns the probability, by the sampler's model, that an untried config is faster than
        the best by more than `margin` as a share; None where the sampler has no model.
        """
        return self._sampler.chance_of_better(self._study, margin)

    def adopt(self, config: Config) -> int:
        """Returns the number of a new trial of a config that somebody else proposed."""
        self._study.enqueue_trial(dict(config))
        return self.ask()[0]

    def ask(self) -> tuple[int, Config]:
        """Returns the number of a new trial and its config."""
        started = time.perf_counter()
        trial = self._study.ask()
        config = suggest(trial, self._space)
        self._trials[trial.number] = trial
        self.ask_s += time.perf_counter() - started
        return trial.number, config

    def tell(self, number: int, latency_us: float | None) -> None:
        """Takes the time of a trial; None for one that failed, which counts as worse than all so
        far.

        Optuna's samplers learn nothing from trials in its state FAIL, so a failure is told as a
        slow time.
        """
        trial = self._trials.pop(number)
        if latency_us is not None:
            self._worst = latency_us if self._worst is None else max(self._worst, latency_us)
            self._best = latency_us if self._best is None else min(self._best, latency_us)
        elif self._sampler.reads_failures:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        value = latency_us if latency_us is not None else PENALTY * (self._worst or 1e6)
        self._study.tell(trial, value)
