"""Functions on tiles that take several instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuner.neuroncore.program import Space
from tuner.nki import isa
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.language import functions as f
from tuner.nki.language.dtypes import float32, psum, sbuf, uint8
from tuner.nki.language.memory import ndarray
from tuner.nki.tensors.layout import product
from tuner.nki.tensors.tensor import NkiTensor

__all__ = [
    "broadcast_to",
    "expand_dims",
    "matmul",
    "rms_norm",
    "softmax",
    "transpose",
    "var",
    "where",
]


def matmul(x: NkiTensor, y: NkiTensor, transpose_x: bool = False) -> NkiTensor:
    """Returns x^T @ y in PSUM; x is [K,M], y is [K,N].

    Raises:
        NotSupportedError: `transpose_x` is False: x is to be transposed first.
    """
    if not transpose_x:
        raise NotSupportedError("nki.language.matmul(transpose_x=False)")
    dst = ndarray((product(x.shape[1:]), *y.shape[1:]), float32, buffer=psum)
    isa.nc_matmul(dst, x, y)
    return dst


def transpose(x: NkiTensor, dtype: str | None = None) -> NkiTensor:
    """Returns a two-dimensional tile with partitions and elements exchanged, in SBUF."""
    if x.ndim != 2:
        raise NkiValidationError(f"transpose takes two dimensions, not {x!r}")
    in_psum = ndarray(x.shape[::-1], x.dtype, buffer=psum)
    isa.nc_transpose(in_psum, x)
    return f.copy(in_psum, dtype)


def broadcast_to(x: NkiTensor, shape: Sequence[int], dtype: str | None = None) -> NkiTensor:
    """Returns a tile of another shape in which dimensions of size 1 are repeated."""
    target = tuple(shape)
    if len(target) != x.ndim or any(
        old not in (1, size) for old, size in zip(x.shape, target, strict=True)
    ):
        raise NkiValidationError(f"cannot broadcast {x!r} to {list(target)}")
    if target == x.shape:
        return x if dtype in (None, x.dtype) else f.copy(x, dtype)
    if target[0] != x.shape[0] and x.space == Space.PSUM:
        x = f.copy(x)
    repeated = NkiTensor(
        x.allocation,
        target,
        tuple(
            stride if old == size else 0
            for old, size, stride in zip(x.shape, target, x.strides, strict=True)
        ),
        x.row,
        x.column,
        x.dtype,
    )
    dst = f.new(x, dtype, target)
    if target[0] == x.shape[0]:
        isa.tensor_copy(dst, repeated)
    else:
        isa.dma_copy(dst, repeated)
    return dst


def expand_dims(x: NkiTensor, axis: int) -> NkiTensor:
    """Returns a view with one more dimension, of size 1, at `axis`."""
    return x.expand_dim(axis + x.ndim + 1 if axis < 0 else axis)


def where(condition: NkiTensor, x: Any, y: Any, dtype: str | None = None) -> NkiTensor:
    """Returns x where the condition is not 0, y elsewhere."""
    like = x if isinstance(x, NkiTensor) else condition
    dst = f.new(condition, dtype or like.dtype)
    for value in (y, x):
        if not isinstance(value, NkiTensor | int | float):
            raise NkiValidationError(f"where takes tiles and numbers, not {value!r}")
    if isinstance(x, NkiTensor) and x.dtype != dst.dtype:
        x = f.copy(x, dst.dtype)
    if isinstance(y, NkiTensor):
        isa.tensor_copy(dst, y)
    else:
        isa.memset(dst, y)
    isa.tensor_copy_predicated(dst, x, f.not_equal(condition, 0.0, uint8))
    return dst


def var(x: NkiTensor, axis: f.Axes, dtype: str | None = None, keepdims: bool = False) -> NkiTensor:
    """Returns the variance along the last free dimensions, which stay with size 1."""
    axes = f.trailing(x, axis)
    centre = f.mean(x, axis, float32, keepdims=True)
    apart = ndarray(x.shape, float32, buffer=sbuf)
    isa.tensor_scalar(apart, x, f.subtract, _column(centre, axes))
    return f.mean(f.square(apart), axis, dtype or x.dtype, keepdims=True)


def softmax(x: NkiTensor, axis: f.Axes = -1, dtype: str | None = None) -> NkiTensor:
    """Returns exp(x) over its sum along the free dimensions."""
    axes = f.trailing(x, axis)
    shifted = ndarray(x.shape, float32, buffer=sbuf)
    isa.tensor_scalar(shifted, x, f.subtract, _column(f.max(x, axis, float32, keepdims=True), axes))
    raised = f.exp(shifted)
    scale = f.reciprocal(f.sum(raised, axis, keepdims=True))
    dst = f.new(x, dtype)
    isa.tensor_scalar(dst, raised, f.multiply, _column(scale, axes))
    return dst


def rms_norm(
    x: NkiTensor,
    w: NkiTensor,
    axis: f.Axes,
    n: int,
    epsilon: float = 1e-06,
    dtype: str | None = None,
    compute_dtype: str | None = None,
) -> NkiTensor:
    """Returns x over its root mean square along the free dimensions, times w."""
    axes = f.trailing(x, axis)
    inner = compute_dtype or float32
    total = f.sum(f.square(x, inner), axis, float32, keepdims=True)
    squares = ndarray(total.shape, float32)
    isa.tensor_scalar(squares, total, f.multiply, 1.0 / n, op1=f.add, operand1=epsilon)
    scaled = ndarray(x.shape, inner)
    isa.tensor_scalar(scaled, x, f.multiply, _column(f.rsqrt(squares), axes))
    return f.multiply(scaled, broadcast_to(w, x.shape), dtype or x.dtype)


def _column(tile: NkiTensor, axes: tuple[int, ...]) -> NkiTensor:
    """A reduction over all free dimensions as one number a partition."""
    if axes[0] != 1:
        raise NotSupportedError(f"this function along axes {axes} only")
    return tile.reshape((tile.shape[0], 1))
