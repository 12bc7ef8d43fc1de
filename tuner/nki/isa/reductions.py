"""nki.isa: reductions and scans along the elements of a partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ElementwiseWork, Engine
from tuner.nki.enums import reduce_cmd
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.isa.instruction import (
    HANDLE,
    NkiInstruction,
    Number,
    elementwise,
    issue,
    kind_of,
    tiles,
)
from tuner.nki.isa.rules import check_bits, check_operand, check_operation, computed
from tuner.nki.isa.values import (
    column,
    floats,
    integers,
    reduce_into,
    store,
    store_exactly,
)
from tuner.nki.limits import (
    check_column,
    check_on_chip,
    check_one_in_psum,
    check_same_size,
)
from tuner.nki.operations import ARITHMETIC, BITWISE, IDENTITIES, REDUCTIONS, Operation, name_of
from tuner.nki.record.recorder import active
from tuner.nki.tensors.tensor import NkiTensor, free_size

__all__ = [
    "tensor_reduce",
    "tensor_scalar_cumulative",
    "tensor_scalar_reduce",
    "tensor_tensor_scan",
]


def tensor_reduce(
    dst: NkiTensor,
    op: Operation,
    data: NkiTensor,
    axis: int | Sequence[int],
    negate: bool = False,
    keepdims: bool = False,
    name: str | None = None,
) -> NkiInstruction:
    """Reduces the last dimensions on VectorE; `axis` numbers them, up to the last one."""
    recorder = active()
    operation = name_of(op)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    issue(recorder, _tensor_reduce, (dst,), (data,), operation, axes, negate)
    if recorder.numeric:
        outputs = free_size(dst)
        if operation in BITWISE:
            bits = integers(data).reshape(data.shape[0] * outputs, -1)
            store_exactly(dst, REDUCTIONS[operation](bits, axis=1).astype(dst.dtype))
        else:
            values = floats(data).reshape(data.shape[0] * outputs, -1)
            with np.errstate(all="ignore"):
                found = REDUCTIONS[operation](values, axis=1).astype(np.float32)
            store(dst, -found if negate else found)
    return HANDLE


def _tensor_reduce(
    device: Device,
    dst: NkiTensor,
    data: NkiTensor,
    op: str,
    axes: tuple[int, ...],
    negate: bool,
) -> ElementwiseWork:
    opcode = "tensor_reduce"
    if op not in REDUCTIONS:
        raise NotSupportedError(f"nki.isa.{opcode}(op=nl.{op})")
    first = data.ndim - len(axes)
    if not axes or first < 1 or tuple(sorted(axes)) != tuple(range(first, data.ndim)):
        raise NkiValidationError(
            f"{opcode}(axis={axes}) of {data!r}: expected the last free dimensions by number, "
            f"up to {data.ndim - 1}"
        )
    kept = 1
    for size in data.shape[1:first]:
        kept *= size
    if dst.shape[0] != data.shape[0] or free_size(dst) != kept:
        raise NkiValidationError(
            f"{opcode} writes [{data.shape[0]}, {kept}], dst is {list(dst.shape)}"
        )
    if op in BITWISE:
        check_bits(opcode, op, dst, data)
        if negate:
            raise NkiValidationError(f"{opcode}: nl.{op} cannot be negated")
    check_on_chip(device, opcode, Engine.VECTOR, dst, data)
    return elementwise(opcode, Engine.VECTOR, free_size(data), (dst, data))


def tensor_scalar_reduce(
    dst: NkiTensor,
    data: NkiTensor,
    op0: Operation,
    operand0: Number | NkiTensor,
    reduce_op: Operation,
    reduce_res: NkiTensor | None = None,
    reverse0: bool = False,
    reduce_cmd: reduce_cmd = reduce_cmd.reset_reduce,
    reduce_init: Number | NkiTensor | None = None,
    reduce_res_negate: bool = False,
    name: str | None = None,
) -> NkiInstruction:
    """dst = data op0 operand0, reduced along each partition (nl.add, multiply, maximum or minimum)
    into VectorE's registers; `reduce_res`[P,1] reads them out.
    """
    recorder = active()
    opcode = "tensor_scalar_reduce"
    operation, reduction = name_of(op0), name_of(reduce_op)
    if reverse0:
        raise NotSupportedError(f"nki.isa.{opcode}(reverse0=True)")
    writes = (dst,) if reduce_res is None else (dst, reduce_res)
    reads = (data, *tiles(opcode, operand0=operand0, reduce_init=reduce_init))
    kinds = (kind_of(operand0), kind_of(reduce_init))
    rest = (len(writes), operation, reduction, kinds, reduce_cmd)
    issue(recorder, _scalar_reduce, writes, reads, *rest)
    if recorder.numeric:
        values = computed(operation, floats(data), column(operand0))
        found = np.broadcast_to(values, (data.shape[0], free_size(data)))
        held = reduce_into(recorder, data, found, reduction, reduce_cmd, reduce_init)
        store(dst, found)
        if reduce_res is not None:
            store(reduce_res, -held if reduce_res_negate else held)
    return HANDLE


def _scalar_reduce(device: Device, dst: NkiTensor, *rest: Any) -> ElementwiseWork:
    opcode = "tensor_scalar_reduce"
    *views, writes, op, reduction, kinds, command = rest
    results, (data, *columns) = views[: writes - 1], views[writes - 1 :]
    if op in BITWISE:
        raise NkiValidationError(f"{opcode}: nl.{op} is not arithmetic")
    if reduction not in ("add", "multiply", "maximum", "minimum"):
        raise NkiValidationError(
            f"{opcode}: reduce_op=nl.{reduction}, expected nl.add, multiply, maximum or minimum"
        )
    if command not in (reduce_cmd.reset_reduce, reduce_cmd.reduce, reduce_cmd.load_reduce):
        raise NkiValidationError(f"{opcode}: it has no {command}")
    _check_initial(opcode, "reduce_init", kinds[1], command)
    given = iter(columns)
    tile = next(given) if kinds[0] == "tile" else None
    check_operand(device, opcode, "operand0", op, kinds[0], tile, data.shape[0])
    for initial in given:
        _check_float_column(opcode, "reduce_init", initial, data.shape[0])
    for result in results:
        check_column(opcode, "reduce_res", result, data.shape[0])
    check_on_chip(device, opcode, Engine.VECTOR, dst, *views)
    check_same_size(opcode, dst, data)
    return elementwise(opcode, Engine.VECTOR, free_size(dst), (dst, data), reduces=bool(results))


def _check_initial(opcode: str, name: str, kind: str, command: reduce_cmd) -> None:
    if (kind == "none") == (command == reduce_cmd.load_reduce):
        raise NkiValidationError(f"{opcode}: {name} goes with reduce_cmd.load_reduce, and only so")


def _check_float_column(opcode: str, name: str, view: NkiTensor, partitions: int) -> None:
    check_column(opcode, name, view, partitions)
    if view.dtype != "float32":
        raise NkiValidationError(f"{opcode}: {name} is {view.dtype}, expected float32")


def tensor_scalar_cumulative(
    dst: NkiTensor,
    src: NkiTensor,
    op0: Operation,
    op1: Operation,
    imm0: Number | NkiTensor,
    imm1: Number | NkiTensor | None = None,
    reduce_cmd: reduce_cmd = reduce_cmd.reset_reduce,
    name: str | None = None,
) -> NkiInstruction:
    """dst[i] = (src[i] op0 imm0) op1 dst[i-1] on VectorE, beginning with its register."""
    recorder = active()
    operations = (name_of(op0), name_of(op1))
    reads = (src, *tiles("tensor_scalar_cumulative", imm0=imm0, imm1=imm1))
    kinds = (kind_of(imm0), kind_of(imm1))
    issue(recorder, _cumulative, (dst,), reads, operations, kinds, reduce_cmd)
    if recorder.numeric:
        steps = computed(operations[0], floats(src), column(imm0))
        steps = np.broadcast_to(steps, (src.shape[0], free_size(src)))
        first = steps[:, :0]  # only resets or loads the register
        held = reduce_into(recorder, src, first, operations[1], reduce_cmd, imm1)
        found = np.empty(steps.shape, np.float32)
        for i in range(steps.shape[1]):
            held[...] = found[:, i] = computed(operations[1], steps[:, i], held)
        store(dst, found)
    return HANDLE


def _cumulative(device: Device, dst: NkiTensor, src: NkiTensor, *rest: Any) -> ElementwiseWork:
    opcode = "tensor_scalar_cumulative"
    *columns, operations, kinds, command = rest
    if operations[0] not in ARITHMETIC or operations[1] not in IDENTITIES:
        raise NkiValidationError(
            f"{opcode}: op0=nl.{operations[0]}, op1=nl.{operations[1]}: expected an arithmetic "
            "one, and nl.add, subtract, multiply, maximum or minimum"
        )
    check_operation(device, opcode, operations[0], unary=False)
    if command not in (reduce_cmd.reset_reduce, reduce_cmd.reduce, reduce_cmd.load_reduce):
        raise NkiValidationError(f"{opcode}: it has no {command}")
    _check_initial(opcode, "imm1", kinds[1], command)
    for tile in columns:
        _check_float_column(opcode, "imm0 or imm1", tile, src.shape[0])
    for view in (dst, src):
        if view.dtype in ("int32", "uint32"):
            raise NkiValidationError(f"{opcode}: {view!r} has 32-bit whole numbers")
    check_on_chip(device, opcode, Engine.VECTOR, dst, src, *columns)
    check_same_size(opcode, dst, src)
    return elementwise(opcode, Engine.VECTOR, free_size(dst), (dst, src))


def tensor_tensor_scan(
    dst: NkiTensor,
    data0: NkiTensor,
    data1: NkiTensor,
    initial: Number | NkiTensor,
    op0: Operation,
    op1: Operation,
    reverse0: bool = False,
    reverse1: bool = False,
    name: str | None = None,
) -> NkiInstruction:
    """dst[i] = (data0[i] op0 dst[i-1]) op1 data1[i] on VectorE in float32, dst[-1] = initial."""
    recorder = active()
    operations = (name_of(op0), name_of(op1))
    reads = (data0, data1, *tiles("tensor_tensor_scan", initial=initial))
    issue(recorder, _scan, (dst,), reads, operations)
    if recorder.numeric:
        factors, terms = floats(data0), floats(data1)
        held = np.broadcast_to(column(initial), (data0.shape[0], 1))[:, 0]
        found = np.empty(factors.shape, np.float32)
        for i in range(factors.shape[1]):
            held = computed(operations[0], factors[:, i], held, reverse0)
            found[:, i] = held = computed(operations[1], held, terms[:, i], reverse1)
        store(dst, found)
    return HANDLE


def _scan(
    device: Device, dst: NkiTensor, data0: NkiTensor, data1: NkiTensor, *rest: Any
) -> ElementwiseWork:
    opcode = "tensor_tensor_scan"
    *columns, operations = rest
    for op in operations:
        if op in BITWISE:
            raise NkiValidationError(f"{opcode}: nl.{op} is not arithmetic")
        check_operation(device, opcode, op, unary=False)
    for initial in columns:
        check_column(opcode, "initial", initial, data0.shape[0])
    check_one_in_psum(opcode, data0, data1)
    check_on_chip(device, opcode, Engine.VECTOR, dst, data0, data1, *columns)
    check_same_size(opcode, dst, data0, data1)
    return elementwise(opcode, Engine.VECTOR, free_size(dst), (dst, data0, data1))
