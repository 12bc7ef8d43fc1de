"""The ask/tell loop over Optuna: which config is next, given what is known."""

from __future__ import annotations

import logging

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
    """

    def __init__(self, space: SearchSpace, sampler: str = "tpe", seed: int = 0) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._space = space
        self._sampler = make_sampler(sampler, space, seed)
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

    def ask(self) -> tuple[int, Config]:
        """Returns the number of a new trial and its config."""
        trial = self._study.ask()
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
