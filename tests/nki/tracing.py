"""Runs pieces of NKI inside a traced kernel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tuner.nki.language as nl
from tuner.neuroncore import device
from tuner.neuroncore.program import Program
from tuner.nki import HazardWarning, NkiValidationError, NotSupportedError
from tuner.nki.hazards import ACCUMULATION
from tuner.nki.record.tracing import trace
from tuner.nki.tensors.tensor import Buffer, NkiTensor

Array = npt.NDArray[np.float32]


def inside(body: Callable[[], Any], name: str = "trn2", numeric: bool = True) -> Any:
    """Runs `body` as a kernel of no arguments and returns what it returns; warns of sums that
    hardware leaves undefined.
    """
    returned = []

    def kernel() -> NkiTensor:
        returned.append(body())
        return nl.ndarray((1,), nl.float32, buffer=nl.shared_hbm)

    traced = trace(kernel, (), {}, device(name), {} if numeric else None)
    for hazard in traced.hazards:
        if hazard.kind == ACCUMULATION:
            warnings.warn(str(hazard), HazardWarning, stacklevel=2)
    return returned[0]


def refused(body: Callable[[], Any], message: str, name: str = "trn2") -> None:
    """Checks that a kernel is refused with a message, as one that no simulator could run."""
    with pytest.raises(NkiValidationError, match=message) as caught:
        inside(body, name, numeric=False)
    assert not isinstance(caught.value, NotSupportedError)


def recorded(body: Callable[[], Any], name: str = "trn2") -> Program:
    """Runs `body` as a kernel of no arguments and returns its program."""

    def kernel() -> NkiTensor:
        body()
        return nl.ndarray((1,), nl.float32, buffer=nl.shared_hbm)

    return trace(kernel, (), {}, device(name)).program


def tile(values: npt.ArrayLike, dtype: str = nl.float32, buffer: Buffer = nl.sbuf) -> NkiTensor:
    """A tensor that holds `values`; in PSUM they count as not written."""
    array = np.asarray(values)
    tensor = nl.ndarray(array.shape, dtype, buffer=buffer)
    tensor.write(array)
    if buffer == nl.psum:
        tensor.written()[...] = False
    return tensor


def sbuf(*shape: int, dtype: str = nl.bfloat16) -> NkiTensor:
    return nl.ndarray(shape, dtype)


def psum(*shape: int, dtype: str = nl.float32) -> NkiTensor:
    return nl.ndarray(shape, dtype, buffer=nl.psum)


def hbm(*shape: int, dtype: str = nl.bfloat16) -> NkiTensor:
    return nl.ndarray(shape, dtype, buffer=nl.hbm)


def numbered(shape: Sequence[int]) -> Array:
    """An array whose elements all differ."""
    return np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
