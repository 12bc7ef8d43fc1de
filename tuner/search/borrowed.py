"""Optuna's own samplers, moved to valid configs that were not proposed yet."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna import Study
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from tuner.runtime.errors import TunerError
from tuner.search.history import History
from tuner.search.sampler import RowSampler
from tuner.space import SearchSpace

__all__ = ["BorrowedSampler", "optuna_samplers"]

TAKES_MORE = {"GridSampler", "PartialFixedSampler", "BruteForceSampler"}
"""They need what only their own constructor can be given, or propose every config anyway."""


class BorrowedSampler(RowSampler):
    """Moves what an Optuna sampler proposes to the nearest valid config that is left.

    The sampler is made anew for each proposal, seeded with `seed` and the number of trials, so that
    it too depends on the study alone, including what such samplers note down there; pending trials
    are told to TPE as bad ones. Parameters are choices to it, so CMA-ES, which takes numbers alone,
    draws at random here.

    Args:
        kind: Name of a class of `optuna.samplers`.
        space: See `RowSampler`.
        seed: See `RowSampler`.
        seeds: See `RowSampler`.
        default: See `RowSampler`.

    Raises:
        TunerError: It cannot be made here: it needs a package that is not installed, say.
    """

    reads_failures = False

    def __init__(
        self,
        kind: str,
        space: SearchSpace,
        seed: int = 0,
        *,
        seeds: Sequence[int] = (),
        default: bool = True,
    ) -> None:
        super().__init__(space, seed, seeds=seeds, default=default)
        self._kind = kind
        self._make(0)

    def _make(self, seed: int) -> BaseSampler:
        maker = getattr(optuna.samplers, self._kind)
        takes = inspect.signature(maker).parameters
        options: dict[str, Any] = {"seed": seed} if "seed" in takes else {}
        if "constant_liar" in takes:
            options["constant_liar"] = True
        if "warn_independent_sampling" in takes:  # conditional parameters are, at each proposal
            options["warn_independent_sampling"] = False
        if "scramble" in takes:  # one sequence for all proposals; without, seeds do not matter
            others = optuna.samplers.RandomSampler(seed=seed)
            options |= {"scramble": True, "seed": self.seed, "independent_sampler": others}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made: BaseSampler = maker(**options)
        except (ImportError, TypeError, ValueError) as error:
            told = " ".join(str(error).split())
            raise TunerError(f"sampler {self._kind} cannot be used here: {told}") from None
        return made

    def _propose(
        self, study: Study, trial: FrozenTrial, history: History, taken: npt.NDArray[np.bool_]
    ) -> int:
        generator = self._generator(history)
        inner = self._make(int(generator.integers(2**31)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                inner.before_trial(study, trial)
                known = inner.infer_relative_search_space(study, trial)
                point = dict(inner.sample_relative(study, trial, known))
                for name, distribution in self._distributions.items():
                    if name not in point:
                        point[name] = inner.sample_independent(study, trial, name, distribution)
            except (ImportError, ValueError, NotImplementedError) as error:
                told = " ".join(str(error).split())
                raise TunerError(f"sampler {self._kind} cannot be used here: {told}") from None
        return self.space.nearest(point, taken)


def optuna_samplers() -> list[str]:
    """Returns the names of Optuna's samplers that can be borrowed."""
    found = []
    for name in dir(optuna.samplers):
        kind = getattr(optuna.samplers, name)
        if name.endswith("Sampler") and inspect.isclass(kind) and not inspect.isabstract(kind):
            found.append(name)
    return [name for name in found if name not in TAKES_MORE]
