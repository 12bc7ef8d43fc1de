"""Simulated annealing over the neighbours of a search space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from optuna import Study
from optuna.trial import FrozenTrial

from tuner.search.design import design_row
from tuner.search.history import History
from tuner.search.sampler import RowSampler
from tuner.search.targets import Scale, scalars

__all__ = ["AnnealingSampler"]

DESIGN = 8
HOT, COLD, COOLED_AFTER = 0.5, 0.01, 200
FAR_JUMP = 0.05


class AnnealingSampler(RowSampler):
    """Walks from neighbour to neighbour: to a better one always, to a worse one with a chance that
    falls with how much worse it is and with the number of finished trials.

    It needs microseconds a proposal and no model. The walk is found anew from the finished trials;
    those that run are not waited for.
    """

    def _propose(
        self, study: Study, trial: FrozenTrial, history: History, taken: npt.NDArray[np.bool_]
    ) -> int:
        generator = self._generator(history)
        if history.started < DESIGN or not len(history.incumbents):
            return design_row(self.space, history, taken, generator)
        place = self._walk(history)
        if generator.random() < FAR_JUMP:
            return int(self.space.sample(generator, 1, taken)[0])
        for start in (place, *history.incumbents):
            near = self.space.neighbours(
                int(history.rows[start]), adjacent=generator.random() < 0.5
            )
            near = near[~taken[near]]
            if len(near):
                return int(generator.choice(near))
        return int(self.space.sample(generator, 1, taken)[0])

    def _walk(self, history: History) -> int:
        """Returns the place in the history where the walk stands after all finished trials."""
        count = len(history.rows)
        values = scalars(history.values, np.random.default_rng(self.seed))
        targets = Scale(values)(values)
        draws = np.random.default_rng(self.seed).random(count)
        here = int(np.argmin(targets[:DESIGN]))
        for place in range(DESIGN, count):
            cooled = min(place / COOLED_AFTER, 1.0)
            temperature = HOT * (COLD / HOT) ** cooled
            if draws[place] < np.exp(min(targets[here] - targets[place], 0.0) / temperature):
                here = place
        return here
