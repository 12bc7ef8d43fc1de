"""Samplers that propose valid configs only, and none twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from tuner.runtime.errors import unknown
from tuner.space import SearchSpace

__all__ = ["SAMPLERS", "UnseenRows", "make_sampler"]

Proposal = Callable[[Study, FrozenTrial, Mapping[str, BaseDistribution], int], dict[str, Any]]


class UnseenRows(BaseSampler):
    """Proposes rows of a search space that were not proposed before; the default config comes
    first.

    A proposal of the inner sampler is moved to the nearest valid config that is left. Randomness
    derives from (seed, trial number) alone, so that the same history gives the same proposals.
    """

    def __init__(self, space: SearchSpace, seed: int, propose: Proposal | None = None) -> None:
        self._space = space
        self._seed = seed
        self._propose = propose
        self.seeds: list[int] = []
        self._taken = np.zeros(len(space), bool)
        self._distributions: dict[str, BaseDistribution] = {
            parameter.name: CategoricalDistribution(parameter.values)
            for parameter in space.parameters
        }

    @property
    def exhausted(self) -> bool:
        """Whether every valid config was proposed."""
        return bool(self._taken.all())

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters are chosen together."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the active parameters of the next row."""
        row = self._next(study, trial)
        self._taken[row] = True
        return dict(self._space.config(row))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Never needed: a trial only asks for the parameters of its row."""
        raise KeyError(f"{param_name!r} has no value in this trial")

    def _next(self, study: Study, trial: FrozenTrial) -> int:
        if not self._taken[self._space.default]:
            return self._space.default
        for row in self.seeds:
            if not self._taken[row]:
                return row
        generator = np.random.default_rng([self._seed, trial.number])
        if self._propose is None:
            return int(generator.choice(np.flatnonzero(~self._taken)))
        draw = int(generator.integers(2**31))
        point = self._propose(study, trial, self._distributions, draw)
        return self._space.nearest(point, self._taken)


def _tpe(
    study: Study, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution], seed: int
) -> dict[str, Any]:
    """Tree-structured Parzen estimator of Optuna; pending trials count as bad ones."""
    inner = TPESampler(seed=seed, constant_liar=True)
    joint = inner.infer_relative_search_space(study, trial)
    point = dict(inner.sample_relative(study, trial, joint))
    for name, distribution in distributions.items():
        if name not in point:
            point[name] = inner.sample_independent(study, trial, name, distribution)
    return point


def _exhaustive(
    study: Study, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution], seed: int
) -> dict[str, Any]:
    """From the default outwards."""
    return {}


SAMPLERS: Mapping[str, Proposal | None] = {
    "tpe": _tpe,
    "random": None,
    "exhaustive": _exhaustive,
}


def make_sampler(name: str, space: SearchSpace, seed: int) -> UnseenRows:
    """Returns a sampler by name.

    Raises:
        TunerError: There is no such sampler.
    """
    if name not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    return UnseenRows(space, seed, SAMPLERS[name])
