"""How a tensor of the simulated NKI lies in its allocation, and the views that only change shape,
order or dtype; no data moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from tuner.neuroncore.program import Space
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.record.symbolic import Whole
from tuner.nki.tensors.layout import merged_strides, product, row_major
from tuner.nki.tensors.storage import Allocation, Buffer
from tuner.runtime.rules import DTYPE_BYTES

__all__ = ["View"]

Group = str | Sequence[str]
"""A name in a pattern of `rearrange`, or the names of the dimensions that one consists of."""


class View:
    """A view on an allocation: shape, strides and place in elements.

    On chip, dimension 0 is the partition. Strides count elements, rows following each other
    without a gap: the stride of dimension 0 on chip is a multiple of `allocation.row_elements`.

    Attributes:
        row: Row of the allocation where the view begins.
        column: Elements from the start of that row; both may differ from pass to pass of a loop.
    """

    __slots__ = ("allocation", "column", "dtype", "row", "shape", "strides")

    def __init__(
        self,
        allocation: Allocation,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        row: Whole,
        column: Whole,
        dtype: str | None = None,
    ) -> None:
        self.allocation = allocation
        self.dtype = dtype or allocation.dtype
        self.shape = shape
        self.strides = strides
        self.row = row
        self.column = column

    def __repr__(self) -> str:
        return f"NkiTensor({list(self.shape)}, {self.dtype}, {self.buffer!r})"

    def __getitem__(self, key: Any) -> Self:
        raise NotImplementedError

    def __setitem__(self, key: Any, value: Any) -> None:
        """Not supported: instructions write, assignment does not."""
        raise NotSupportedError("assignment to a tensor's elements")

    @property
    def buffer(self) -> Buffer:
        """The memory it lives in."""
        return self.allocation.buffer

    @property
    def space(self) -> Space:
        """HBM, SBUF or PSUM."""
        return self.allocation.buffer.space

    @property
    def name(self) -> str:
        """The name its kernel gave it."""
        return self.allocation.name

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return product(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return DTYPE_BYTES[self.dtype]

    @property
    def offset(self) -> Whole:
        """Elements from the start of the storage to the first one of the view."""
        return self.row * self.allocation.row_elements + self.column

    @property
    def _on_chip(self) -> bool:
        return self.allocation.buffer.space != Space.HBM

    def get_pattern(self) -> list[list[int]]:
        """Returns [stride, count] of every dimension, as `ap` takes them."""
        return [[stride, size] for stride, size in zip(self.strides, self.shape, strict=True)]

    def is_contiguous(self) -> bool:
        """Returns whether the elements follow each other without a gap, on chip in a partition."""
        first = 1 if self._on_chip else 0
        shape, strides = self.shape[first:], self.strides[first:]
        dense = zip(shape, strides, row_major(shape), strict=True)
        return all(size == 1 or stride == expected for size, stride, expected in dense)

    def is_indirect(self) -> bool:
        """Returns whether an index is read while the kernel runs; never here."""
        return False

    def slice(self, dim: int, start: int, end: int, step: int = 1) -> Self:
        """Returns the elements from `start` to `end` of one dimension."""
        return self[(slice(None),) * self._dim(dim) + (slice(start, end, step),)]

    def select(self, dim: int, index: Any) -> Self:
        """Returns one element of a dimension, which goes; the partition stays with size 1."""
        return self[(slice(None),) * self._dim(dim) + (index,)]

    def vector_select(self, dim: int, vector_offset: Any) -> Self:
        """Not supported."""
        raise NotSupportedError("nki.language.NkiTensor.vector_select")

    def indirect(self, index: Any, num_elem: int | None = None) -> Self:
        """Not supported."""
        raise NotSupportedError("nki.language.NkiTensor.indirect")

    def permute(self, dims: Sequence[int]) -> Self:
        """Returns the dimensions in another order; on chip the partition stays first."""
        order = tuple(int(dim) for dim in dims)
        if sorted(order) != list(range(self.ndim)):
            raise self._refused(f"permute({order}): expected every dimension once")
        if self._on_chip and order[0] != 0:
            raise self._refused(f"permute({order}): the partition stays dimension 0")
        shape = tuple(self.shape[dim] for dim in order)
        return self._strided_as(shape, tuple(self.strides[dim] for dim in order))

    def broadcast(self, dim: int, size: int) -> Self:
        """Returns a dimension of size 1 repeated `size` times."""
        at = self._dim(dim)
        if self.shape[at] != 1 or size < 1 or (self._on_chip and at == 0):
            raise self._refused(f"broadcast({dim}, {size}): expected a free dimension of size 1")
        return self._replaced(at, at + 1, (int(size),), (0,))

    def expand_dim(self, dim: int) -> Self:
        """Returns the view with a dimension of size 1 put in before `dim`."""
        if not (1 if self._on_chip else 0) <= dim <= self.ndim:
            raise self._refused(f"expand_dim({dim}): no such place for a free dimension")
        stride = self.shape[dim] * self.strides[dim] if dim < self.ndim else 1
        return self._replaced(dim, dim, (1,), (stride,))

    def squeeze_dim(self, dim: int) -> Self:
        """Returns the view without a dimension of size 1."""
        at = self._dim(dim)
        least = 2 if self._on_chip else 1
        if self.shape[at] != 1 or (self._on_chip and at == 0) or self.ndim <= least:
            raise self._refused(
                f"squeeze_dim({dim}): expected a free dimension of size 1 beside {least} others"
            )
        return self._replaced(at, at + 1, (), ())

    def reshape_dim(self, dim: int, shape: Sequence[int]) -> Self:
        """Returns one dimension split into several; one of their sizes may be -1."""
        at = self._dim(dim)
        sizes = [int(size) for size in shape]
        if sizes.count(-1) == 1:
            known = -product(sizes)
            sizes[sizes.index(-1)] = self.shape[at] // known if known else 0
        if product(sizes) != self.shape[at] or any(size < 1 for size in sizes):
            raise self._refused(f"reshape_dim({dim}, {tuple(shape)}): its size is {self.shape[at]}")
        if self._on_chip and at == 0 and len(sizes) != 1:
            raise self._refused(f"reshape_dim({dim}, {tuple(shape)}): the partition stays whole")
        strides = tuple(stride * self.strides[at] for stride in row_major(sizes))
        return self._replaced(at, at + 1, tuple(sizes), strides)

    def flatten_dims(self, start_dim: int, end_dim: int) -> Self:
        """Returns the dimensions from `start_dim` to `end_dim`, which is included, as one."""
        first, last = self._dim(start_dim), self._dim(end_dim)
        if first > last or (self._on_chip and first == 0 and last > 0):
            raise self._refused(f"flatten_dims({start_dim}, {end_dim}): expected free dimensions")
        shape, strides = self.shape[first : last + 1], self.strides[first : last + 1]
        merged = merged_strides(shape, strides, (product(shape),))
        if merged is None:
            raise self._refused(f"flatten_dims({start_dim}, {end_dim}): it is not contiguous")
        return self._replaced(first, last + 1, (product(shape),), merged)

    def reshape(self, shape: Sequence[int]) -> Self:
        """Returns a view of another shape on the same elements; on chip dimension 0 stays."""
        new = tuple(int(size) for size in shape)
        on_chip = self._on_chip
        if product(new) != self.size or (on_chip and new[0] != self.shape[0]) or len(new) < 1:
            raise NkiValidationError(f"cannot reshape {self!r} to {list(new)}")
        if on_chip and len(new) < 2:
            raise NkiValidationError(f"cannot reshape {self!r} to {list(new)}: too few dimensions")
        kept = 1 if on_chip else 0
        strides = merged_strides(self.shape[kept:], self.strides[kept:], new[kept:])
        if strides is None:
            raise NkiValidationError(
                f"cannot reshape {self!r} to {list(new)}: it is not contiguous"
            )
        return self._strided_as(new, (*self.strides[:kept], *strides))

    def rearrange(
        self,
        src_pattern: Sequence[Group],
        dst_pattern: Sequence[Group],
        fixed_sizes: Mapping[str, int] | None = None,
    ) -> Self:
        """Returns dimensions split, reordered and merged by name, as in einops.

        Args:
            src_pattern: A name for each dimension, or the names that it is split into.
            dst_pattern: The same names in the new order; those in a group are merged.
            fixed_sizes: Sizes of names; at most one of a group has none.
        """
        sizes = dict(fixed_sizes or {})
        source = [_names(group) for group in src_pattern]
        target = [_names(group) for group in dst_pattern]
        flat, wanted = _flat(source), _flat(target)
        if len(source) != self.ndim or sorted(flat) != sorted(wanted) or len({*flat}) != len(flat):
            raise self._refused(
                f"rearrange({src_pattern}, {dst_pattern}): expected the same names on both sides, "
                f"for {self.ndim} dimensions"
            )
        view = self
        for at in range(self.ndim - 1, -1, -1):
            names = source[at]
            if len(names) > 1:
                view = view.reshape_dim(at, [sizes.get(name, -1) for name in names])
        view = view.permute([flat.index(name) for name in wanted])
        for at, names in enumerate(target):
            view = view.flatten_dims(at, at + len(names) - 1) if len(names) > 1 else view
        return view

    def _strided_as(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> Self:
        return type(self)(self.allocation, shape, strides, self.row, self.column, self.dtype)

    def _replaced(
        self, first: int, last: int, sizes: tuple[int, ...], strides: tuple[int, ...]
    ) -> Self:
        """The view with other dimensions in the place of those from `first` to before `last`."""
        return self._strided_as(
            (*self.shape[:first], *sizes, *self.shape[last:]),
            (*self.strides[:first], *strides, *self.strides[last:]),
        )

    def _dim(self, dim: int) -> int:
        if not -self.ndim <= dim < self.ndim:
            raise self._refused(f"it has no dimension {dim}")
        return dim % self.ndim

    def _refused(self, why: str) -> NkiValidationError:
        return NkiValidationError(f"{self!r}: {why}")


def _names(group: Group) -> tuple[str, ...]:
    return (group,) if isinstance(group, str) else tuple(group)


def _flat(groups: Sequence[tuple[str, ...]]) -> list[str]:
    return [name for group in groups for name in group]
