"""What a study knows of the rows of a search space: results in the order of finishing, and what is
still pending.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.space import SearchSpace

__all__ = ["CODE", "Book", "History"]

CODE = "nki-tuner:code"
"""Name of the system attribute of a trial that holds the code of its row."""


@dataclass(frozen=True)
class History:
    """What was proposed so far.

    Attributes:
        rows: Shape [n]: the finished rows in the order of finishing.
        values: Shape [n, objectives]: what came out, less is better; infinite where it failed.
        pending: Rows that were proposed and are not finished.
    """

    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    pending: tuple[int, ...]

    @property
    def started(self) -> int:
        """The number of rows proposed."""
        return len(self.rows) + len(self.pending)

    @property
    def merits(self) -> npt.NDArray[np.float64]:
        """One number [n] for each result: the value, or the sum of several."""
        return np.asarray(self.values.sum(axis=1))

    @property
    def incumbents(self) -> npt.NDArray[np.int64]:
        """Places in `rows` of what did not fail, best first; of equals the earlier."""
        order = np.argsort(self.merits, kind="stable")
        return order[np.isfinite(self.merits[order])]


_Finished = tuple[Any, int, int, npt.NDArray[np.float64]]
"""When a trial finished, its number, its row and what came out."""


@dataclass
class Book:
    """Reads a study's trials, the finished ones once.

    A trial belongs to the row whose code is written in it, else, or where its parameters are others
    than that row's, to the row of its parameters; one that belongs to none is left out. Trials of
    one row count once, as the first to finish that did not fail.
    """

    space: SearchSpace
    _finished: dict[int, _Finished] = field(default_factory=dict)
    _study: tuple[object, int] = (None, -1)

    def read(self, study: Study, own: FrozenTrial | None = None) -> History:
        """Returns what is known; `own` is the trial that asks."""
        signs = np.array([1 if d != StudyDirection.MAXIMIZE else -1 for d in study.directions])
        done: list[_Finished] = []
        pending: dict[int, None] = {}
        if study._storage is not self._study[0] or study._study_id != self._study[1]:
            self._finished, self._study = {}, (study._storage, study._study_id)
        for trial in study.get_trials(deepcopy=False):
            if own is not None and trial.number == own.number:
                continue
            if trial.state.is_finished():
                if trial.number not in self._finished:
                    self._finished[trial.number] = (
                        trial.datetime_complete,
                        trial.number,
                        self._row(trial),
                        _values(trial, signs),
                    )
                done.append(self._finished[trial.number])
            elif trial.state == TrialState.RUNNING:
                pending[self._row(trial)] = None
        pending.pop(-1, None)
        done = sorted((each for each in done if each[2] >= 0), key=lambda each: each[:2])
        first: dict[int, npt.NDArray[np.float64]] = {}
        for _, _, row, values in done:
            if row not in first or (np.isinf(first[row]).any() and np.isfinite(values).all()):
                first.pop(row, None)
                first[row] = values
        table = np.array(list(first.values())).reshape(len(first), len(signs))
        rows = np.fromiter(first, np.int64, len(first))
        return History(rows, table, tuple(row for row in pending if row not in first))

    def _row(self, trial: FrozenTrial) -> int:
        code = trial.system_attrs.get(CODE)
        place = len(self.space) if code is None else int(np.searchsorted(self.space.codes, code))
        row = -1
        if place < len(self.space) and self.space.codes[place] == code:
            config = self.space.config(place)
            others = any(config.get(name, value) != value for name, value in trial.params.items())
            row = -1 if others else place
        return row if row >= 0 else row_of(self.space, trial.params)


def row_of(space: SearchSpace, params: Mapping[str, Any]) -> int:
    """Returns the row of these parameters, -1 where they are no valid config."""
    try:
        return space.row(params)
    except (KeyError, TypeError):
        return -1


def _values(trial: FrozenTrial, signs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    if trial.state != TrialState.COMPLETE or trial.values is None:
        return np.full(len(signs), np.inf)
    values = np.array(trial.values, float) * signs
    return np.where(np.isfinite(values), values, np.inf)
