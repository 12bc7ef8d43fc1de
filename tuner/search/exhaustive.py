"""Tries every config."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from optuna import Study
from optuna.trial import FrozenTrial

from tuner.search.history import History
from tuner.search.sampler import RowSampler

__all__ = ["ExhaustiveSampler"]


class ExhaustiveSampler(RowSampler):
    """Proposes every config, in an order drawn once, so that what was tried so far is always a fair
    sample of the space.
    """

    learns = False
    _order: npt.NDArray[np.int64] | None = None

    def _propose(
        self, study: Study, trial: FrozenTrial, history: History, taken: npt.NDArray[np.bool_]
    ) -> int:
        if self._order is None:
            self._order = np.random.default_rng(self.seed).permutation(len(self.space))
        return int(self._order[np.argmin(taken[self._order])])
