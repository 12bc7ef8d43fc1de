"""What the functions of expressions mean for numpy columns."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import MAX_EXPONENT, SCALARS, Functions

__all__ = ["COLUMNS"]


def _columns(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Where an argument is a column `function`, else the one for plain values, which is exact."""

    def apply(*values: Any) -> Any:
        columns = any(isinstance(value, np.ndarray) for value in values)
        return function(*values) if columns else SCALARS[name](*values)

    return apply


def _member(value: Any, members: list[Any]) -> Any:
    return reduce(COLUMNS["or"], [value == member for member in members], False)


def _power(base: Any, exponent: Any) -> Any:
    if not np.all((exponent >= 0) & (exponent <= MAX_EXPONENT)):
        raise TunerError(f"an exponent is outside 0..{MAX_EXPONENT}")
    result = base**exponent
    if result.dtype.kind == "i" and np.any(np.abs(np.float_power(base, exponent)) >= 2.0**63):
        raise TunerError("a power is 2**63 or more")
    return result


COLUMNS: Functions = {
    **SCALARS,
    "min": _columns("min", lambda *values: reduce(np.minimum, values)),
    "max": _columns("max", lambda *values: reduce(np.maximum, values)),
    "**": _columns("**", _power),
    "and": _columns("and", np.logical_and),
    "or": _columns("or", np.logical_or),
    "not": _columns("not", np.logical_not),
    "in": _member,
}
