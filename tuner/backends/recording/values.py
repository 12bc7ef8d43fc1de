"""From the values in a file to parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Parameter, Value

__all__ = ["parameters_of", "sorted_values"]

MAX_VALUES = 32_000
"""Rows hold the indices of values as 16-bit integers."""
MAX_INTEGER = 2**63
"""Samplers hold numbers in 64 bits."""


def sorted_values(name: str, values: Sequence[Any]) -> tuple[Value, ...]:
    """Returns the distinct values of a parameter: numbers in rising order, words as they come.

    Raises:
        TunerError: They are not of one kind, or not numbers, booleans or words.
    """
    kinds = {_kind(name, value) for value in values}
    if len(kinds) != 1:
        found = " and ".join(sorted(kinds)) or "nothing"
        raise TunerError(f"values of parameter {name!r}: {found}, expected values of one kind")
    distinct: tuple[Value, ...] = tuple(dict.fromkeys(values))
    if len(distinct) > MAX_VALUES:
        raise TunerError(f"parameter {name!r}: more than {MAX_VALUES} values")
    return tuple(sorted(distinct)) if kinds != {"words"} else distinct


def _kind(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "booleans"
    if isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
        raise TunerError(f"values of parameter {name!r}: an integer beyond 64 bits")
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return "numbers"
    if isinstance(value, str):
        return "words"
    raise TunerError(
        f"values of parameter {name!r}: {str(value)[:40]!r}, expected numbers, booleans or words"
    )


def parameters_of(values: Mapping[str, Sequence[Value]]) -> tuple[Parameter, ...]:
    """Returns parameters of which no default is known: numbers have the middle value."""
    return tuple(
        Parameter(name, tuple(listed), listed[len(listed) // 2] if _ordered(listed) else listed[0])
        for name, listed in values.items()
    )


def _ordered(values: Sequence[Value]) -> bool:
    return isinstance(values[0], int | float) and not isinstance(values[0], bool)
