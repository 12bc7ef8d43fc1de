"""A constraint or a `when`, asked for many partial configs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import Parameter, Scope
from tuner.space.codes import INACTIVE, Bools, Ints
from tuner.space.enumeration.columns import COLUMNS
from tuner.space.enumeration.intervals import RANGES, Interval, may_hold

__all__ = ["CHUNK", "Columns", "Condition", "Names"]

CHUNK = 1 << 17  # candidates looked at together: a few MB of intermediate values
MAX_TABLE = 1 << 22
SAMPLES = 512
TRIAL = 20_000
LEAST_DROPPED = 0.02

Columns = Mapping[int, Ints]
"""For parameters, by number, the value indices [m] in as many partial configs."""


class Names:
    """The parameters by number, and the values of all other names."""

    def __init__(self, parameters: Sequence[Parameter], scope: Scope) -> None:
        self.names = [parameter.name for parameter in parameters]
        self.counts = [len(parameter.values) for parameter in parameters]
        self.choices = [np.array(parameter.values) for parameter in parameters]
        self.scope = scope
        self._parameters = parameters

    def range_of(self, column: int) -> Interval:
        """The range of a parameter's values."""
        return Interval.over(self._parameters[column].values)


@dataclass(eq=False)
class Condition:
    """An expression over some parameters that have a value or not (`earlier`), and one being added.

    It is evaluated where it is asked for, until that was done as often as there are combinations of
    the values that it names; from then on it is looked up in a table of them.

    Args:
        own: The parameter being added, if it names it.
        later: Parameters it names that are added later: it holds unless it cannot for any of their
            values. Such a check is only there to save time, so it ends when it drops little.
        vacuous: The verdict where a parameter it names has no value.
        tables: Whether a table may be used; it may need combinations that other constraints forbid.
    """

    expr: Expression
    names: Names
    earlier: Sequence[int]
    own: int | None
    later: Sequence[int] = ()
    vacuous: bool = True
    tables: bool = True

    def __post_init__(self) -> None:
        self._bases = [self.names.counts[column] + 1 for column in self.earlier]
        self._width = 1 if self.own is None else self.names.counts[self.own]
        self._entries = prod(self._bases) * self._width
        self._table: Bools | None = None
        self._looked_at = 0
        self._dropped = 0
        self._off = False
        self._scope: dict[str, Any] = dict(self.names.scope)
        for column in self.later:
            self._scope[self.names.names[column]] = self.names.range_of(column)

    def narrow(self, candidates: Bools, columns: Columns) -> None:
        """Drops from `candidates` [m, values of own] those for which it does not hold."""
        if self._off:
            return
        before = int(np.count_nonzero(candidates))
        self._looked_at += before
        if self.tables and self._table is None and self._entries <= min(self._looked_at, MAX_TABLE):
            self._tabulate()
        if self._table is None:
            self._evaluate(candidates, columns)
        else:
            place = np.zeros(len(candidates), np.int64)
            for column, base in zip(self.earlier, self._bases, strict=True):
                place = place * base + (columns[column] + 1)
            candidates &= self._table.take(place, axis=0)
        if self.later:
            self._dropped += before - int(np.count_nonzero(candidates))
            little = self._dropped < LEAST_DROPPED * self._looked_at
            self._off |= self._looked_at >= TRIAL and little

    def share(self, generator: np.random.Generator) -> float:
        """Estimates for how many of the combinations of values it holds; 1 where it fails."""
        sizes = [self.names.counts[column] for column in self.earlier] + [self._width]
        size = prod(sizes)
        places = np.arange(size) if size <= SAMPLES else generator.integers(size, size=SAMPLES)
        *indices, own = np.unravel_index(places, sizes)
        try:
            holds = self._holds(indices, own)
        except TunerError:
            return 1.0
        return max(float(holds.mean()), 0.5 / len(places))

    def _evaluate(self, candidates: Bools, columns: Columns) -> None:
        rows, values = np.nonzero(candidates)
        try:
            indices = [columns[column][rows] for column in self.earlier]
            candidates[rows, values] = self._holds(indices, values)
        except TunerError:
            if not self.later:
                raise
            self._off = True

    def _tabulate(self) -> None:
        table = np.empty(self._entries, bool)
        try:
            for start in range(0, self._entries, CHUNK):
                places = np.arange(start, min(start + CHUNK, self._entries))
                *indices, own = np.unravel_index(places, (*self._bases, self._width))
                table[places] = self._holds([index + INACTIVE for index in indices], own)
        except TunerError:
            self.tables = False
        else:
            self._table = table.reshape(-1, self._width)

    def _holds(self, indices: Sequence[Ints], own: Ints) -> Bools:
        """The verdict [k] for value indices: of `earlier`, one array [k] each, and of own."""
        active = np.ones(len(own), bool)
        for index in indices:
            active &= index != INACTIVE
        chosen = list(zip(self.earlier, indices, strict=True))
        if self.own is not None:
            chosen.append((self.own, own))
        everywhere = bool(active.all())
        values = dict(self._scope)
        for column, index in chosen:
            at = index if everywhere else index[active]
            values[self.names.names[column]] = self.names.choices[column][at]
        holds = np.full(len(own), self.vacuous)
        if self.later:
            with np.errstate(divide="raise", invalid="ignore", over="ignore"):
                holds[active] = may_hold(self.expr.evaluate(values, RANGES))
        else:
            with np.errstate(divide="raise", invalid="raise"):
                holds[active] = np.asarray(self.expr.evaluate(values, COLUMNS), bool)
        return holds
