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


@dataclass
class Book:
    """Reads a study's trials, the finished ones once.

    A trial belongs to the row whose code is written in it, else to that of its parameters; one that
    belongs to none is left out. Two trials of a row count once, as the first to finish.
    """

    space: SearchSpace
    _rows: dict[int, int] = field(default_factory=dict)
    _study: str = ""

    def read(self, study: Study, own: FrozenTrial | None = None) -> History:
        """Returns what is known; `own` is the trial that asks."""
        signs = np.array([1 if d != StudyDirection.MAXIMIZE else -1 for d in study.directions])
        done: list[tuple[Any, int, int, npt.NDArray[np.float64]]] = []
        pending: dict[int, None] = {}
        if study.study_name != self._study:
            self._rows, self._study = {}, study.study_name
        for trial in study.get_trials(deepcopy=False):
            if own is not None and trial.number == own.number:
                continue
            row = self._row(trial)
            if row < 0:
                continue
            if trial.state.is_finished():
                values = _values(trial, len(signs)) * signs
                done.append((trial.datetime_complete, trial.number, row, values))
            elif trial.state == TrialState.RUNNING:
                pending[row] = None
        done.sort(key=lambda each: each[:2])
        first: dict[int, npt.NDArray[np.float64]] = {}
        for _, _, row, values in done:
            first.setdefault(row, values)
        table = np.array(list(first.values())).reshape(len(first), len(signs))
        rows = np.fromiter(first, np.int64, len(first))
        return History(rows, table, tuple(row for row in pending if row not in first))

    def _row(self, trial: FrozenTrial) -> int:
        if trial.number in self._rows:
            return self._rows[trial.number]
        code = trial.system_attrs.get(CODE)
        if code is not None:
            place = int(np.searchsorted(self.space.codes, code))
            there = place < len(self.space) and self.space.codes[place] == code
            row = place if there else -1
        else:
            row = row_of(self.space, trial.params)
        if code is not None or trial.state.is_finished():
            self._rows[trial.number] = row
        return row


def row_of(space: SearchSpace, params: Mapping[str, Any]) -> int:
    """Returns the row of these parameters, -1 where they are no valid config."""
    try:
        return space.row(params)
    except (KeyError, TypeError):
        return -1


def _values(trial: FrozenTrial, objectives: int) -> npt.NDArray[np.float64]:
    if trial.state != TrialState.COMPLETE or trial.values is None:
        return np.full(objectives, np.inf)
    values = np.array(trial.values, float)
    return np.where(np.isnan(values), np.inf, values)
