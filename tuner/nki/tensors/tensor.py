"""Tensors of the simulated NKI: views on one allocation, as NKI indexes them, with values where
asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.program import Space
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.record.symbolic import Index, Whole, extremes, moved
from tuner.nki.tensors.layout import product, row_major
from tuner.nki.tensors.storage import Allocation, Buffer, Values, rounded, uninitialised
from tuner.nki.tensors.views import View
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


class NkiTensor(View):
    """A view on an allocation; no data moves by indexing.

    On chip an int on dimension 0, the partition, keeps size 1, and no view has less than two
    dimensions. In HBM an int drops its dimension.
    """

    __slots__ = ()

    def __getitem__(self, key: Any) -> NkiTensor:
        keys: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
        if len(keys) > len(self.shape):
            if any(k is Ellipsis for k in keys):
                return self[_without_ellipsis(keys, len(self.shape))]
            raise NkiValidationError(f"{len(keys)} indices for {self!r}")
        allocation = self.allocation
        on_chip = allocation.buffer.space != Space.HBM
        row, column, row_elements = self.row, self.column, allocation.row_elements
        shape: list[int] = []
        strides: list[int] = []
        axis = -1
        for k, size, stride in zip(keys, self.shape, self.strides, strict=False):
            axis += 1
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
            elif k is Ellipsis:
                return self[_without_ellipsis(keys, len(self.shape))]
            else:
                start = self._index(k, size, axis)
                if on_chip and axis == 0:
                    shape.append(1)
                    strides.append(stride)
            in_rows = (axis == 0 or not on_chip) and stride % row_elements == 0
            if type(start) is Index:
                if in_rows:
                    row = moved(row, start, stride // row_elements)
                else:
                    column = moved(column, start, stride)
            elif start:
                if in_rows:
                    row = row + start * (stride // row_elements)
                else:
                    column = column + start * stride
        if len(keys) < len(self.shape):
            shape += self.shape[len(keys) :]
            strides += self.strides[len(keys) :]
        while len(shape) < (2 if on_chip else 1):
            shape.append(1)
            strides.append(1)
        return NkiTensor(allocation, tuple(shape), tuple(strides), row, column, self.dtype)

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
            if span < 1 and type(stop) is Index and stop < 0:
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
        if low >= 0 and high < size:
            return key if type(key) is Index else low
        index = key + size if key < 0 else key
        if not 0 <= index < size:
            raise NkiValidationError(f"index {key} of dimension {axis} of {self!r}: size is {size}")
        return index if type(index) is Index else int(index)

    def ap(
        self,
        pattern: Sequence[Sequence[int]],
        offset: int | None = None,
        scalar_offset: Any = None,
        vector_offset: Any = None,
        indirect_dim: int = 0,
        dtype: str | None = None,
    ) -> NkiTensor:
        """Returns the elements of the storage that a pattern of [stride, count] names.

        Args:
            pattern: One pair a dimension; on chip the first is the partition, its stride the
                elements of a partition.
            offset: Elements from where the view begins; None is 0.
            scalar_offset, vector_offset, indirect_dim: Not supported.
            dtype: What the elements are read as; the view's own dtype unless given.
        """
        if scalar_offset is not None or vector_offset is not None:
            raise NotSupportedError("nki.language.NkiTensor.ap(scalar_offset, vector_offset)")
        view = self if dtype is None else self._as(dtype)
        strides = tuple(int(stride) for stride, _ in pattern)
        shape = tuple(int(count) for _, count in pattern)
        row_elements = view.allocation.row_elements
        if any(size < 1 for size in shape) or any(stride < 0 for stride in strides):
            raise self._refused(f"ap({pattern}): expected strides >= 0 and counts >= 1")
        if self._on_chip and (len(shape) < 2 or (shape[0] > 1 and strides[0] != row_elements)):
            raise self._refused(
                f"ap({pattern}): the first stride is the {row_elements} elements of a partition"
            )
        row, column = view.row, view.column
        if offset is not None:
            first = view.offset + offset
            row, column = first // row_elements, first % row_elements
        found = NkiTensor(view.allocation, shape, strides, row, column, view.dtype)
        found._check_inside(pattern, view.offset if offset is None else first)
        return found

    def _check_inside(self, pattern: Any, first: Whole) -> None:
        """Refuses a pattern that leaves the storage; `first` is where it begins."""
        spans = [(n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)]
        elements = self.allocation.row_elements
        outside = first < 0 or first + sum(spans) >= self.allocation.rows * elements
        if outside or (self._on_chip and self.column + sum(spans[1:]) >= elements):
            raise self._refused(
                f"ap({pattern}): it leaves the {self.allocation.rows} rows of {elements} elements"
            )

    def view(self, dtype: str) -> NkiTensor:
        """Returns the same bytes as another dtype; the last dimension's size changes with it."""
        found = self._as(dtype)
        if found.itemsize == self.itemsize:
            return found
        last = self.shape[-1] * self.itemsize
        if (self.strides[-1] != 1 and self.shape[-1] > 1) or last % found.itemsize:
            raise self._refused(
                f"view({dtype}): expected {last} contiguous bytes, whole elements of {dtype}"
            )
        strides = []
        for size, stride in zip(self.shape[:-1], self.strides[:-1], strict=True):
            if size > 1 and stride * self.itemsize % found.itemsize:
                raise self._refused(f"view({dtype}): a stride is no whole number of elements")
            strides.append(stride * self.itemsize // found.itemsize)
        shape = (*self.shape[:-1], last // found.itemsize)
        return found._strided_as(shape, (*strides, 1))

    reinterpret_cast = view

    def _as(self, dtype: str) -> NkiTensor:
        """The view with its place counted in elements of another dtype; shape and strides stay."""
        if dtype not in DTYPE_BYTES:
            raise NotSupportedError(f"dtype {dtype!r}")
        place = self.column * self.itemsize
        if place % DTYPE_BYTES[dtype] != 0:
            raise self._refused(f"view({dtype}): it begins at byte {place} of a row")
        column = place // DTYPE_BYTES[dtype]
        allocation = self.allocation.reinterpreted(dtype)
        return NkiTensor(allocation, self.shape, self.strides, self.row, column, dtype)

    def read(self) -> npt.NDArray[Any]:
        """Returns the values, shape `shape`, as they are stored; only where values are kept."""
        if self.allocation.base is not None:
            first = int(self.offset)
            values, _ = self.allocation.read(first, first + self._extent())
            return _strided(values, self.shape, self.strides).copy()
        return self._stored(self.allocation.values).copy()

    def write(self, values: npt.ArrayLike) -> None:
        """Rounds values of shape `shape` to the dtype and stores them."""
        if any(s == 0 and n > 1 for n, s in zip(self.shape, self.strides, strict=True)):
            raise NkiValidationError(f"writing to {self!r}, which repeats elements")
        if self.allocation.base is not None:
            stored = rounded(values, self.dtype)
            flat = np.zeros(self._extent(), stored.dtype)
            here = np.zeros(self._extent(), bool)
            _strided(flat, self.shape, self.strides)[...] = stored
            _strided(here, self.shape, self.strides)[...] = True
            self.allocation.write(int(self.offset), flat, here)
            return
        self._stored(self.allocation.values)[...] = rounded(values, self.dtype)
        self.written()[...] = True

    def written(self) -> npt.NDArray[np.bool_]:
        """Returns which elements hold anything yet, as a view that may be written; of bytes read
        as another dtype, as a copy.
        """
        if self.allocation.base is not None:
            first = int(self.offset)
            _, written = self.allocation.read(first, first + self._extent())
            return _strided(written, self.shape, self.strides)
        return self._stored(self.allocation.written)

    def _stored(self, flat: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        assert flat is not None
        return _strided(flat[int(self.offset) :], self.shape, self.strides)

    def _extent(self) -> int:
        spans = ((size - 1) * s for size, s in zip(self.shape, self.strides, strict=True))
        return 1 + sum(spans)

    def rectangle(self) -> tuple[Whole, int, Whole, int]:
        """Returns the smallest rectangle around the view: first row, rows, first byte of a row,
        bytes.
        """
        row, rows, column, elements, itemsize = self.footprint()
        return row, rows, column * itemsize, elements * itemsize

    def footprint(self) -> tuple[Whole, int, Whole, int, int]:
        """Returns the same in elements of so many bytes."""
        allocation = self.allocation
        rows = elements = 1
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            span = (size - 1) * stride
            if (axis == 0 and allocation.buffer.space != Space.HBM) or (
                span and stride % allocation.row_elements == 0
            ):
                rows += span // allocation.row_elements
            else:
                elements += span
        itemsize = DTYPE_BYTES[self.dtype]
        if allocation.buffer.space == Space.HBM:
            width = allocation.row_elements * DTYPE_BYTES[allocation.dtype] // itemsize
            if extremes(self.column)[1] + elements > width and self.column + elements > width:
                return 0, allocation.rows, 0, width, itemsize  # it crosses rows
        return self.row, rows, self.column, elements, itemsize


def free_size(view: NkiTensor) -> int:
    """Returns the elements per partition of an on-chip view."""
    return product(view.shape[1:])


def inner_stride(view: NkiTensor) -> int:
    """Returns the stride of the innermost dimension that has more than one element."""
    for size, stride in zip(view.shape[:0:-1], view.strides[:0:-1], strict=True):
        if size > 1:
            return stride
    return 1


def _strided(
    flat: npt.NDArray[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> npt.NDArray[Any]:
    in_bytes = [stride * flat.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(flat, shape, in_bytes)


def _without_ellipsis(keys: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    at = next(i for i, key in enumerate(keys) if isinstance(key, EllipsisType))
    missing = ndim - (len(keys) - 1)
    return (*keys[:at], *([slice(None)] * missing), *keys[at + 1 :])
