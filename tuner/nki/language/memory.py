"""Tensors: allocating, filling, loading and storing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import Space
from tuner.nki import isa
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.language.dtypes import sbuf, shared_hbm, uint8
from tuner.nki.record.recorder import active
from tuner.nki.record.symbolic import Index
from tuner.nki.tensors.layout import product
from tuner.nki.tensors.storage import NATIVE, Buffer, is_float
from tuner.nki.tensors.tensor import NkiTensor
from tuner.runtime.rules import DTYPE_BYTES

__all__ = [
    "empty_like",
    "full",
    "load",
    "load_transpose2d",
    "ndarray",
    "ones",
    "shared_constant",
    "shared_identity_matrix",
    "store",
    "zeros",
    "zeros_like",
]


def ndarray(
    shape: Sequence[int],
    dtype: str,
    buffer: Buffer = sbuf,
    name: str = "",
    address: tuple[int, int] | None = None,
) -> NkiTensor:
    """Allocates a tensor, uninitialised.

    Args:
        shape: Sizes; on chip the first is the partition dimension.
        dtype: One of this module's dtypes.
        buffer: sbuf, psum, private_hbm or shared_hbm.
        name: Shown in messages.
        address: First partition, and byte of a partition, that it shall have on chip; in PSUM the
            start of a bank. None leaves the place to the compiler.

    Raises:
        NkiValidationError: A wrong buffer, dtype, size or address; more partitions than there are.
    """
    recorder = active()
    sizes = _checked(recorder.device, shape, dtype, buffer)
    if address is not None:
        address = _checked_address(recorder.device, sizes, dtype, buffer, address)
    return recorder.allocate(sizes, dtype, buffer, name, address)


def _checked(device: Device, shape: Any, dtype: Any, buffer: Any) -> tuple[int, ...]:
    if not isinstance(buffer, Buffer):
        raise NkiValidationError(
            f"buffer={buffer!r}: expected nl.sbuf, nl.psum, nl.private_hbm or nl.shared_hbm"
        )
    if not isinstance(dtype, str):
        raise NkiValidationError(f"dtype={dtype!r}: expected one of nki.language, as nl.float32")
    if dtype not in NATIVE:
        raise NotSupportedError(f"dtype {dtype!r}")
    sizes = tuple(shape)
    whole = all(isinstance(size, int | Index | np.integer) for size in sizes)
    if not sizes or not whole or any(size < 1 for size in sizes):
        raise NkiValidationError(f"shape {list(sizes)}: expected positive whole numbers")
    if buffer.space != Space.HBM:
        if len(sizes) < 2:
            raise NkiValidationError(
                f"shape {list(sizes)} in {buffer!r}: expected at least 2 dimensions"
            )
        if sizes[0] > device.sbuf.partitions:
            raise NkiValidationError(
                f"shape {list(sizes)}: {sizes[0]} partitions, "
                f"{buffer!r} has {device.sbuf.partitions}"
            )
    return tuple(int(size) for size in sizes)


def _checked_address(
    device: Device, sizes: tuple[int, ...], dtype: str, buffer: Buffer, address: Any
) -> tuple[int, int]:
    try:
        partition, first = (int(number) for number in address)
    except (TypeError, ValueError):
        raise NkiValidationError(
            f"address={address!r}: expected (partition, byte of a partition)"
        ) from None
    if buffer.space == Space.HBM:
        raise NkiValidationError(f"address={address!r}: HBM tensors are not placed by address")
    in_psum = buffer.space == Space.PSUM
    limit = device.psum.bytes_per_partition if in_psum else device.sbuf.bytes_per_partition
    last = first + product(sizes[1:]) * DTYPE_BYTES[dtype]
    partitions = partition + sizes[0]
    if partition < 0 or first < 0 or partitions > device.sbuf.partitions or last > limit:
        raise NkiValidationError(
            f"address={address!r}: partitions {partition}..{partitions - 1}, bytes "
            f"{first}..{last - 1} of {device.sbuf.partitions} partitions of {limit} bytes"
        )
    if in_psum and first % device.psum.bank_bytes_per_partition:
        raise NkiValidationError(
            f"address={address!r}: PSUM tensors begin at a multiple of "
            f"{device.psum.bank_bytes_per_partition} bytes"
        )
    return partition, first


def full(
    shape: Sequence[int], fill_value: Any, dtype: str, buffer: Buffer = sbuf, name: str = ""
) -> NkiTensor:
    """Allocates a tensor and sets every element."""
    tensor = ndarray(shape, dtype, buffer, name)
    value = float(fill_value) if is_float(dtype) else fill_value
    if tensor.space != Space.HBM:
        isa.memset(tensor, value)
        return tensor
    rows = tensor.reshape((tensor.size // tensor.shape[-1], tensor.shape[-1]))
    step = min(rows.shape[0], active().device.sbuf.partitions)
    tile = ndarray((step, rows.shape[1]), dtype)
    isa.memset(tile, value)
    for first in range(0, rows.shape[0], step):
        size = min(step, rows.shape[0] - first)
        isa.dma_copy(rows[first : first + size], tile[0:size])
    return tensor


def zeros(shape: Sequence[int], dtype: str, buffer: Buffer = sbuf, name: str = "") -> NkiTensor:
    """Allocates a tensor and sets it to zero."""
    return full(shape, 0, dtype, buffer, name)


def ones(shape: Sequence[int], dtype: str, buffer: Buffer = sbuf, name: str = "") -> NkiTensor:
    """Allocates a tensor and sets it to one."""
    return full(shape, 1, dtype, buffer, name)


def zeros_like(
    x: NkiTensor, dtype: str | None = None, buffer: Buffer | None = None, name: str = ""
) -> NkiTensor:
    """Allocates zeros in the shape of `x`, with its dtype and buffer unless given."""
    return zeros(x.shape, dtype or x.dtype, buffer or x.buffer, name)


def empty_like(
    x: NkiTensor, dtype: str | None = None, buffer: Buffer | None = None, name: str = ""
) -> NkiTensor:
    """Allocates a tensor in the shape of `x`, with its dtype and buffer unless given."""
    return ndarray(x.shape, dtype or x.dtype, buffer or x.buffer, name)


def load(src: NkiTensor, dtype: str | None = None) -> NkiTensor:
    """Copies an HBM tensor into a new SBUF tile."""
    if src.space != Space.HBM:
        raise NkiValidationError(f"load reads from HBM, not {src!r}")
    tile = ndarray(src.shape, dtype or src.dtype)
    isa.dma_copy(tile, src)
    return tile


def store(dst: NkiTensor, value: NkiTensor) -> None:
    """Copies an SBUF tile into an HBM tensor."""
    if dst.space != Space.HBM or value.space != Space.SBUF:
        raise NkiValidationError(f"store writes SBUF to HBM, not {value!r} to {dst!r}")
    isa.dma_copy(dst, value)


def load_transpose2d(src: NkiTensor, dtype: str | None = None) -> NkiTensor:
    """Copies a two-dimensional HBM tensor into a new SBUF tile, its dimensions exchanged."""
    if src.space != Space.HBM or src.ndim != 2:
        raise NkiValidationError(f"load_transpose2d reads two dimensions from HBM, not {src!r}")
    tile = ndarray(src.shape[::-1], src.dtype)
    isa.dma_transpose(tile, src)
    if dtype is None or dtype == src.dtype:
        return tile
    cast = ndarray(tile.shape, dtype)
    isa.tensor_copy(cast, tile)
    return cast


def shared_constant(constant: Any) -> NkiTensor:
    """Returns a tensor in shared HBM that holds an array before the kernel begins."""
    array = np.asarray(constant)
    dtype = next((name for name, kind in NATIVE.items() if kind == array.dtype), None)
    if dtype is None or not array.ndim:
        raise NkiValidationError(f"shared_constant of {array.dtype} {list(array.shape)}")
    tensor = ndarray(array.shape, dtype, shared_hbm, "constant")
    if active().numeric:
        tensor.write(array)
    return tensor


def shared_identity_matrix(n: int, dtype: str = uint8, dst: NkiTensor | None = None) -> NkiTensor:
    """Loads the identity matrix of n rows into `dst`, or into a new SBUF tile."""
    tile = ndarray((n, n), dtype) if dst is None else dst
    if product(tile.shape) != n * n or tile.dtype not in NATIVE:
        raise NkiValidationError(f"shared_identity_matrix({n}) into {tile!r}")
    isa.dma_copy(tile, shared_constant(np.eye(n, dtype=NATIVE[tile.dtype])))
    return tile
