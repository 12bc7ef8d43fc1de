"""What a study knows of the rows of a search space: results in the order of finishing, and what is
still pending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

FEW = 64

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """What was proposed so far.

    Attributes:
        rows: Shape [n]: the finished rows in the order of finishing.
        values: Shape [n, objectives]: what came out, less is better; infinite where it failed.
        pending: Rows that were proposed and are not finished.
    """

    rows: Ints
    values: Floats
    pending: tuple[int, ...]

    @property
    def started(self) -> int:
        """The number of rows proposed."""
        return len(self.rows) + len(self.pending)

    @property
    def merits(self) -> Floats:
        """One number [n] for each result: the value, or the sum of several."""
        return np.asarray(self.values.sum(axis=1))

    @property
    def incumbents(self) -> Ints:
        """Places in `rows` of what did not fail, best first; of equals the earlier."""
        order = np.argsort(self.merits, kind="stable")
        return order[np.isfinite(self.merits[order])]


_Finished = tuple[Any, int, int, Floats]
"""When a trial finished, its number, its row and what came out."""


@dataclass(frozen=True)
class _Running:
    """A trial that runs: what it said of its row, and the row."""

    trial: FrozenTrial
    said: tuple[object, int]
    row: int


class _Results:
    """One result for each row, in arrays that grow at the end; what was handed out stays as it is.

    Args:
        objectives: Numbers that a result has.
    """

    def __init__(self, objectives: int) -> None:
        self._found: dict[int, Floats] = {}
        self._rows = np.empty(FEW, np.int64)
        self._values = np.empty((FEW, objectives))

    def __contains__(self, row: int) -> bool:
        return row in self._found

    @property
    def rows(self) -> Ints:
        """The rows [n] in the order of their results."""
        return self._rows[: len(self._found)]

    @property
    def values(self) -> Floats:
        """The results [n, objectives]."""
        return self._values[: len(self._found)]

    def add(self, row: int, values: Floats) -> None:
        """Takes a result; of two of one row the first that did not fail."""
        before = self._found.get(row)
        if before is not None:
            if np.isfinite(before).all() or not np.isfinite(values).all():
                return
            del self._found[row]
            self._grow()
        place = len(self._found)
        if place == len(self._rows):
            self._grow()
        self._found[row] = values
        self._rows[place], self._values[place] = row, values

    def _grow(self) -> None:
        """Writes all results into new arrays, with room for as many again."""
        size = max(FEW, 2 * len(self._found))
        self._rows, self._values = (
            np.empty(size, np.int64),
            np.empty((size, *self._values.shape[1:])),
        )
        for place, (row, values) in enumerate(self._found.items()):
            self._rows[place], self._values[place] = row, values


class Book:
    """Reads a study's trials, each finished one once, so that a reading costs what is new.

    A trial belongs to the row whose code is written in it, else, or where its parameters are others
    than that row's, to the row of its parameters; one that belongs to none is left out. Trials of
    one row count once, as the first to finish that did not fail.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._study: tuple[object, int] = (None, -1)

    def _open(self, study: Study) -> None:
        self._study = (study._storage, study._study_id)
        self._signs = np.array(
            [1 if d != StudyDirection.MAXIMIZE else -1 for d in study.directions]
        )
        self._finished: dict[int, _Finished] = {}
        self._newest: tuple[Any, int] | None = None
        self._running: dict[int, _Running] = {}
        self._read = 0  # so many of the first trials are finished and read
        self._results = _Results(len(self._signs))

    def read(self, study: Study, own: FrozenTrial | None = None) -> History:
        """Returns what is known; `own` is the trial that asks."""
        if study._storage is not self._study[0] or study._study_id != self._study[1]:
            self._open(study)
        asks = -1 if own is None else own.number
        new: list[_Finished] = []
        trials = study.get_trials(deepcopy=False)
        for trial in trials[self._read :]:
            number = trial.number
            known = self._running.get(number)
            if known is not None and known.trial is trial:
                continue  # a storage in memory replaces what changes
            if trial.state.is_finished():
                if number not in self._finished:
                    new.append(self._finish(trial))
            elif trial.state == TrialState.RUNNING and number != asks:
                self._run(trial)
        while self._read in self._finished and trials[self._read].number == self._read:
            self._read += 1
        self._add(new)
        numbers = sorted(self._running.keys() - {asks})
        rows = dict.fromkeys(self._running[number].row for number in numbers)
        results = self._results
        pending = tuple(row for row in rows if row >= 0 and row not in results)
        return History(results.rows, results.values, pending)

    def _finish(self, trial: FrozenTrial) -> _Finished:
        self._running.pop(trial.number, None)
        found = (
            trial.datetime_complete,
            trial.number,
            self._row(trial),
            _values(trial, self._signs),
        )
        self._finished[trial.number] = found
        return found

    def _add(self, new: Sequence[_Finished]) -> None:
        """Adds results; all of them anew where one finished before one that was read earlier, as
        another process's may.
        """
        new = sorted(new, key=lambda each: each[:2])
        if new and self._newest is not None and new[0][:2] < self._newest:
            self._results = _Results(len(self._signs))
            new = sorted(self._finished.values(), key=lambda each: each[:2])
        for when, number, row, values in new:
            self._newest = (when, number)
            if row >= 0:
                self._results.add(row, values)

    def _run(self, trial: FrozenTrial) -> None:
        """Notes the row of a trial that runs, anew only where the trial says more of itself."""
        said = (trial.system_attrs.get(CODE), len(trial.params))
        known = self._running.get(trial.number)
        row = known.row if known is not None and known.said == said else self._row(trial)
        self._running[trial.number] = _Running(trial, said, row)

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


def _values(trial: FrozenTrial, signs: Ints) -> Floats:
    if trial.state != TrialState.COMPLETE or trial.values is None:
        return np.full(len(signs), np.inf)
    values = np.array(trial.values, float) * signs
    return np.where(np.isfinite(values), values, np.inf)
