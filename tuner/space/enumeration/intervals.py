"""Arithmetic on ranges: what an expression may be while some of its names have no value yet.

A constraint such as `a * b * c <= limit` forbids many choices of `a` and `b` whatever `c` will be.
The ranges may be too wide, never too narrow.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.runtime.expressions import Functions
from tuner.runtime.rules import Value
from tuner.space.enumeration.columns import COLUMNS

__all__ = ["RANGES", "Interval", "may_hold"]

EXACT = 2.0**53  # up to here every whole number is a float

End = npt.NDArray[np.float64]


class Interval:
    """The numbers from `low` to `high`, each one number or a column; NaN where nothing is known.

    What compares them is 1 where it surely holds, 0 where it surely does not, else from 0 to 1.
    """

    __slots__ = ("high", "low")
    __array_ufunc__ = None  # a column leaves the operation to the interval
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, low: Any, high: Any) -> None:
        # Ends that may be rounded are moved outwards.
        self.low: End = np.where(low < -EXACT, -np.inf, np.minimum(low, EXACT))
        self.high: End = np.where(high > EXACT, np.inf, np.maximum(high, -EXACT))

    @staticmethod
    def over(values: Sequence[Value]) -> Interval:
        """Returns the range of a parameter's values."""
        if any(isinstance(value, str) for value in values):
            return Interval(np.nan, np.nan)
        return Interval(float(min(values)), float(max(values)))

    def __add__(self, other: Any) -> Interval:
        return _corners(np.add, self, other)

    def __sub__(self, other: Any) -> Interval:
        return _corners(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Interval:
        return _corners(np.subtract, other, self)

    def __mul__(self, other: Any) -> Interval:
        if isinstance(other, int) and other == 1:  # as is done to every operand
            return self
        return _corners(np.multiply, self, other)

    def __truediv__(self, other: Any) -> Interval:
        return _divided(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Interval:
        return _divided(np.divide, other, self)

    def __floordiv__(self, other: Any) -> Interval:
        return _divided(np.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Interval:
        return _divided(np.floor_divide, other, self)

    def __mod__(self, other: Any) -> Interval:
        return _remainder(other)

    def __rmod__(self, other: Any) -> Interval:
        return _remainder(self)

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __lt__(self, other: Any) -> Interval:
        low, high = _ends(other)
        return _verdict(self.high < low, self.low >= high)

    def __le__(self, other: Any) -> Interval:
        low, high = _ends(other)
        return _verdict(self.high <= low, self.low > high)

    def __gt__(self, other: Any) -> Interval:
        low, high = _ends(other)
        return _verdict(self.low > high, self.high <= low)

    def __ge__(self, other: Any) -> Interval:
        low, high = _ends(other)
        return _verdict(self.low >= high, self.high < low)

    def __eq__(self, other: object) -> Interval:  # type: ignore[override]
        low, high = _ends(other)
        same = (self.low == high) & (self.high == low)
        return _verdict(same, (self.low > high) | (self.high < low))

    def __ne__(self, other: object) -> Interval:  # type: ignore[override]
        return _not(self == other)

    __radd__ = __add__
    __rmul__ = __mul__


def may_hold(value: Any) -> npt.NDArray[np.bool_]:
    """Where a condition holds or may hold."""
    return _truth(value).high > 0


def _ends(value: Any) -> tuple[End, End]:
    if isinstance(value, Interval):
        return value.low, value.high
    column = np.asarray(value)
    exact = np.asarray(np.nan) if column.dtype.kind == "U" else column.astype(float)
    return exact, exact


def _corners(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Interval:
    """For an operation that is largest and smallest where its operands are."""
    (low, high), (other_low, other_high) = _ends(left), _ends(right)
    lefts = [low] if low is high else [low, high]
    rights = [other_low] if other_low is other_high else [other_low, other_high]
    results = [operation(a, b) for a in lefts for b in rights]
    return Interval(reduce(np.minimum, results), reduce(np.maximum, results))


def _divided(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Interval:
    low, _ = _ends(right)
    return _corners(operation, left, right) if np.all(low > 0) else Interval(np.nan, np.nan)


def _remainder(divisor: Any) -> Interval:
    low, high = _ends(divisor)
    return Interval(0 * low, high) if np.all(low > 0) else Interval(np.nan, np.nan)


def _power(base: Any, exponent: Any) -> Interval:
    if np.all(_ends(base)[0] >= 1) and np.all(_ends(exponent)[0] >= 0):
        return _corners(np.float_power, base, exponent)
    return Interval(np.nan, np.nan)


def _verdict(always: Any, never: Any) -> Interval:
    return Interval(1.0 * always, 1.0 - never)


def _truth(value: Any) -> Interval:
    low, high = _ends(value)
    return _verdict((low > 0) | (high < 0), (low == 0) & (high == 0))


def _not(value: Any) -> Interval:
    truth = _truth(value)
    return Interval(1 - truth.high, 1 - truth.low)


def _smallest(*values: Any) -> Interval:
    lows, highs = zip(*map(_ends, values), strict=True)
    return Interval(reduce(np.minimum, lows), reduce(np.minimum, highs))


def _largest(*values: Any) -> Interval:
    lows, highs = zip(*map(_ends, values), strict=True)
    return Interval(reduce(np.maximum, lows), reduce(np.maximum, highs))


def _either(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        ranges = any(isinstance(value, Interval) for value in values)
        return function(*values) if ranges else COLUMNS[name](*values)

    return apply


def _member(value: Any, members: list[Any]) -> Any:
    return reduce(RANGES["or"], [operator.eq(value, member) for member in members], False)


RANGES: Functions = {
    **COLUMNS,
    "min": _either("min", _smallest),
    "max": _either("max", _largest),
    "**": _either("**", _power),
    "and": _either("and", lambda a, b: _smallest(_truth(a), _truth(b))),
    "or": _either("or", lambda a, b: _largest(_truth(a), _truth(b))),
    "not": _either("not", _not),
    "in": _member,
}
