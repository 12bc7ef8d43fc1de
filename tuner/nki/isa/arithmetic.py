"""nki.isa: arithmetic, element by element."""

from __future__ import annotations

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
    issue,
    kind_of,
    tiles,
)
from tuner.nki.isa.rules import (
    check_bits,
    check_operand,
    check_operation,
    computed,
    tensor_scalar_engine,
    tensor_tensor_engine,
)
from tuner.nki.isa.values import column, floats, integers, store, store_exactly
from tuner.nki.limits import (
    check_column,
    check_engine,
    check_on_chip,
    check_one_in_psum,
    check_same_size,
)
from tuner.nki.operations import ARITHMETIC, BITWISE, EXACT, UNARY, Operation, name_of
from tuner.nki.record.recorder import active
from tuner.nki.tensors.tensor import NkiTensor, free_size

__all__ = ["reciprocal", "scalar_tensor_tensor", "tensor_scalar", "tensor_tensor"]


def tensor_tensor(
    dst: NkiTensor,
    data1: NkiTensor,
    data2: NkiTensor,
    op: Operation,
    engine: engine = engine.unknown,
    name: str | None = None,
) -> NkiInstruction:
    """dst = data1 op data2, element by element; at most one input in PSUM.

    Arithmetic is float32, but of int32 and uint32 on GpSimdE exact; bitwise operations need whole
    numbers.
    """
    recorder = active()
    operation = name_of(op)
    asked = asked_engine("tensor_tensor", engine)
    issue(recorder, _tensor_tensor, (dst,), (data1, data2), operation, asked)
    if recorder.numeric:
        on = tensor_tensor_engine(operation, asked, dst, data1, data2)
        left, right = integers(data1), integers(data2)
        if operation in BITWISE:
            store_exactly(dst, BITWISE[operation](left.astype(dst.dtype), right.astype(dst.dtype)))
        elif on == Engine.GPSIMD and operation in EXACT and _all_32_bit(dst, data1, data2):
            exact = ARITHMETIC[operation](left.astype(np.int64), right.astype(np.int64))
            store_exactly(dst, exact.astype(np.int64).astype(dst.dtype))
        else:
            store(dst, computed(operation, floats(data1), floats(data2)))
    return HANDLE


def _all_32_bit(*views: NkiTensor) -> bool:
    return all(view.dtype in ("int32", "uint32") for view in views)


def _tensor_tensor(
    device: Device, dst: NkiTensor, data1: NkiTensor, data2: NkiTensor, op: str, asked: Engine
) -> ElementwiseWork:
    opcode = "tensor_tensor"
    if asked == Engine.SCALAR:
        raise NkiValidationError(f"{opcode}: ScalarE cannot combine two tensors")
    check_engine(opcode, asked, Engine.VECTOR, Engine.GPSIMD)
    check_operation(device, opcode, op, unary=False)
    check_one_in_psum(opcode, data1, data2)
    on = tensor_tensor_engine(op, asked, dst, data1, data2)
    check_on_chip(device, opcode, on, dst, data1, data2)
    check_same_size(opcode, dst, data1, data2)
    if op in BITWISE:
        check_bits(opcode, op, dst, data1, data2)
    return elementwise(opcode, on, free_size(dst), (dst, data1, data2))


def tensor_scalar(
    dst: NkiTensor,
    data: NkiTensor,
    op0: Operation,
    operand0: Number | NkiTensor | None,
    reverse0: bool = False,
    op1: Operation | None = None,
    operand1: Number | NkiTensor | None = None,
    reverse1: bool = False,
    engine: engine = engine.unknown,
    name: str | None = None,
) -> NkiInstruction:
    """dst = (data op0 operand0) op1 operand1, operands numbers or float32 columns.

    Both operations are arithmetic, in float32, or both bitwise, on whole numbers. `reverse0`,
    `reverse1` swap the sides of their operation.
    """
    recorder = active()
    operations = (name_of(op0), None if op1 is None else name_of(op1))
    reads = (data, *tiles("tensor_scalar", operand0=operand0, operand1=operand1))
    kinds = (kind_of(operand0), kind_of(operand1))
    asked = asked_engine("tensor_scalar", engine)
    issue(recorder, _tensor_scalar, (dst,), reads, operations, kinds, asked)
    if recorder.numeric:
        steps = ((operations[0], operand0, reverse0), (operations[1], operand1, reverse1))
        if operations[0] in BITWISE:
            bits = integers(data).astype(dst.dtype)
            for operation, operand, reverse in steps:
                if operation is not None:
                    bits = _bitwise(operation, bits, operand, reverse)
            store_exactly(dst, bits)
        else:
            values = floats(data)
            for operation, operand, reverse in steps:
                if operation is not None:
                    values = computed(operation, values, column(operand), reverse)
            store(dst, values)
    return HANDLE


def _bitwise(operation: str, bits: Any, operand: Any, reverse: bool) -> Any:
    other = integers(operand) if isinstance(operand, NkiTensor) else np.array(operand or 0)
    other = np.broadcast_to(other.astype(bits.dtype), bits.shape)
    return BITWISE[operation](other, bits) if reverse else BITWISE[operation](bits, other)


def _tensor_scalar(device: Device, dst: NkiTensor, data: NkiTensor, *rest: Any) -> ElementwiseWork:
    opcode = "tensor_scalar"
    *columns, operations, kinds, asked = rest
    check_same_size(opcode, dst, data)
    given = iter(columns)
    for number, (op, kind) in enumerate(zip(operations, kinds, strict=True)):
        tile = next(given) if kind == "tile" else None
        check_operand(device, opcode, f"operand{number}", op, kind, tile, data.shape[0])
    bits = [op in BITWISE for op in operations if op is not None and op != "bypass"]
    if any(bits):
        if not all(bits):
            raise NkiValidationError(
                f"{opcode}: nl.{operations[0]} and nl.{operations[1]} are not both bitwise"
            )
        check_bits(opcode, operations[0], dst, data)
    on = tensor_scalar_engine(operations, asked, dst, data, *columns)
    check_on_chip(device, opcode, on, dst, data, *columns)
    scales = on == Engine.ANY and operations == ("multiply", None) and kinds[0] != "tile"
    table = "copy" if scales else ""  # ScalarE copies with a scale
    return elementwise(opcode, on, free_size(dst), (dst, data), table)


def scalar_tensor_tensor(
    dst: NkiTensor,
    data: NkiTensor,
    op0: Operation,
    operand0: Number | NkiTensor,
    op1: Operation,
    operand1: NkiTensor,
    reverse0: bool = False,
    reverse1: bool = False,
    name: str | None = None,
) -> NkiInstruction:
    """dst = (data op0 operand0) op1 operand1 on VectorE in float32: operand0 a number or a column,
    operand1 a tile; at most one of data and operand1 in PSUM.
    """
    recorder = active()
    operations = (name_of(op0), name_of(op1))
    reads = (data, operand1, *tiles("scalar_tensor_tensor", operand0=operand0))
    issue(recorder, _three, (dst,), reads, operations, kind_of(operand0))
    if recorder.numeric:
        values = computed(operations[0], floats(data), column(operand0), reverse0)
        store(dst, computed(operations[1], values, floats(operand1), reverse1))
    return HANDLE


def _three(
    device: Device, dst: NkiTensor, data: NkiTensor, operand1: NkiTensor, *rest: Any
) -> ElementwiseWork:
    opcode = "scalar_tensor_tensor"
    *columns, operations, kind = rest
    for operation in operations:
        if operation in BITWISE:
            raise NkiValidationError(f"{opcode}: nl.{operation} is not arithmetic")
    check_operation(device, opcode, operations[0], unary=True)
    check_operation(device, opcode, operations[1], unary=False)
    if operations[0] not in UNARY and kind == "none":
        raise NkiValidationError(f"{opcode}: nl.{operations[0]} needs operand0")
    for tile in columns:
        check_column(opcode, "operand0", tile, data.shape[0])
    check_one_in_psum(opcode, data, operand1)
    check_on_chip(device, opcode, Engine.VECTOR, dst, data, operand1, *columns)
    check_same_size(opcode, dst, data, operand1)
    return elementwise(opcode, Engine.VECTOR, free_size(dst), (dst, data, operand1))


def reciprocal(dst: NkiTensor, data: NkiTensor, name: str | None = None) -> NkiInstruction:
    """dst = 1 / data on VectorE, in float32; of infinity it is 0."""
    recorder = active()
    issue(recorder, _reciprocal, (dst,), (data,))
    if recorder.numeric:
        store(dst, computed("reciprocal", floats(data)))
    return HANDLE


def _reciprocal(device: Device, dst: NkiTensor, data: NkiTensor) -> ElementwiseWork:
    check_on_chip(device, "reciprocal", Engine.VECTOR, dst, data)
    check_same_size("reciprocal", dst, data)
    return elementwise("reciprocal", Engine.VECTOR, free_size(dst), (dst, data))
