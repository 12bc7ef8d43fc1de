"""Valid configs next to a valid config or nearest to any, found by arithmetic on codes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.runtime.rules import Parameter
from tuner.space.codes import INACTIVE, Bools, Codes, Ints, Radix, Rows, lookup

__all__ = ["Neighbourhood", "nearest_row"]

MAX_SWITCHED_ON = 32
CHUNK = 1 << 16
RADII = (0.5, 1.0, 1.5, 2.0, 3.0)
MAX_PREFIXES_SHARE = 1 / 16  # of the rows; a prefix takes some ten times as long as a row

Costs = Sequence[npt.NDArray[np.float64]]
"""For each parameter the cost of each of its values, and of none, which stands last."""


@dataclass(frozen=True)
class _Moves:
    """Every single change of a row whose values stand in certain columns.

    Attributes:
        column: Shape [moves]: the parameter that is changed.
        index: Its new value.
        switched: The code of the values that the change switches on.
        pattern: Number of the pattern that the changed row has.
        common: Shape [patterns, parameters]: the columns that have a value before and after.
    """

    column: Codes
    index: Codes
    switched: Codes
    pattern: Codes
    common: Bools


class Neighbourhood:
    """Answers which rows are neighbours; see `SearchSpace.neighbours` for what they are.

    Args:
        rows: Shape [n, parameters].
        codes: Their codes [n], rising.
        ordered: Which parameters have steps that mean something.
        whens: Whether the `when` of the parameters decide where rows have values; if not, any
            change may switch any parameter.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        rows: Rows,
        codes: Codes,
        radix: Radix,
        ordered: Bools,
        whens: bool,
    ) -> None:
        self._parameters = parameters
        self._rows = rows
        self._codes = codes
        self._radix = radix
        self._ordered = ordered
        self._whens = whens
        self._moves: dict[bytes, _Moves] = {}

    def of(self, row: int, adjacent: bool) -> Codes:
        """Returns the neighbours of a row, rising."""
        indices = self._rows[row].astype(np.int64)
        inactive = indices == INACTIVE
        moves = self._moves.get(inactive.tobytes())
        if moves is None:
            moves = self._moves[inactive.tobytes()] = self._all_moves(~inactive)
        weights = self._radix.weights
        terms = (indices + self._radix.optional) * weights
        step = (moves.index - indices[moves.column]) * weights[moves.column]
        found = lookup(self._codes, (moves.common @ terms)[moves.pattern] + moves.switched + step)
        valid = (found != -1) & (step != 0)
        found, column, index = found[valid], moves.column[valid], moves.index[valid]
        if adjacent:
            found = found[self._next_to(indices, column, index)]
        return np.sort(found)

    def _next_to(self, indices: Codes, column: Codes, index: Codes) -> Bools:
        """Which changes go to the next lower or higher value that is there, or have no order."""
        now = indices[column]
        below = np.full(len(indices), INACTIVE - 1)
        above = np.full(len(indices), np.iinfo(np.int64).max)
        np.maximum.at(below, column, np.where(index < now, index, below[column]))
        np.minimum.at(above, column, np.where(index > now, index, above[column]))
        next_to: Bools = (index == below[column]) | (index == above[column])
        return next_to | ~self._ordered[column]

    @cached_property
    def _patterns(self) -> Bools:
        """Shape [patterns, parameters]: the different ways in which rows have no values."""
        optional = np.flatnonzero(self._radix.optional)
        bits = 1 << np.arange(len(optional), dtype=np.int64)  # at most 62, as codes fit in 63 bits
        seen = np.zeros(0, np.int64)
        for start in range(0, len(self._rows), CHUNK):
            inactive = self._rows[start : start + CHUNK, optional] == INACTIVE
            seen = np.union1d(seen, inactive @ bits)
        patterns = np.zeros((len(seen), len(self._parameters)), bool)
        patterns[:, optional] = seen[:, None] & bits
        return patterns

    @cached_property
    def _deciders(self) -> Bools:
        """Shape [parameters, parameters]: whether the value of the second may switch the first."""
        count = len(self._parameters)
        if not self._whens:
            return np.ones((count, count), bool)
        deciders = np.zeros((count, count), bool)
        for column, parameter in enumerate(self._parameters):
            for other, earlier in enumerate(self._parameters[:column]):
                if parameter.when is not None and earlier.name in parameter.when.names:
                    deciders[column, other] = True
                    deciders[column] |= deciders[other]
        return deciders

    def _all_moves(self, active: Bools) -> _Moves:
        parts = [np.empty((4, 0), np.int64)]
        for number, inactive in enumerate(self._patterns):
            common = active & ~inactive
            movable = common & self._deciders[active == inactive].all(axis=0)
            switched = self._switched(np.flatnonzero(~active & ~inactive))
            for column in np.flatnonzero(movable).tolist():
                index = np.arange(self._radix.counts[column])
                grid = np.broadcast_arrays(column, index[:, None], switched, number)
                parts.append(np.stack([part.ravel() for part in grid]).astype(np.int64))
        column, index, code, pattern = np.concatenate(parts, axis=1)
        return _Moves(column, index, code, pattern, active & ~self._patterns)

    def _switched(self, columns: Ints) -> Codes:
        """The codes of all choices for columns that get values, of the defaults if too many."""
        counts = self._radix.counts[columns]
        if prod(counts.tolist()) <= MAX_SWITCHED_ON:
            choices = [range(count) for count in counts]
        else:
            parameters = [self._parameters[column] for column in columns]
            at = [p.values.index(p.default) for p in parameters]
            choices = [range(index, index + 1) for index in at]
        combinations = list(itertools.product(*choices))
        digits = np.array(combinations, np.int64).reshape(len(combinations), len(columns)) + 1
        codes: Codes = digits @ self._radix.weights[columns]
        return codes


def nearest_row(rows: Rows, codes: Codes, radix: Radix, costs: Costs, taken: Bools | None) -> int:
    """Returns the first row of least summed cost that is not `taken`; -1 if there is none.

    It looks at what is nearer than some radius, then than a larger one, and in the end at all rows.
    """
    for radius in RADII:
        near = _within(codes, radix, costs, radius)
        if near is None:
            break
        places, away = near
        if taken is not None:
            places, away = places[~taken[places]], away[~taken[places]]
        if len(places):
            return int(places[np.lexsort([places, away])[0]])
    best, least = -1, np.inf
    for start in range(0, len(rows), CHUNK):
        away = _rounded(sum(c[rows[start : start + CHUNK, i]] for i, c in enumerate(costs)))
        if taken is not None:
            away[taken[start : start + CHUNK]] = np.inf
        row = int(np.argmin(away))
        if away[row] < least:
            best, least = start + row, away[row]
    return best


def _within(
    codes: Codes, radix: Radix, costs: Costs, radius: float
) -> tuple[Codes, npt.NDArray[np.float64]] | None:
    """The rows that cost at most `radius`, and their costs; None where that is much to look at.

    Column by column it keeps those prefixes of rows that exist and do not cost more already.
    """
    prefixes, away = np.zeros(1, np.int64), np.zeros(1)
    places = prefixes
    for column, weight in enumerate(radix.weights.tolist()):
        cost = costs[column]
        by_digit = np.roll(cost, 1) if radix.optional[column] else cost[:-1]
        longer = away[:, None] + by_digit
        parents, digits = np.nonzero(longer <= radius + 1e-9)
        prefixes = prefixes[parents] + digits * weight
        places = np.searchsorted(codes, prefixes)
        first = codes[np.minimum(places, len(codes) - 1)] - prefixes
        kept = (first >= 0) & (first < weight)
        prefixes, places = prefixes[kept], places[kept]
        away = longer[parents[kept], digits[kept]]
        if len(prefixes) > MAX_PREFIXES_SHARE * len(codes) + 1000:
            return None
    return places, _rounded(away)


def _rounded(away: Any) -> npt.NDArray[np.float64]:
    """Equal sums, added in another order, stay equal."""
    rounded: npt.NDArray[np.float64] = np.round(away, 9)
    return rounded
