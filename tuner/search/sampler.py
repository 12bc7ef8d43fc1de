"""What all samplers here have in common: they propose valid configs only, and none twice."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna import Study, Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from tuner.runtime.rules import Config
from tuner.search.history import CODE, Book, History, row_of
from tuner.space import INACTIVE, SearchSpace

__all__ = ["ExhaustedError", "RandomSampler", "RowSampler", "suggest"]


class ExhaustedError(RuntimeError):
    """Every valid config was proposed."""


class RowSampler(BaseSampler):
    """An Optuna sampler that proposes rows of a search space, none twice; the default config comes
    first, then the seeds.

    A proposal is a function of the space, the seed and the study's trials alone: of the finished
    ones in the order of finishing, and of those that run.

    Args:
        space: The valid configs. Trials take their parameters by `suggest_categorical` with a
            parameter's values, or all at once by `suggest`.
        seed: Any whole number from 0.
        seeds: Rows to propose right after the default.
        default: Whether the default config is proposed first.

    Raises:
        ExhaustedError: On asking for one more than there are.

    Attributes:
        learns: Whether results change what it proposes.
        reads_failures: Whether it learns from trials in the state FAIL.
    """

    learns = True
    reads_failures = True

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        *,
        seeds: Sequence[int] = (),
        default: bool = True,
    ) -> None:
        self.space = space
        self.seed = seed
        self._first = [*([space.default] if default else []), *seeds]
        self._book = Book(space)
        self._lock = threading.Lock()
        self._distributions: dict[str, BaseDistribution] = {
            parameter.name: CategoricalDistribution(parameter.values)
            for parameter in space.parameters
        }

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters are chosen together."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the active parameters of the next row."""
        with self._lock:  # `Study.optimize` may ask from several threads
            row = self._next(study, trial, self._book.read(study, trial))
            code = int(self.space.codes[row])
            study._storage.set_trial_system_attr(trial._trial_id, CODE, code)
        return dict(self.space.config(row))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Raises KeyError: a trial may only ask for the parameters of its row."""
        raise KeyError(f"{param_name!r} has no value in this trial")

    def chance_of_better(self, study: Study, margin: float) -> float | None:
        """Returns the probability that an untried row is better than the best by more than `margin`
        as a share; None where the sampler has no model.
        """
        return None

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Ends `Study.optimize` when every config was proposed."""
        if study._thread_local.in_optimize_loop:
            with self._lock:
                history = self._book.read(study)
            if self._taken(history).all():
                study.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _next(self, study: Study, trial: FrozenTrial, history: History) -> int:
        taken = self._taken(history)
        fixed = trial.system_attrs.get("fixed_params", {})  # of enqueue_trial
        fixed = {name: value for name, value in fixed.items() if name in self._distributions}
        if fixed:
            row = row_of(self.space, fixed)
            if row >= 0:
                return row
            taken = self._narrowed(taken, fixed)
        for row in self._first:
            if not taken[row]:
                return row
        if taken.all():
            raise ExhaustedError(f"all {len(taken)} configs were proposed")
        return self._propose(study, trial, history, taken)

    def _taken(self, history: History) -> npt.NDArray[np.bool_]:
        taken = np.zeros(len(self.space), bool)
        taken[history.rows] = True
        taken[list(history.pending)] = True
        return taken

    def _narrowed(
        self, taken: npt.NDArray[np.bool_], fixed: Mapping[str, Any]
    ) -> npt.NDArray[np.bool_]:
        """Returns `taken` with every row but those of some fixed values, where one is left."""
        others = taken.copy()
        for column, parameter in enumerate(self.space.parameters):
            if parameter.name in fixed:
                value = fixed[parameter.name]
                index = parameter.values.index(value) if value in parameter.values else INACTIVE
                others |= self.space.rows[:, column] != index
        return taken if others.all() else others

    def _propose(
        self, study: Study, trial: FrozenTrial, history: History, taken: npt.NDArray[np.bool_]
    ) -> int:
        """Returns a row that is not taken; there is one."""
        raise NotImplementedError

    def _generator(self, history: History) -> np.random.Generator:
        return np.random.default_rng([self.seed, history.started])


class RandomSampler(RowSampler):
    """Proposes configs uniformly."""

    learns = False

    def _propose(
        self, study: Study, trial: FrozenTrial, history: History, taken: npt.NDArray[np.bool_]
    ) -> int:
        return int(self.space.sample(self._generator(history), 1, taken)[0])


def suggest(trial: Trial, space: SearchSpace) -> Config:
    """Returns the config of a trial that one of these samplers proposed.

    A parameter that the config has no value for is not there.

    Raises:
        ValueError: The study has another sampler.
    """
    if not trial.relative_params:
        raise ValueError(f"trial {trial.number} has no config: the study's sampler is another one")
    config: Config = {}
    for parameter in space.parameters:
        if parameter.name in trial.relative_params:
            value = trial.suggest_categorical(parameter.name, parameter.values)
            assert value is not None, "no parameter has None among its values"
            config[parameter.name] = value
    return config
