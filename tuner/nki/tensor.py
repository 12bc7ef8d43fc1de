"""Tensors of the simulated NKI: views on one allocation, as NKI indexes them, with values where
asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tuner.neuroncore.program import Space
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.runtime.rules import DTYPE_BYTES

__all__ = ["Allocation", "Buffer", "NkiTensor", "free_size", "inner_stride", "rounded", "row_major"]

Values = npt.NDArray[np.float32]

_ROUNDED = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3": ml_dtypes.float8_e4m3,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}


def rounded(values: npt.ArrayLike, dtype: str) -> Values:
    """Returns float32 values rounded to what `dtype` can represent (to nearest, ties to even)."""
    exact = np.asarray(values, np.float32)
    return exact if dtype == "float32" else exact.astype(_ROUNDED[dtype]).astype(np.float32)


@dataclass(frozen=True)
class Buffer:
    """A kind of memory a kernel may allocate in, e.g. `nl.sbuf`."""

    name: str
    space: Space

    def __repr__(self) -> str:
        return f"nl.{self.name}"


@dataclass(eq=False)
class Allocation:
    """What `nl.ndarray` made.

    Attributes:
        number: Its index among the program's tensors.
        row_elements: Elements per partition; of an HBM tensor, elements in all.
        values: Shape (elements,): float32 values representable in `dtype`; None when only time is
            asked.
        written: Shape (elements,): which elements of PSUM hold anything yet.
    """

    number: int
    buffer: Buffer
    dtype: str
    row_elements: int
    values: Values | None
    written: npt.NDArray[np.bool_] | None


class NkiTensor:
    """A view on an allocation: shape, strides and offset in elements; no data moves by indexing.

    On chip, dimension 0 is the partition: an int there keeps size 1, and no view has less than two
    dimensions. In HBM an int drops its dimension.
    """

    __slots__ = ("allocation", "dtype", "offset", "shape", "strides")

    def __init__(
        self, allocation: Allocation, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
    ) -> None:
        self.allocation = allocation
        self.dtype = allocation.dtype
        self.shape = shape
        self.strides = strides
        self.offset = offset

    def __repr__(self) -> str:
        return f"NkiTensor({list(self.shape)}, {self.dtype}, {self.buffer!r})"

    @property
    def buffer(self) -> Buffer:
        """The memory it lives in."""
        return self.allocation.buffer

    @property
    def space(self) -> Space:
        """HBM, SBUF or PSUM."""
        return self.allocation.buffer.space

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return _product(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return DTYPE_BYTES[self.dtype]

    def __getitem__(self, key: Any) -> NkiTensor:
        keys: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
        if any(k is Ellipsis for k in keys):
            keys = _without_ellipsis(keys, len(self.shape))
        if len(keys) > len(self.shape):
            raise NkiValidationError(f"{len(keys)} indices for {self!r}")
        on_chip = self.allocation.buffer.space != Space.HBM
        offset = self.offset
        shape: list[int] = []
        strides: list[int] = []
        for axis, k in enumerate(keys):
            size, stride = self.shape[axis], self.strides[axis]
            if isinstance(k, slice):
                start, stop, step = self._bounds(k, size, axis)
                offset += start * stride
                shape.append((stop - start + step - 1) // step)
                strides.append(stride * step)
                continue
            index = self._index(k, size, axis)
            offset += index * stride
            if on_chip and axis == 0:
                shape.append(1)
                strides.append(stride)
        shape += self.shape[len(keys) :]
        strides += self.strides[len(keys) :]
        while len(shape) < (2 if on_chip else 1):
            shape.append(1)
            strides.append(1)
        return NkiTensor(self.allocation, tuple(shape), tuple(strides), offset)

    def _bounds(self, key: slice, size: int, axis: int) -> tuple[int, int, int]:
        start = 0 if key.start is None else key.start
        stop = size if key.stop is None else key.stop
        step = 1 if key.step is None else key.step
        start = start + size if start < 0 else start
        stop = stop + size if stop < 0 else stop
        if not 0 <= start < stop <= size or step < 1:
            raise NkiValidationError(
                f"slice {key.start}:{key.stop} of dimension {axis} of {self!r}: "
                f"expected 0 <= start < stop <= {size}"
            )
        return start, stop, step

    def _index(self, key: Any, size: int, axis: int) -> int:
        if not isinstance(key, int | np.integer):
            raise NotSupportedError(f"indexing a tensor with {type(key).__name__}")
        index = int(key) + size if key < 0 else int(key)
        if not 0 <= index < size:
            raise NkiValidationError(f"index {key} of dimension {axis} of {self!r}: size is {size}")
        return index

    def reshape(self, shape: Sequence[int]) -> NkiTensor:
        """Returns a view of another shape on the same elements; on chip dimension 0 stays."""
        new = tuple(int(size) for size in shape)
        on_chip = self.space != Space.HBM
        if _product(new) != self.size or (on_chip and new[0] != self.shape[0]):
            raise NkiValidationError(f"cannot reshape {self!r} to {list(new)}")
        inner = self.strides[1:] if on_chip else self.strides
        if inner != row_major(self.shape[1:] if on_chip else self.shape):
            raise NkiValidationError(f"cannot reshape {self!r}: it is not contiguous")
        strides = (self.strides[0], *row_major(new[1:])) if on_chip else row_major(new)
        return NkiTensor(self.allocation, new, strides, self.offset)

    def read(self) -> Values:
        """Returns the values, shape `shape`; only where values are kept."""
        return self._strided(self.allocation.values).copy()

    def write(self, values: npt.ArrayLike) -> None:
        """Rounds values of shape `shape` to the dtype and stores them."""
        self._strided(self.allocation.values)[...] = rounded(values, self.dtype)
        if self.allocation.written is not None:
            self.written()[...] = True

    def written(self) -> npt.NDArray[np.bool_]:
        """Returns which elements (of PSUM) hold anything yet, as a view that may be written."""
        return self._strided(self.allocation.written)

    def _strided(self, flat: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        assert flat is not None
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides)


def free_size(view: NkiTensor) -> int:
    """Returns the elements per partition of an on-chip view."""
    return _product(view.shape[1:])


def inner_stride(view: NkiTensor) -> int:
    """Returns the stride of the innermost dimension that has more than one element."""
    for size, stride in zip(view.shape[:0:-1], view.strides[:0:-1], strict=True):
        if size > 1:
            return stride
    return 1


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the strides, in elements, of a contiguous tensor."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _without_ellipsis(keys: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    at = next(i for i, key in enumerate(keys) if isinstance(key, EllipsisType))
    missing = ndim - (len(keys) - 1)
    return (*keys[:at], *([slice(None)] * missing), *keys[at + 1 :])
