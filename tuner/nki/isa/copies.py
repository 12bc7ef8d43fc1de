"""nki.isa: copies and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ElementwiseWork, Engine
from tuner.nki.enums import engine
from tuner.nki.errors import NkiValidationError
from tuner.nki.isa.instruction import (
    HANDLE,
    NkiInstruction,
    Number,
    asked_engine,
    elementwise,
    is_number,
    issue,
    tiles,
)
from tuner.nki.isa.values import OTHER, ZERO, floats, integers, store, store_exactly
from tuner.nki.limits import (
    INTEGERS,
    check_engine,
    check_on_chip,
    check_one_in_psum,
    check_same_size,
)
from tuner.nki.record.recorder import active
from tuner.nki.record.symbolic import Index
from tuner.nki.tensors.tensor import NkiTensor, free_size

QUARTER = 32
UNCHANGED = 255

__all__ = ["memset", "nc_stream_shuffle", "tensor_copy", "tensor_copy_predicated"]


def tensor_copy(
    dst: NkiTensor, src: NkiTensor, engine: engine = engine.unknown, name: str | None = None
) -> NkiInstruction:
    """Copies within SBUF and PSUM, casting through float32 where dtypes differ."""
    recorder = active()
    issue(recorder, _copy, (dst,), (src,), asked_engine("tensor_copy", engine))
    if recorder.numeric:
        if dst.dtype == src.dtype:
            store_exactly(dst, integers(src))
        else:
            store(dst, floats(src))
    return HANDLE


def _copy(device: Device, dst: NkiTensor, src: NkiTensor, on: Engine) -> ElementwiseWork:
    check_engine("tensor_copy", on, Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD)
    if on == Engine.SCALAR and not device.scalar.tensor_copy:
        raise NkiValidationError(f"tensor_copy: ScalarE of {device.name} has no such instruction")
    check_on_chip(device, "tensor_copy", on, dst, src)
    check_same_size("tensor_copy", dst, src)
    return elementwise("tensor_copy", on, free_size(dst), (dst, src))


def memset(
    dst: NkiTensor, value: Any, engine: engine = engine.unknown, name: str | None = None
) -> NkiInstruction:
    """Sets every element to a constant of the tensor's kind, on VectorE or GpSimdE."""
    recorder = active()
    value = int(value) if type(value) is Index else value
    if not is_number(value):
        raise NkiValidationError(f"memset({value!r}): expected a number")
    if dst.dtype in INTEGERS:
        _check_whole(value, dst.dtype)
    zero = bool(value == 0)
    issue(recorder, _memset, (dst,), (), asked_engine("memset", engine), zero)
    if recorder.numeric:
        whole = dst.dtype in INTEGERS
        values = np.full(dst.shape, value, dst.dtype if whole else np.float32)
        store(dst, values, ZERO if zero else OTHER)
    return HANDLE


def _check_whole(value: Any, dtype: str) -> None:
    if isinstance(value, float | np.floating):
        raise NkiValidationError(f"memset({value!r}) of {dtype}: expected a whole number")
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        raise NkiValidationError(
            f"memset({value!r}) of {dtype}: expected {limits.min} to {limits.max}"
        )


def _memset(device: Device, dst: NkiTensor, on: Engine, zero: bool) -> ElementwiseWork:
    check_engine("memset", on, Engine.VECTOR, Engine.GPSIMD)
    check_on_chip(device, "memset", on, dst)
    return elementwise("memset", on, free_size(dst), (dst,), zero=zero)


def tensor_copy_predicated(
    dst: NkiTensor,
    src: Number | NkiTensor,
    predicate: NkiTensor,
    reverse_pred: bool = False,
    name: str | None = None,
) -> NkiInstruction:
    """Copies where the predicate, whole numbers, is not zero (reversed: is zero); VectorE."""
    recorder = active()
    reads = (predicate, *tiles("tensor_copy_predicated", src=src), dst)
    issue(recorder, _predicated, (dst,), reads)
    if recorder.numeric:
        chosen = (integers(predicate) != 0) != reverse_pred
        values = integers(src) if isinstance(src, NkiTensor) else src
        store(dst, np.where(chosen, values, integers(dst)))
    return HANDLE


def _predicated(
    device: Device, dst: NkiTensor, predicate: NkiTensor, *rest: NkiTensor
) -> ElementwiseWork:
    opcode = "tensor_copy_predicated"
    sources = rest[:-1]
    check_on_chip(device, opcode, Engine.VECTOR, dst, predicate, *sources)
    check_same_size(opcode, dst, predicate, *sources)
    if predicate.dtype not in ("uint8", "uint16", "uint32"):
        raise NkiValidationError(
            f"{opcode}: predicate is {predicate.dtype}, expected uint8, uint16 or uint32"
        )
    for src in sources:
        if src.dtype != dst.dtype:
            raise NkiValidationError(f"{opcode} from {src.dtype} to {dst.dtype}: it does not cast")
        check_one_in_psum(opcode, src, predicate)
    return elementwise(opcode, Engine.VECTOR, free_size(dst), (dst, predicate, *sources))


def nc_stream_shuffle(
    dst: NkiTensor, src: NkiTensor, shuffle_mask: Sequence[int], name: str | None = None
) -> NkiInstruction:
    """In every quarter of the partitions, dst[i] = src[shuffle_mask[i]] where that is not 255."""
    recorder = active()
    mask = tuple(int(partition) for partition in shuffle_mask)
    issue(recorder, _shuffle, (dst,), (src,), mask)
    if recorder.numeric:
        values, found = integers(src), integers(dst).copy()
        for i in range(len(found)):
            source = mask[i % QUARTER]
            if source != UNCHANGED:
                found[i] = values[i - i % QUARTER + source]
        store_exactly(dst, found)
    return HANDLE


def _shuffle(
    device: Device, dst: NkiTensor, src: NkiTensor, mask: tuple[int, ...]
) -> ElementwiseWork:
    opcode = "nc_stream_shuffle"
    check_on_chip(device, opcode, Engine.VECTOR, dst, src)
    if dst.dtype != src.dtype:
        raise NkiValidationError(f"{opcode} from {src.dtype} to {dst.dtype}: it does not cast")
    if free_size(dst) != free_size(src):
        raise NkiValidationError(f"{opcode}: shapes {list(dst.shape)} and {list(src.shape)} differ")
    if len(mask) != QUARTER or any(m != UNCHANGED and not 0 <= m < QUARTER for m in mask):
        raise NkiValidationError(
            f"{opcode}: shuffle_mask {mask}: expected {QUARTER} numbers below {QUARTER}"
        )
    last = src.shape[0] - 1
    for i in range(dst.shape[0]):
        source = mask[i % QUARTER]
        if source != UNCHANGED and i - i % QUARTER + source > last:
            raise NkiValidationError(
                f"{opcode}: partition {i} of dst comes from {i - i % QUARTER + source}, "
                f"src has {src.shape[0]}"
            )
    return elementwise(opcode, Engine.VECTOR, free_size(dst), (dst, src))
