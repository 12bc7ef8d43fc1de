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
from tuner.nki.symbolic import Index, Loop, Whole, extremes
from tuner.runtime.rules import DTYPE_BYTES

__all__ = [
    "Allocation",
    "Buffer",
    "NkiTensor",
    "Values",
    "free_size",
    "inner_stride",
    "rounded",
    "row_major",
    "uninitialised",
]

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


def uninitialised(elements: int, dtype: str) -> Values:
    """Returns the values of memory that nothing was written to."""
    return np.full(elements, np.nan, np.float32)


@dataclass(frozen=True)
class Buffer:
    """A kind of memory a kernel may allocate in, e.g. `nl.sbuf`."""

    name: str
    space: Space

    def __repr__(self) -> str:
        return f"nl.{self.name}"


@dataclass(eq=False)
class Allocation:
    """What `nl.ndarray` made: a rectangle of rows by elements of a row.

    Attributes:
        number: Its index among the program's tensors; of one made in a loop that is recorded as a
            whole, the index of the first pass's.
        loops: The segments of loops it was made in, outermost first.
        rows: Partitions; of an HBM tensor, rows of its last dimension.
        row_elements: Elements of a row.
        values: Shape (rows * row_elements,): values representable in `dtype`, float32 for floats
            and the dtype itself for whole numbers; None when only time is asked.
        written: Shape (rows * row_elements,): which elements hold anything yet.
    """

    number: int
    loops: tuple[Loop, ...]
    buffer: Buffer
    dtype: str
    rows: int
    row_elements: int
    values: npt.NDArray[Any] | None
    written: npt.NDArray[np.bool_] | None


class NkiTensor:
    """A view on an allocation: shape, strides and offset in elements; no data moves by indexing.

    On chip, dimension 0 is the partition: an int there keeps size 1, and no view has less than two
    dimensions. In HBM an int drops its dimension. Strides count elements, rows following each other
    without a gap: the stride of dimension 0 on chip is a multiple of `allocation.row_elements`.

    Attributes:
        row: Row of the allocation where the view begins.
        offset: Elements from the start of that row; both may differ from pass to pass of a loop.
    """

    __slots__ = ("allocation", "dtype", "offset", "row", "shape", "strides")

    def __init__(
        self,
        allocation: Allocation,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        row: Whole,
        offset: Whole,
        dtype: str | None = None,
    ) -> None:
        self.allocation = allocation
        self.dtype = dtype or allocation.dtype
        self.shape = shape
        self.strides = strides
        self.row = row
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
        row, offset, row_elements = self.row, self.offset, self.allocation.row_elements
        shape: list[int] = []
        strides: list[int] = []
        for axis, k in enumerate(keys):
            size, stride = self.shape[axis], self.strides[axis]
            if type(k) is slice:
                start, stop = k.start, k.stop
                if (
                    k.step is None
                    and type(start) is int
                    and type(stop) is int
                    and 0 <= start < stop <= size
                ):
                    extent, step = stop - start, 1
                else:
                    start, extent, step = self._bounds(k, size, axis)
                shape.append(extent)
                strides.append(stride if step == 1 else stride * step)
            else:
                start = self._index(k, size, axis)
                if on_chip and axis == 0:
                    shape.append(1)
                    strides.append(stride)
            if type(start) is int and start == 0:
                continue
            if (axis == 0 or not on_chip) and stride % row_elements == 0:
                row = row + start * (stride // row_elements)
            else:
                offset = offset + start * stride
        shape += self.shape[len(keys) :]
        strides += self.strides[len(keys) :]
        while len(shape) < (2 if on_chip else 1):
            shape.append(1)
            strides.append(1)
        return NkiTensor(self.allocation, tuple(shape), tuple(strides), row, offset, self.dtype)

    def _bounds(self, key: slice, size: int, axis: int) -> tuple[Whole, int, int]:
        """Returns start, number of elements and step of a slice."""
        start: Whole = 0 if key.start is None else key.start
        stop: Whole = size if key.stop is None else key.stop
        step = 1 if key.step is None else int(key.step)
        if type(start) is int:
            stop = int(stop)
            start = start + size if start < 0 else start
            stop = stop + size if stop < 0 else stop
            span, low, high = stop - start, start, start
        else:
            low, high = extremes(start)
            if low < 0 and start < 0:
                start = start + size
            if type(stop) is not Index and stop < 0:
                stop = stop + size
            span = int(stop - start)
            if (low < 0 or high + span > size) and start + span <= size:
                low, high = extremes(start)  # the passes that are inside come first
        if low < 0 or span < 1 or high + span > size or step < 1:
            raise NkiValidationError(
                f"slice {key.start}:{key.stop} of dimension {axis} of {self!r}: "
                f"expected 0 <= start < stop <= {size}"
            )
        return start, span if step == 1 else (span + step - 1) // step, step

    def _index(self, key: Any, size: int, axis: int) -> Whole:
        if type(key) is int:
            low = high = key
        elif isinstance(key, Index | int | np.integer):
            low, high = extremes(key if type(key) is Index else int(key))
        else:
            raise NotSupportedError(f"indexing a tensor with {type(key).__name__}")
        if 0 <= low and high < size:
            return key if type(key) is Index else low
        index = key + size if key < 0 else key
        if not 0 <= index < size:
            raise NkiValidationError(f"index {key} of dimension {axis} of {self!r}: size is {size}")
        return index if type(index) is Index else int(index)

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
        return NkiTensor(self.allocation, new, strides, self.row, self.offset, self.dtype)

    def read(self) -> npt.NDArray[Any]:
        """Returns the values, shape `shape`; only where values are kept."""
        return self._strided(self.allocation.values).copy()

    def write(self, values: npt.ArrayLike) -> None:
        """Rounds values of shape `shape` to the dtype and stores them."""
        self._strided(self.allocation.values)[...] = rounded(values, self.dtype)
        self.written()[...] = True

    def written(self) -> npt.NDArray[np.bool_]:
        """Returns which elements hold anything yet, as a view that may be written."""
        return self._strided(self.allocation.written)

    def _strided(self, flat: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        assert flat is not None
        strides = [stride * flat.itemsize for stride in self.strides]
        first = int(self.row) * self.allocation.row_elements + int(self.offset)
        return np.lib.stride_tricks.as_strided(flat[first:], self.shape, strides)

    def rectangle(self) -> tuple[Whole, int, Whole, int]:
        """Returns the smallest rectangle around the view: first row, rows, first byte of a row,
        bytes.
        """
        allocation = self.allocation
        rows = elements = 1
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            span = (size - 1) * stride
            if axis == 0 and allocation.buffer.space != Space.HBM:
                rows += span // allocation.row_elements
            elif span and stride % allocation.row_elements == 0:
                rows += span // allocation.row_elements
            else:
                elements += span
        itemsize = DTYPE_BYTES[self.dtype]
        width = allocation.row_elements * DTYPE_BYTES[allocation.dtype]
        on_chip = allocation.buffer.space != Space.HBM
        if not on_chip and (self.offset + elements) * itemsize > width:  # it crosses rows
            return 0, allocation.rows, 0, width
        return self.row, rows, self.offset * itemsize, elements * itemsize


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
