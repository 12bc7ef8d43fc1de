"""What all samplers here have in common: they propose valid configs only, and none twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna import Study, Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from tuner.runtime.rules import Config
from tuner.search.history import CODE, Book, History, row_of
from tuner.space import SearchSpace

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
        reads_failures: Whether it learns from trials in the state FAIL.
    """

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
        history = self._book.read(study, trial)
        row = row_of(self.space, trial.system_attrs.get("fixed_params", {}))  # of enqueue_trial
        if row < 0:
            row = self._next(study, trial, history)
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

    def _next(self, study: Study, trial: FrozenTrial, history: History) -> int:
        taken = np.zeros(len(self.space), bool)
        taken[history.rows] = True
        taken[list(history.pending)] = True
        for row in self._first:
            if not taken[row]:
                return row
        if taken.all():
            raise ExhaustedError(f"all {len(taken)} configs were proposed")
        return self._propose(study, trial, history, taken)

    def _propose(
        self, study: Study, trial: FrozenTrial, history: History, taken: npt.NDArray[np.bool_]
    ) -> int:
        """Returns a row that is not taken; there is one."""
        raise NotImplementedError

    def _generator(self, history: History) -> np.random.Generator:
        return np.random.default_rng([self.seed, history.started])


class RandomSampler(RowSampler):
    """Proposes configs uniformly."""

    def _propose(
        self, study: Study, trial: FrozenTrial, history: History, taken: npt.NDArray[np.bool_]
    ) -> int:
        return int(self.space.sample(self._generator(history), 1, taken)[0])


def suggest(trial: Trial, space: SearchSpace) -> Config:
    """Returns the config of a trial that one of these samplers proposed.

    A parameter that the config has no value for is not there.
    """
    config: Config = {}
    for parameter in space.parameters:
        if parameter.name in trial.relative_params:
            value = trial.suggest_categorical(parameter.name, parameter.values)
            assert value is not None, "no parameter has None among its values"
            config[parameter.name] = value
    return config
