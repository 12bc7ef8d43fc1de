"""Checks a kernel's numbers: random inputs, the reference, and how far outputs may be from it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tuner.backends.base import Mismatch
from tuner.nki.tensors.storage import is_float
from tuner.nki.tensors.tensor import Values, rounded
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import DTYPE_BYTES
from tuner.space import Argument

__all__ = ["called", "compare", "random_values"]


def random_values(arguments: Sequence[Argument], seed: int = 0) -> dict[str, Values]:
    """Returns standard normal numbers for each argument, rounded to its dtype; the same every
    time.
    """
    generator = np.random.default_rng(seed)
    return {
        argument.name: rounded(
            generator.standard_normal(argument.shape, dtype=np.float32), argument.dtype
        )
        for argument in arguments
    }


def called(reference: Callable[..., Any], keywords: Mapping[str, Any]) -> Any:
    """Calls a reference; raises TunerError where it does not take these keywords."""
    try:
        inspect.signature(reference).bind(**keywords)
    except TypeError as error:
        raise TunerError(f"the reference cannot be called so: {error}") from None
    return reference(**keywords)


def compare(
    expected: Any,
    outputs: Sequence[Values],
    dtypes: Sequence[str],
    input_dtypes: Sequence[str],
    roundings: int = 4,
) -> Mismatch | None:
    """Compares outputs with what the reference returned; None means all are within tolerance.

    The error of an element is its difference relative to its own size plus the root mean square of
    the output; see `_tolerance` for what is allowed. Beyond the largest number of its dtype an
    output may saturate or be infinite.

    Args:
        expected: An array, or a tuple of arrays where there are several outputs.
        outputs: The kernel's.
        dtypes: Theirs.
        input_dtypes: Those of what the kernel was called with.
        roundings: How often a number may have been rounded on its way.
    """
    expected = expected if isinstance(expected, tuple) else (expected,)
    if len(expected) != len(outputs):
        at = f"{len(outputs)} outputs, expected {len(expected)}"
        return Mismatch(math.inf, 0.0, at)
    worst: Mismatch | None = None
    for index, (want, got, dtype) in enumerate(zip(expected, outputs, dtypes, strict=True)):
        right = _in_range(np.asarray(want, np.float64), dtype)
        tolerance = _tolerance(dtype, input_dtypes, roundings)
        if right.shape != got.shape:
            at = f"output {index} has shape {got.shape}, expected {right.shape}"
            return Mismatch(math.inf, tolerance, at)
        error = _relative_error(_in_range(got, dtype), right)
        place = np.unravel_index(int(np.argmax(error)), error.shape)
        if error[place] > tolerance and (worst is None or error[place] > worst.error):
            name = f"output {index}[{', '.join(str(int(i)) for i in place)}]"
            at = f"{name} is {got[place]:.6g}, expected {right[place]:.6g}"
            worst = Mismatch(float(error[place]), tolerance, at)
    return worst


def _relative_error(
    got: npt.NDArray[Any], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    scale = np.abs(right) + np.sqrt(np.mean(np.square(right)))
    error = np.abs(got - right) / np.where(scale > 0, scale, 1)
    return np.where(np.isnan(error), np.inf, error)


def _in_range(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Returns values with the largest numbers of a dtype in place of those beyond."""
    if not is_float(dtype):
        return values
    largest = float(ml_dtypes.finfo("float32" if dtype == "tfloat32" else dtype).max)
    clipped: npt.NDArray[Any] = np.clip(values, -largest, largest)
    return clipped


def _tolerance(dtype: str, input_dtypes: Sequence[str], roundings: int) -> float:
    """A few roundings to the output's dtype or, on the way to it, to an input's, and float32 sums.

    To float8 an output is rounded once, and nothing on the way: bfloat16 stands for it there.
    """
    if not is_float(dtype):
        return 0.0
    on_the_way = ["bfloat16" if _is_float8(d) else d for d in (dtype, *input_dtypes)]
    coarsest = max(roundings * _eps(d) for d in on_the_way if is_float(d))
    once = _eps(dtype) if _is_float8(dtype) else 0.0
    return max(once, coarsest) + 64 * _eps("float32")


def _is_float8(dtype: str) -> bool:
    return is_float(dtype) and DTYPE_BYTES[dtype] == 1


def _eps(dtype: str) -> float:
    return 2.0**-10 if dtype == "tfloat32" else float(ml_dtypes.finfo(dtype).eps)
