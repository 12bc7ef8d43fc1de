"""nki.isa: what the DMA engines do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import DmaWork, Engine, Space
from tuner.nki.enums import dge_mode, engine, oob_mode
from tuner.nki.errors import NkiValidationError
from tuner.nki.isa.instruction import HANDLE, NkiInstruction, work_of
from tuner.nki.isa.values import floats, integers, store, store_exactly
from tuner.nki.limits import generation
from tuner.nki.operations import Operation, name_of
from tuner.nki.record.recorder import active
from tuner.nki.tensors.tensor import NkiTensor

__all__ = ["dma_compute", "dma_copy", "dma_transpose"]

MAX_SOURCES = 16
PRIORITIES = range(4)
TRANSPOSED_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (3, 1, 2, 0)}
HARDWARE_TRANSPOSE_ROWS = (1, 2, 4, 8, 16)
HARDWARE_TRANSPOSE_COLUMNS = 128


def dma_copy(
    dst: NkiTensor,
    src: NkiTensor,
    priority: int | None = None,
    oob_mode: oob_mode = oob_mode.error,
    dge_mode: dge_mode = dge_mode.unknown,
    engine: engine = engine.unknown,
    name: str | None = None,
) -> NkiInstruction:
    """Copies between HBM and SBUF, or within either; element counts are equal, dtypes may
    differ unless the hardware makes the descriptors.

    `priority` (4th generation) and `oob_mode` (addresses computed at run time) change nothing here.
    """
    recorder = active()
    work = work_of(recorder.device, _copy, (dst, src), (dge_mode, engine, priority))
    recorder.emit(work, (dst,), (src,))
    if recorder.numeric:
        if dst.dtype == src.dtype:
            store_exactly(dst, integers(src))
        else:
            store(dst, floats(src))
    return HANDLE


def _copy(
    device: Device,
    dst: NkiTensor,
    src: NkiTensor,
    dge: dge_mode,
    trigger: engine,
    priority: int | None,
) -> DmaWork:
    _check_reach("dma_copy", dst, src)
    _check_descriptors("dma_copy", device, dge, priority)
    if dst.size != src.size:
        raise NkiValidationError(f"dma_copy of {src.size} elements {src!r} into {dst.size} {dst!r}")
    if dge == dge_mode.hwdge and dst.dtype != src.dtype:
        raise NkiValidationError(
            f"dma_copy from {src.dtype} to {dst.dtype}: dge_mode.hwdge does not cast"
        )
    by = None
    if trigger != engine.unknown:
        if dge != dge_mode.hwdge or trigger not in (engine.sync, engine.scalar):
            raise NkiValidationError(
                f"dma_copy(engine={trigger}): expected engine.sync or engine.scalar, "
                "with dge_mode.hwdge"
            )
        by = Engine.SCALAR if trigger == engine.scalar else None
    elif dge == dge_mode.swdge:
        by = Engine.GPSIMD
    return _transfer(dst, (src,), dge.name, by)


def dma_transpose(
    dst: NkiTensor,
    src: NkiTensor,
    axes: Sequence[int] | None = None,
    priority: int | None = None,
    dge_mode: dge_mode = dge_mode.unknown,
    oob_mode: oob_mode = oob_mode.error,
    name: str | None = None,
) -> NkiInstruction:
    """dst = src with its axes permuted: (1, 0), (2, 1, 0) or (3, 1, 2, 0); dtypes are equal."""
    recorder = active()
    order = None if axes is None else tuple(axes)
    rest = (order, dge_mode, oob_mode, priority)
    work = work_of(recorder.device, _transposition, (dst, src), rest)
    recorder.emit(work, (dst,), (src,))
    if recorder.numeric:
        values = integers(src).reshape(src.shape)
        store_exactly(dst, values.transpose(TRANSPOSED_AXES[src.ndim]))
    return HANDLE


def _transposition(
    device: Device,
    dst: NkiTensor,
    src: NkiTensor,
    axes: tuple[int, ...] | None,
    dge: dge_mode,
    oob: oob_mode,
    priority: int | None,
) -> DmaWork:
    _check_reach("dma_transpose", dst, src)
    _check_descriptors("dma_transpose", device, dge, priority)
    order = TRANSPOSED_AXES.get(src.ndim)
    if order is None or axes not in (None, order):
        raise NkiValidationError(
            f"dma_transpose of {src!r} with axes={axes}: "
            f"expected one of {list(TRANSPOSED_AXES.values())}"
        )
    expected = tuple(src.shape[axis] for axis in order)
    if dst.shape != expected:
        raise NkiValidationError(f"dma_transpose writes {list(expected)}, dst is {list(dst.shape)}")
    if dst.dtype != src.dtype:
        raise NkiValidationError(f"dma_transpose from {src.dtype} to {dst.dtype}: it does not cast")
    if src.itemsize == 1:
        raise NkiValidationError(f"dma_transpose of {src.dtype}: expected 2 or 4 bytes an element")
    if oob == oob_mode.skip:
        raise NkiValidationError("dma_transpose: oob_mode.skip needs an index computed at run time")
    if dge not in (dge_mode.unknown, dge_mode.hwdge):
        raise NkiValidationError(f"dma_transpose(dge_mode={dge}): expected unknown or hwdge")
    if dge == dge_mode.hwdge:
        _check_hardware_transpose(src)
    where = "hbm" if src.space == Space.HBM else "sbuf"
    return _transfer(dst, (src,), dge.name, None)._replace(transpose=where)


def _check_hardware_transpose(src: NkiTensor) -> None:
    rows, columns = src.shape[0], src.shape[-1]
    if src.ndim == 2:
        fits = rows == HARDWARE_TRANSPOSE_ROWS[-1]
    else:
        fits = rows in HARDWARE_TRANSPOSE_ROWS and rows * src.shape[-2] % 16 == 0
    if not fits or columns > HARDWARE_TRANSPOSE_COLUMNS or src.itemsize != 2:
        raise NkiValidationError(
            f"dma_transpose of {src!r} by dge_mode.hwdge: expected 2 bytes an element, at most "
            f"{HARDWARE_TRANSPOSE_COLUMNS} columns, and 16 rows (of 3 or 4 dimensions: 1, 2, 4, 8 "
            "or 16, times the last but one a multiple of 16)"
        )


def dma_compute(
    dst: NkiTensor,
    srcs: list[NkiTensor],
    reduce_op: Operation,
    scales: list[float] | None = None,
    unique_indices: bool = True,
    oob_mode: oob_mode = oob_mode.error,
    name: str | None = None,
) -> NkiInstruction:
    """dst = the sum of up to 16 sources, added in float32 on the way; scales are all 1."""
    recorder = active()
    sources = tuple(srcs)
    rest = (name_of(reduce_op), None if scales is None else tuple(scales), unique_indices)
    work = work_of(recorder.device, _computation, (dst, *sources), rest)
    recorder.emit(work, (dst,), sources)
    if recorder.numeric:
        total = np.zeros(dst.size, np.float32)
        for source in sources:
            total += floats(source).reshape(-1)
        store(dst, total)
    return HANDLE


def _computation(device: Device, dst: NkiTensor, *rest: Any) -> DmaWork:
    *sources, operation, scales, unique = rest
    if not 1 <= len(sources) <= MAX_SOURCES:
        raise NkiValidationError(f"dma_compute of {len(sources)} sources: at most {MAX_SOURCES}")
    _check_reach("dma_compute", dst, *sources)
    if operation != "add" or not unique:
        raise NkiValidationError(
            f"dma_compute(reduce_op=nl.{operation}, unique_indices={unique}): "
            "expected nl.add and True"
        )
    if scales is not None and scales != (1.0,) * len(sources):
        raise NkiValidationError(f"dma_compute: scales {scales}, expected 1.0 for each source")
    for source in sources:
        if source.size != dst.size:
            raise NkiValidationError(
                f"dma_compute of {source.size} elements {source!r} into {dst.size} {dst!r}"
            )
    return _transfer(dst, tuple(sources), "none", None)


def _check_reach(opcode: str, *operands: NkiTensor) -> None:
    for operand in operands:
        if operand.space == Space.PSUM:
            raise NkiValidationError(f"{opcode} cannot reach PSUM ({operand!r})")


def _check_descriptors(opcode: str, device: Device, dge: dge_mode, priority: int | None) -> None:
    if dge == dge_mode.hwdge and generation(device) < 3:
        raise NkiValidationError(f"{opcode}: {device.name} has no dge_mode.hwdge")
    if priority is not None and (generation(device) < 4 or priority not in PRIORITIES):
        raise NkiValidationError(
            f"{opcode}(priority={priority}) on {device.name}: expected 0 to 3, on trn3"
        )


def _transfer(
    dst: NkiTensor, sources: tuple[NkiTensor, ...], dge: str, trigger: Engine | None
) -> DmaWork:
    """What a transfer costs: the side in HBM says how its rows are cut into runs."""
    src = sources[0]
    to_hbm = dst.space == Space.HBM
    in_hbm = [view for view in (dst, *sources) if view.space == Space.HBM] or [src]
    partitions = (src if to_hbm else dst).shape[0]
    row = dst.size // partitions or 1
    run = min(_run(view) for view in in_hbm)
    contiguous = run == dst.size > row and in_hbm[0].space == Space.HBM and len(sources) == 1
    run = min(run, row)
    read = sum(view.size * view.itemsize for view in sources if view.space == Space.HBM)
    return DmaWork(
        Engine.STORE if to_hbm else Engine.LOAD,
        partitions,
        -(-row // run) * len(sources),
        run * in_hbm[0].itemsize,
        contiguous,
        dge=dge,
        trigger=trigger,
        read_bytes=read,
        written_bytes=dst.size * dst.itemsize if to_hbm else 0,
    )


def _run(view: NkiTensor) -> int:
    """Elements that follow each other from the first one on."""
    run = 1
    for size, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        if size > 1 and stride != run:
            break
        run *= size
    return run
