"""How far configs are apart: the components of the distance, whose weights are fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import numpy.typing as npt

from tuner.runtime.rules import Parameter
from tuner.search.gaussian.loops import correlations
from tuner.space import SearchSpace

__all__ = ["Distances", "Points"]

# What a component weighs before anything is measured, for a space of one parameter. Chosen on
# recorded spaces of GPU kernels; fitting moves them.
STEPS, DIFFERENT, WORDS, DIVISIBLE, JOINT = 0.5, 0.1, 0.65, 0.25, 0.2
MAX_JOINT = 64

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Configs as the loops take them.

    Attributes:
        states: Shape [n, parameters]: index of the value, plus one; 0 where there is none.
        joint: Shape [n, features]: the joint features, from 0 to 1.
        prior: Shape [n]: what a prior says of them, standardised; 0 where it says nothing.
    """

    states: npt.NDArray[np.uint16]
    joint: Floats
    prior: Floats

    def __len__(self) -> int:
        return len(self.states)

    def part(self, rows: slice) -> Points:
        """Returns some of them."""
        return Points(self.states[rows], self.joint[rows], self.prior[rows])


class Distances:
    """The distances between the configs of a search space, as a weighted sum of components.

    For each parameter there is a table over its states: for numbers the steps between two values as
    a share of the range, with something on top for being different at all; for words and truth
    values only that. Whole numbers that are not powers of each other add how often 2 divides them,
    which memory and vector units care for. Joint features are the products of pairs of positive
    numbers, and of all of them, on a logarithmic scale: what a block holds, or how many there are.

    Attributes:
        columns: The parameter of each table.
        tables: The tables, one after the other.
        starts: Where each begins in `tables`.
        sizes: States of each parameter.
        offsets: Where each parameter's table begins in a table of all of them.
        log_weights: Of each component, tables first, what its weight is before anything is known.
        has_prior: Whether a prior says anything of any config.
    """

    def __init__(self, space: SearchSpace, prior: Floats | None = None) -> None:
        self._space = space
        self._prior = np.zeros(len(space)) if prior is None else prior
        self.has_prior = bool(np.any(self._prior))
        self._logs = [_logs(parameter) for parameter in space.parameters]
        parts = [
            (column, table.ravel(), weight)
            for column, parameter in enumerate(space.parameters)
            for table, weight in _tables(parameter, bool(space.ordered[column]))
        ]
        self.columns = np.array([column for column, _, _ in parts], np.int64)
        self.tables = np.concatenate([table for _, table, _ in parts])
        self.starts = np.cumsum([0, *(len(table) for _, table, _ in parts[:-1])])
        self.sizes = np.array([len(p.values) + 1 for p in space.parameters], np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.sizes**2)])
        numbers = [c for c, logs in enumerate(self._logs) if logs is not None]
        groups: Iterator[tuple[int, ...]] = combinations(numbers, 2)
        self._groups = list(islice(groups, MAX_JOINT - 1))
        if len(numbers) > 2:
            self._groups.append(tuple(numbers))
        weights = [weight for _, _, weight in parts] + [JOINT] * len(self._groups)
        # More parameters make configs no less alike.
        self.log_weights = np.log(weights) - np.log(0.5) - 0.5 * np.log(len(space.parameters))

    def points(self, rows: npt.NDArray[np.integer]) -> Points:
        """Returns the configs of some rows [n], in Fortran order."""
        indices = self._space.rows[rows].astype(np.int64)
        joint = np.zeros((len(rows), len(self._groups)), order="F")
        for feature, group in enumerate(self._groups):
            logs = [self._logs[column] for column in group]
            span = sum(np.ptp(values[:-1]) for values in logs if values is not None)
            for column, values in zip(group, logs, strict=True):
                assert values is not None
                joint[:, feature] += values[indices[:, column]] / span
        return Points((indices + 1).astype(np.uint16, order="F"), joint, self._prior[rows])

    def combined(self, weights: Floats) -> Floats:
        """Returns one table a parameter, one after the other, for these weights of the tables."""
        table = np.zeros(self.offsets[-1])
        for c, column in enumerate(self.columns):
            begin, end = self.offsets[column], self.offsets[column + 1]
            table[begin:end] += weights[c] * self.tables[self.starts[c] :][: end - begin]
        return table

    def correlations(self, a: Points, b: Points, weights: Floats) -> Floats:
        """Returns exp(-distance) [a, b] for the weights of all components."""
        tables = len(self.columns)
        table = self.combined(weights[:tables])
        return correlations(
            a.states,
            a.joint,
            b.states,
            b.joint,
            table,
            self.offsets,
            self.sizes,
            weights[tables:],
        )


def _tables(parameter: Parameter, ordered: bool) -> Iterator[tuple[Floats, float]]:
    """Yields tables over the states of a parameter, and their weights; state 0 is half a range away
    from all others.
    """
    index = np.arange(len(parameter.values))
    different = 1.0 - np.eye(len(index))
    if not ordered:
        yield _with_inactive(different), WORDS
        return
    yield _with_inactive(STEPS * _steps(index) + DIFFERENT * different), 1.0
    twos = _twos(parameter.values)
    if twos is not None:
        yield _with_inactive(_steps(twos)), DIVISIBLE


def _steps(values: npt.NDArray[np.integer]) -> Floats:
    return np.asarray(np.abs(values[:, None] - values[None]) / max(np.ptp(values), 1))


def _with_inactive(table: Floats) -> Floats:
    grown = np.full((len(table) + 1, len(table) + 1), 0.5 * table.max(initial=0.0))
    grown[0, 0] = 0.0
    grown[1:, 1:] = table
    return grown


def _twos(values: Sequence[object]) -> npt.NDArray[np.int64] | None:
    """How often 2 divides each value; None where that only repeats their order."""
    if len(values) < 3 or not all(isinstance(v, int) for v in values):
        return None
    whole = [v for v in values if isinstance(v, int)]
    twos = np.array([(v & -v).bit_length() - 1 if v else 0 for v in whole])
    rising, falling = (np.diff(twos) >= 0).all(), (np.diff(twos) <= 0).all()
    return None if rising or falling else twos


def _logs(parameter: Parameter) -> Floats | None:
    """Logarithms of the values, from 0, and their middle for no value; None where not all are
    positive or there are too few.
    """
    numbers = [
        v for v in parameter.values if isinstance(v, int | float) and not isinstance(v, bool)
    ]
    if len(numbers) < len(parameter.values) or len(numbers) < 3 or min(numbers) <= 0:
        return None
    logs = np.log(numbers)
    logs -= logs.min()
    return np.append(logs, np.ptp(logs) / 2)
