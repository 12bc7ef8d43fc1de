"""From the values and configs of a file to parameters and rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Parameter, Value
from tuner.space import SearchSpace

__all__ = ["check_distinct", "parameters_of", "sorted_values", "space_of"]

MAX_VALUES = 32_000
"""Rows hold the indices of values as 16-bit integers."""

Indices = npt.NDArray[np.int64]


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


def check_distinct(rows: Indices) -> None:
    """Raises TunerError where a config stands twice; `rows` have shape (configs, parameters)."""
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    if len(first) < len(rows):
        again = np.flatnonzero(first[inverse.ravel()] != np.arange(len(rows)))[0]
        raise TunerError(f"configs {first[inverse.ravel()[again]]} and {again} are the same")


def space_of(
    values: Mapping[str, Sequence[Value]], rows: Indices, default: Mapping[str, Value] | None
) -> SearchSpace:
    """Returns the space of recorded configs.

    Args:
        values: The values of each parameter, in the order of the columns.
        rows: Shape (configs, parameters): index of each value, -1 where a parameter has none.
        default: The default config, where it is known.

    Raises:
        TunerError: The default is none of the configs.
    """
    try:
        return SearchSpace.of_rows(parameters_of(values), rows, default)
    except KeyError:
        raise TunerError(f"the default {dict(default or {})} is none of the configs") from None
