"""nki.isa: patterns, and what is chosen by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ElementwiseWork, Engine, Space
from tuner.nki.enums import reduce_cmd
from tuner.nki.errors import NkiValidationError
from tuner.nki.isa.instruction import (
    HANDLE,
    NkiInstruction,
    Number,
    elementwise,
    is_number,
    issue,
    tiles,
)
from tuner.nki.isa.values import column, floats, integers, reduce_into, store, store_exactly
from tuner.nki.limits import (
    FLOATS,
    check_column,
    check_on_chip,
    check_one_in_psum,
    check_same_size,
    generation,
)
from tuner.nki.operations import COMPARISONS, Operation, name_of
from tuner.nki.record.recorder import active
from tuner.nki.tensors.tensor import NkiTensor, free_size, rounded

__all__ = ["affine_select", "iota", "range_select", "select_reduce"]

MAX_PATTERN = 4
LOWEST = float(np.finfo(np.float32).min)
PREDICATES = ("int8", "uint8", "int16", "uint16", "bool")

equal = Operation("equal")
maximum = Operation("maximum")


def iota(
    dst: NkiTensor,
    pattern: Sequence[Sequence[int]],
    offset: int = 0,
    channel_multiplier: int = 0,
    name: str | None = None,
) -> NkiInstruction:
    """dst[p, w, z, y, x] = offset + p * channel_multiplier + w * step_w + ..., for up to four pairs
    [step, number] of `pattern`, in int32 on GpSimdE.
    """
    recorder = active()
    issue(recorder, _iota, (dst,), (), _counts(pattern))
    if recorder.numeric:
        store(dst, _affine(dst.shape[0], pattern, offset, channel_multiplier))
    return HANDLE


def _counts(pattern: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(int(pair[1]) for pair in pattern)


def _affine(
    partitions: int, pattern: Sequence[Sequence[int]], offset: int, channel_multiplier: int
) -> npt.NDArray[np.int32]:
    """Values of a pattern, shape (partitions, elements)."""
    total: Any = int(offset) + np.arange(partitions)[:, None] * int(channel_multiplier)
    for step, count in pattern:
        total = (total[..., None] + np.arange(count) * int(step)).reshape(partitions, -1)
    found: npt.NDArray[np.int32] = total.astype(np.int32)
    return found


def _iota(device: Device, dst: NkiTensor, counts: tuple[int, ...]) -> ElementwiseWork:
    _check_pattern("iota", counts, dst)
    check_on_chip(device, "iota", Engine.GPSIMD, dst)
    return elementwise("iota", Engine.GPSIMD, free_size(dst), (dst,))


def _check_pattern(opcode: str, counts: tuple[int, ...], *views: NkiTensor) -> None:
    elements = int(np.prod(counts))
    for view in views:
        if view.space != Space.SBUF:
            raise NkiValidationError(f"{opcode}: {view!r} is not in SBUF")
        if not 1 <= len(counts) <= MAX_PATTERN or elements != free_size(view):
            raise NkiValidationError(
                f"{opcode}: a pattern of {elements} elements in {len(counts)} dimensions for "
                f"{view!r}: expected {free_size(view)} in at most {MAX_PATTERN}"
            )


def affine_select(
    dst: NkiTensor,
    pattern: Sequence[Sequence[int]],
    channel_multiplier: int,
    on_true_tile: NkiTensor,
    on_false_value: Number,
    cmp_op: Operation = equal,
    offset: int = 0,
    name: str | None = None,
) -> NkiInstruction:
    """dst = on_true_tile where the pattern's value (see iota) compares so with 0, else
    on_false_value; on GpSimdE, in SBUF.
    """
    recorder = active()
    comparison = name_of(cmp_op)
    if not is_number(on_false_value):
        raise NkiValidationError(f"affine_select(on_false_value={on_false_value!r})")
    issue(recorder, _affine_select, (dst,), (on_true_tile,), _counts(pattern), comparison)
    if recorder.numeric:
        values = _affine(dst.shape[0], pattern, offset, channel_multiplier)
        chosen = COMPARISONS[comparison](values, 0)
        if dst.dtype == on_true_tile.dtype and dst.dtype not in FLOATS:
            other = rounded(np.float32(on_false_value), dst.dtype)
            store_exactly(dst, np.where(chosen, integers(on_true_tile), other))
        else:
            store(dst, np.where(chosen, floats(on_true_tile), np.float32(on_false_value)))
    return HANDLE


def _affine_select(
    device: Device, dst: NkiTensor, source: NkiTensor, counts: tuple[int, ...], comparison: str
) -> ElementwiseWork:
    if comparison not in COMPARISONS:
        raise NkiValidationError(f"affine_select: cmp_op=nl.{comparison} is no comparison")
    _check_pattern("affine_select", counts, dst, source)
    check_on_chip(device, "affine_select", Engine.GPSIMD, dst, source)
    check_same_size("affine_select", dst, source)
    return elementwise("affine_select", Engine.GPSIMD, free_size(dst), (dst, source))


def range_select(
    dst: NkiTensor,
    on_true_tile: NkiTensor,
    comp_op0: Operation,
    comp_op1: Operation,
    bound0: NkiTensor,
    bound1: NkiTensor,
    reduce_cmd: reduce_cmd = reduce_cmd.reset_reduce,
    reduce_res: NkiTensor | None = None,
    reduce_op: Operation = maximum,
    range_start: int = 0,
    on_false_value: Any = ...,
    name: str | None = None,
) -> NkiInstruction:
    """dst = on_true_tile where range_start + the element's index compares so with both bounds (a
    float32 each partition), else the lowest float32; on VectorE, whose registers keep the maximum.
    """
    recorder = active()
    if on_false_value is not ... and np.float32(on_false_value) != np.float32(LOWEST):
        raise NkiValidationError(
            f"range_select(on_false_value={on_false_value!r}): expected {LOWEST}"
        )
    operations = (name_of(comp_op0), name_of(comp_op1), name_of(reduce_op))
    writes = (dst,) if reduce_res is None else (dst, reduce_res)
    reads = (on_true_tile, bound0, bound1)
    issue(recorder, _range_select, writes, reads, operations, reduce_cmd)
    if recorder.numeric:
        index = np.float32(range_start) + np.arange(free_size(dst), dtype=np.float32)
        chosen = COMPARISONS[operations[0]](index, floats(bound0))
        chosen &= COMPARISONS[operations[1]](index, floats(bound1))
        found = np.where(chosen, floats(on_true_tile), np.float32(LOWEST))
        held = reduce_into(recorder, on_true_tile, found, "maximum", reduce_cmd)
        store(dst, found)
        if reduce_res is not None:
            store(reduce_res, held)
    return HANDLE


def _range_select(device: Device, dst: NkiTensor, *rest: Any) -> ElementwiseWork:
    opcode = "range_select"
    *views, operations, command = rest
    *results, source, bound0, bound1 = views
    if generation(device) < 3:
        raise NkiValidationError(f"{opcode}: {device.name} has no such instruction")
    for comparison in operations[:2]:
        if comparison not in COMPARISONS or comparison == "not_equal":
            raise NkiValidationError(f"{opcode}: nl.{comparison} is no comparison it has")
    _check_maximum(opcode, operations[2], command)
    for bound in (bound0, bound1):
        check_column(opcode, "bound", bound, source.shape[0])
        if bound.dtype != "float32":
            raise NkiValidationError(f"{opcode}: bound is {bound.dtype}, expected float32")
    if source.dtype not in FLOATS:
        raise NkiValidationError(f"{opcode}: on_true_tile is {source.dtype}, expected a float")
    return _selected(device, opcode, dst, results, (source,), (bound0, bound1))


def _check_maximum(opcode: str, reduction: str, command: reduce_cmd) -> None:
    if reduction != "maximum" or command is reduce_cmd.load_reduce:
        raise NkiValidationError(
            f"{opcode}(reduce_op=nl.{reduction}, reduce_cmd={command}): it keeps the maximum, and "
            "loads nothing"
        )


def _selected(
    device: Device,
    opcode: str,
    dst: NkiTensor,
    results: list[NkiTensor],
    sources: tuple[NkiTensor, ...],
    columns: tuple[NkiTensor, ...],
) -> ElementwiseWork:
    for result in results:
        check_column(opcode, "reduce_res", result, dst.shape[0])
    check_on_chip(device, opcode, Engine.VECTOR, dst, *results, *sources, *columns)
    check_same_size(opcode, dst, *sources)
    operands = (dst, *sources)
    return elementwise(opcode, Engine.VECTOR, free_size(dst), operands, reduces=bool(results))


def select_reduce(
    dst: NkiTensor,
    predicate: NkiTensor,
    on_true: NkiTensor,
    on_false: Number | NkiTensor,
    reduce_res: NkiTensor | None = None,
    reduce_cmd: reduce_cmd = reduce_cmd.idle,
    reduce_op: Operation = maximum,
    reverse_pred: bool = False,
    name: str | None = None,
) -> NkiInstruction:
    """dst = on_true where the predicate is not zero (reversed: is zero), else on_false, a number or
    a column; on VectorE, whose registers can keep the maximum.
    """
    recorder = active()
    writes = (dst,) if reduce_res is None else (dst, reduce_res)
    reads = (predicate, on_true, *tiles("select_reduce", on_false=on_false))
    rest = (len(writes), name_of(reduce_op), reduce_cmd)
    issue(recorder, _select_reduce, writes, reads, *rest)
    if recorder.numeric:
        chosen = (integers(predicate) != 0) != reverse_pred
        found = np.where(chosen, floats(on_true), column(on_false))
        held = reduce_into(recorder, on_true, found, "maximum", reduce_cmd)
        store(dst, found)
        if reduce_res is not None:
            store(reduce_res, held)
    return HANDLE


def _select_reduce(device: Device, dst: NkiTensor, *rest: Any) -> ElementwiseWork:
    opcode = "select_reduce"
    *views, writes, reduction, command = rest
    results, (predicate, on_true, *columns) = views[: writes - 1], views[writes - 1 :]
    _check_maximum(opcode, reduction, command)
    if predicate.dtype not in PREDICATES:
        raise NkiValidationError(f"{opcode}: predicate is {predicate.dtype}, not of {PREDICATES}")
    if on_true.dtype in ("tfloat32", "int32", "uint32"):
        raise NkiValidationError(f"{opcode}: on_true is {on_true.dtype}")
    check_one_in_psum(opcode, on_true, predicate)
    for tile in columns:
        check_column(opcode, "on_false", tile, dst.shape[0])
    for result in results:
        if result.dtype not in FLOATS:
            raise NkiValidationError(f"{opcode}: reduce_res is {result.dtype}, expected a float")
    sources = (predicate, on_true)
    return _selected(device, opcode, dst, results, sources, tuple(columns))
