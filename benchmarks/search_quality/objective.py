"""A recorded space as methods from outside see it: arrays of value indices, and a function to
minimise that counts what it costs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.space import SearchSpace

__all__ = ["CALLS", "BudgetSpent", "Grid", "Objective"]

CALLS = 10
"""Calls that a run may make for each evaluation of its budget before it is ended: repeats and
points that are not valid are free, so a method that has settled on one config would never end."""


class BudgetSpent(Exception):  # noqa: N818 - the normal end of a run
    """The run is over; ends the method from within."""


@dataclass
class Objective:
    """Time of a row in milliseconds, inf where it failed; a repeat is free.

    Attributes:
        times_ms: Shape (configs,).
        budget: Evaluations allowed; the call that spends the last one raises BudgetSpent.
        order: Rows evaluated so far.
        seen: Their times.
        spent_s: Seconds spent in here, which are not the method's.
    """

    times_ms: npt.NDArray[np.float64]
    budget: int
    order: list[int] = field(default_factory=list)
    seen: dict[int, float] = field(default_factory=dict)
    spent_s: float = 0.0
    calls: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether the run is over."""
        return len(self.order) >= self.budget or self.calls >= CALLS * self.budget

    def __call__(self, row: int) -> float:
        """Returns the time of a row; a row of -1 is a point that is not valid: inf, at no cost."""
        begun = time.perf_counter()
        try:
            return self._evaluate(int(row))
        finally:
            self.spent_s += time.perf_counter() - begun

    def _evaluate(self, row: int) -> float:
        self.calls += 1
        if row >= 0 and row not in self.seen:
            self.order.append(row)
            self.seen[row] = float(self.times_ms[row])
        if self.exhausted:
            raise BudgetSpent
        return self.seen[row] if row >= 0 else float("inf")


class Grid:
    """The valid configs as indices of values.

    A parameter that has no value in some configs has one value more here, None, of index 0.

    Attributes:
        X: int16, shape (n, d): index of each parameter's value.
        n, d: Configs and parameters.
        card: Shape (d,): values of each parameter.
        mult, code: Mixed-radix weights, shape (d,), and codes `X @ mult`, shape (n,).
        names, values: Of each parameter.
    """

    def __init__(self, space: SearchSpace) -> None:
        missing = np.atleast_1d((space.rows < 0).any(axis=0))
        self.X = (space.rows + missing).astype(np.int16)
        self.n, self.d = self.X.shape
        self.names = [parameter.name for parameter in space.parameters]
        self.values: list[list[Any]] = [
            [None] * without + list(parameter.values)
            for parameter, without in zip(space.parameters, missing.tolist(), strict=True)
        ]
        self.card = np.array([len(values) for values in self.values])
        self.mult = np.append(np.cumprod(self.card[:0:-1].astype(np.int64))[::-1], 1)
        self.code = self.X.astype(np.int64) @ self.mult

    @cached_property
    def lookup(self) -> dict[int, int]:
        """Code -> row."""
        return {int(code): row for row, code in enumerate(self.code)}

    def row(self, indices: npt.ArrayLike) -> int:
        """Row of a point, -1 where it is not valid."""
        return self.lookup.get(int(np.asarray(indices, np.int64) @ self.mult), -1)
