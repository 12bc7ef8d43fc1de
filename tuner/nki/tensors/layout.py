"""How elements lie in a row-major storage: sizes and strides."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["merged_strides", "product", "row_major"]


def product(shape: Sequence[int]) -> int:
    """Returns the number of elements of a shape."""
    total = 1
    for size in shape:
        total *= size
    return total


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the strides, in elements, of a contiguous tensor."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def merged_strides(
    shape: Sequence[int], strides: Sequence[int], new: Sequence[int]
) -> tuple[int, ...] | None:
    """Returns the strides of the same elements in another shape; None where a dimension would have
    two.
    """
    runs: list[tuple[int, int]] = []  # (elements, stride) of dimensions that follow each other
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            continue
        if runs and runs[-1][1] == stride * size:
            runs[-1] = runs[-1][0] * size, stride
        else:
            runs.append((size, stride))
    found: list[int] = []
    left, stride = 1, 1
    for size in reversed(new):
        if left == 1 and size > 1:
            left, stride = runs.pop()
        if left % size:
            return None
        found.append(stride)
        left, stride = left // size, stride * size
    return tuple(reversed(found))
