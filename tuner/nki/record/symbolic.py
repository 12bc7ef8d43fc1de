"""Whole numbers that stand for all passes of a loop at once.

While a kernel is recorded, the body of a loop runs once for many passes: its index is an `Index`,
a sum of the passes of the enclosing loops with whole coefficients, plus quotients and remainders of
such sums. Where Python needs one answer (a comparison, a size, a dictionary's key), the loops are
narrowed to the first passes for which the answer is the same; the passes that are left run in
another segment. So whatever is recorded holds for every pass of its segment.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Index", "Loop", "NotSymbolicError", "Term", "Variable", "Whole", "extremes", "moved"]

MAX_POINTS = 1 << 22


class NotSymbolicError(BaseException):
    """A loop cannot be recorded as a whole: the kernel uses after a loop what belongs to a pass.

    Not an Exception, so that hardly a kernel catches it; the kernel is then recorded pass by pass.

    Attributes:
        raised: How many were raised in this process: a kernel may catch even this one.
    """

    raised = 0

    def __init__(self) -> None:
        super().__init__()
        NotSymbolicError.raised += 1


class Loop:
    """One segment of a loop: passes that are recorded together.

    Attributes:
        count: Passes; may shrink while the segment is open.
        depth: How many loops are around it.
        open: Whether its body is running.
        instructions, tensors, accesses: How many of them one pass makes, once it is closed.
    """

    __slots__ = ("accesses", "count", "depth", "instructions", "open", "tensors")

    def __init__(self, count: int, depth: int) -> None:
        self.count = count
        self.depth = depth
        self.open = True
        self.instructions = 0
        self.tensors = 0
        self.accesses = 0


class Term(NamedTuple):
    """A quotient or a remainder of a sum of passes by a positive constant."""

    constant: int
    passes: tuple[tuple[Loop, int], ...]
    divisor: int
    remainder: bool

    def values(self, passes: dict[Loop, Any]) -> Any:
        """Its values where the passes have theirs."""
        total: Any = self.constant
        for loop, factor in self.passes:
            total = total + passes[loop] * factor
        return total % self.divisor if self.remainder else total // self.divisor


Variable = Loop | Term
"""What an index may depend on."""


class Index:
    """constant + the sum of factor * variable; behaves as an int and asks only when it must."""

    __slots__ = ("constant", "factors")

    def __init__(self, constant: int, factors: dict[Variable, int]) -> None:
        self.constant = constant
        self.factors = factors

    def __add__(self, other: Any) -> Any:
        if type(other) is Index:
            return _combined(self, other, 1)
        if type(other) is int:
            return Index(self.constant + other, self.factors) if other else self
        if isinstance(other, int | np.integer):
            return self + int(other)
        return int(self) + other

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if type(other) is Index:
            return _combined(self, other, -1)
        if type(other) is int:
            return Index(self.constant - other, self.factors) if other else self
        if isinstance(other, int | np.integer):
            return self - int(other)
        return int(self) - other

    def __rsub__(self, other: Any) -> Any:
        if type(other) is int:
            return Index(other - self.constant, {v: -f for v, f in self.factors.items()})
        return -self + other

    def __neg__(self) -> Any:
        return self * -1

    def __pos__(self) -> Any:
        return self

    def __mul__(self, other: Any) -> Any:
        if type(other) is not int:
            if not isinstance(other, Index | int | np.integer):
                return int(self) * other
            other = int(other)
        if other == 1:
            return self
        if other == 0:
            return 0
        return Index(self.constant * other, {v: f * other for v, f in self.factors.items()})

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return _divided(self, other, remainder=False)

    def __mod__(self, other: Any) -> Any:
        return _divided(self, other, remainder=True)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return divmod(other, int(self))

    def __rfloordiv__(self, other: Any) -> Any:
        return other // int(self)

    def __rmod__(self, other: Any) -> Any:
        return other % int(self)

    def __truediv__(self, other: Any) -> Any:
        return int(self) / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / int(self)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return pow(int(self), other, modulus)

    def __rpow__(self, other: Any) -> Any:
        return other ** int(self)

    def __lshift__(self, other: Any) -> Any:
        return self * (1 << index(other))

    def __rlshift__(self, other: Any) -> Any:
        return other << int(self)

    def __rshift__(self, other: Any) -> Any:
        return self // (1 << index(other))

    def __rrshift__(self, other: Any) -> Any:
        return other >> int(self)

    def __and__(self, other: Any) -> Any:
        return int(self) & index(other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Any:
        return int(self) | index(other)

    __ror__ = __or__

    def __xor__(self, other: Any) -> Any:
        return int(self) ^ index(other)

    __rxor__ = __xor__

    def __invert__(self) -> Any:
        return -1 - self

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def __lt__(self, other: Any) -> bool:
        return _compared(self - other, "<")

    def __le__(self, other: Any) -> bool:
        return _compared(self - other, "<=")

    def __gt__(self, other: Any) -> bool:
        return not _compared(self - other, "<=")

    def __ge__(self, other: Any) -> bool:
        return not _compared(self - other, "<")

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, int | float | Index | np.number):
            return False
        return _compared(self - other, "==")

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __bool__(self) -> bool:
        return self != 0

    def __hash__(self) -> int:
        return hash(int(self))

    def __int__(self) -> int:
        low, high = extremes(self)
        return low if low == high else int(_settled(self, lambda values: values))

    __index__ = __int__

    def __float__(self) -> float:
        return float(int(self))

    def __str__(self) -> str:
        return str(int(self))

    def __repr__(self) -> str:
        return repr(int(self))

    def __format__(self, spec: str) -> str:
        return format(int(self), spec)

    def __round__(self, digits: int | None = None) -> Any:
        return self if digits is None or digits >= 0 else round(int(self), digits)

    def __trunc__(self) -> Any:
        return self

    __floor__ = __ceil__ = __trunc__


Whole = int | Index
"""A whole number, or one for every pass."""


def _combined(left: Index, right: Index, sign: int) -> Whole:
    factors = dict(left.factors)
    for variable, factor in right.factors.items():
        total = factors.get(variable, 0) + sign * factor
        if total:
            factors[variable] = total
        else:
            del factors[variable]
    constant = left.constant + sign * right.constant
    return Index(constant, factors) if factors else constant


def moved(base: Whole, index: Index, factor: int) -> Whole:
    """Returns base + index * factor, in one step."""
    constant = index.constant * factor
    if type(base) is int:
        if factor == 1:
            return Index(base + constant, index.factors)
        return Index(base + constant, {v: f * factor for v, f in index.factors.items()})
    factors = dict(base.factors)  # type: ignore[union-attr]
    for variable, own in index.factors.items():
        total = factors.get(variable, 0) + own * factor
        if total:
            factors[variable] = total
        else:
            del factors[variable]
    constant += base.constant  # type: ignore[union-attr]
    return Index(constant, factors) if factors else constant


def extremes(index: Whole) -> tuple[int, int]:
    """Returns bounds of the values: exact for sums of passes, safe for quotients, remainders."""
    if type(index) is not Index:
        return index, index  # type: ignore[return-value]
    low = high = index.constant
    for variable, factor in index.factors.items():
        if type(variable) is Loop:
            first, last = 0, factor * (variable.count - 1)
        else:
            least, most = _term_extremes(variable)  # type: ignore[arg-type]
            first, last = factor * least, factor * most
        if first <= last:
            low, high = low + first, high + last
        else:
            low, high = low + last, high + first
    return low, high


def _term_extremes(term: Term) -> tuple[int, int]:
    low = high = term.constant
    for loop, factor in term.passes:
        span = factor * (loop.count - 1)
        low, high = (low, high + span) if span >= 0 else (low + span, high)
    if not term.remainder:
        return low // term.divisor, high // term.divisor
    if low // term.divisor == high // term.divisor:
        return low % term.divisor, high % term.divisor
    return 0, term.divisor - 1


def _divided(index: Index, divisor: Any, remainder: bool) -> Any:
    """index // divisor or index % divisor: what the divisor divides is taken out first."""
    rest: dict[Variable, int] = {}
    quotient: dict[Variable, int] = {}
    if type(divisor) is int and divisor > 0:
        for variable, factor in index.factors.items():
            if factor % divisor:
                rest[variable] = factor
            else:
                quotient[variable] = factor // divisor
    constant, left_over = divmod(index.constant, divisor)
    if not quotient and not rest:  # no positive whole divisor
        return int(index) % divisor if remainder else int(index) // divisor
    low, high = extremes(Index(left_over, rest))
    taken = low // divisor
    if taken == high // divisor:  # the rest is less than one divisor
        if remainder:
            inner = left_over - taken * divisor
            return Index(inner, rest) if rest else inner
        return Index(constant + taken, quotient) if quotient else constant + taken
    if any(type(variable) is Term for variable in rest):
        return int(index) % divisor if remainder else int(index) // divisor
    term = Term(left_over, tuple(rest.items()), divisor, remainder)  # type: ignore[arg-type]
    if remainder:
        return Index(0, {term: 1})
    return Index(constant, {**quotient, term: 1})


def _compared(difference: Any, sign: str) -> bool:
    """Whether the difference is below, not above, or equal to zero; narrows where it must."""
    if type(difference) is not Index:
        if sign == "<":
            return bool(difference < 0)
        return bool(difference <= 0 if sign == "<=" else difference == 0)
    low, high = extremes(difference)
    if sign == "==":
        if low > 0 or high < 0:
            return False
        if low == high:
            return True
    else:
        limit = 0 if sign == "<" else 1
        if high < limit or low >= limit:
            return high < limit
    if len(difference.factors) == 1:
        ((loop, step),) = difference.factors.items()
        if type(loop) is Loop:
            return _settled_alone(difference.constant, loop, step, sign)
    return bool(_settled(difference, _QUESTIONS[sign]))


_QUESTIONS: dict[str, Callable[[npt.NDArray[Any]], Any]] = {
    "<": lambda values: values < 0,
    "<=": lambda values: values <= 0,
    "==": lambda values: values == 0,
}


def _settled_alone(first: int, loop: Loop, step: int, sign: str) -> bool:
    """`_settled` for first + step * pass, whose answer is known to change within the loop."""
    if not loop.open:
        raise NotSymbolicError
    if sign == "==":
        if first == 0:
            loop.count = 1
        elif first % step == 0:
            loop.count = -(first // step)
        return first == 0
    limit = first if sign == "<" else first - 1  # whole numbers: <= 0 is < 1
    loop.count = -(limit // step) if limit < 0 else limit // -step + 1
    return limit < 0


def _settled(index: Index, question: Callable[[npt.NDArray[Any]], Any]) -> Any:
    """Answers a question for the first pass of all, and narrows the loops to where it holds.

    Inner loops are narrowed before outer ones: as many passes as possible stay together.
    """
    loops = _loops(index)
    if not all(loop.open for loop in loops):
        raise NotSymbolicError
    points = 1
    for loop in loops:
        points *= loop.count
    if points > MAX_POINTS:  # too many to look at: an outer pass at a time
        next(loop for loop in loops if loop.count > 1).count = 1
        return _settled(index, question)
    answers = np.asarray(question(_values(index, loops)))
    answer = answers[(0,) * len(loops)]
    same = answers == answer
    if same.all():
        return answer
    depth = len(loops) - 1
    while not same[(slice(None),) * depth + (0,) * (len(loops) - depth)].all():
        depth -= 1
    for axis in range(depth, len(loops)):
        deeper = same[(slice(None),) * (axis + 1) + (0,) * (len(loops) - axis - 1)]
        alike = deeper.all(axis=tuple(range(axis)))
        if not alike.all():
            loops[axis].count = int(np.argmin(alike))
            same = same[(slice(None),) * axis + (slice(0, loops[axis].count),)]
    return answer


def _loops(index: Index) -> list[Loop]:
    """The loops an index depends on, outermost first: they were opened in this order."""
    found: dict[Loop, None] = {}
    for variable in index.factors:
        if type(variable) is Loop:
            found[variable] = None
        else:
            found.update(dict.fromkeys(loop for loop, _ in variable.passes))  # type: ignore[union-attr]
    return sorted(found, key=lambda loop: loop.depth)


def _values(index: Index, loops: list[Loop]) -> npt.NDArray[np.int64]:
    """The values of an index for every combination of passes, one axis a loop."""
    passes: dict[Loop, Any] = {}
    for axis, loop in enumerate(loops):
        shape = [1] * len(loops)
        shape[axis] = loop.count
        passes[loop] = np.arange(loop.count, dtype=np.int64).reshape(shape)
    total: Any = index.constant
    for variable, factor in index.factors.items():
        value = passes[variable] if type(variable) is Loop else variable.values(passes)  # type: ignore[union-attr]
        total = total + value * factor
    return np.broadcast_to(total, [loop.count for loop in loops])
