"""Which operations an instruction takes, on which engine, and their values in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import Engine, Space
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.limits import INTEGERS, check_column, check_engine, generation
from tuner.nki.operations import ARITHMETIC, BITWISE, NEWEST, UNARY
from tuner.nki.tensors.tensor import NkiTensor, Values

__all__ = [
    "check_bits",
    "check_operand",
    "check_operation",
    "computed",
    "tensor_scalar_engine",
    "tensor_tensor_engine",
]

_ON_SCALAR = (("multiply", "add"), ("multiply", None), ("add", None))
"""The operations of tensor_scalar that ScalarE has."""


def computed(operation: str, left: Any, right: Any = None, reverse: bool = False) -> Values:
    """Returns left operation right (reversed: right operation left) in float32."""
    with np.errstate(all="ignore"):
        if operation in UNARY:
            found = UNARY[operation](left)
        else:
            found = (
                ARITHMETIC[operation](right, left)
                if reverse
                else ARITHMETIC[operation](left, right)
            )
    return np.asarray(found, np.float32)


def check_operation(device: Device, opcode: str, op: str, unary: bool) -> None:
    """Raises NkiValidationError for an operation that the instruction does not have."""
    known = op in ARITHMETIC or (op in BITWISE and op != "invert")
    if not known and not (unary and (op in UNARY or op == "invert")):
        raise NotSupportedError(f"nki.isa.{opcode}(op=nl.{op})")
    if op in NEWEST and generation(device) < 4:
        raise NkiValidationError(f"{opcode}: {device.name} has no nl.{op}")


def check_operand(
    device: Device,
    opcode: str,
    name: str,
    op: str | None,
    kind: str,
    tile: NkiTensor | None,
    partitions: int,
) -> None:
    """Raises NkiValidationError unless an operand that is broadcast fits its operation.

    Args:
        kind: "tile", "none", "zero", or the type of another number.
    """
    if op is None:
        if kind != "none":
            raise NkiValidationError(f"{opcode}: {name} without an operation")
        return
    check_operation(device, opcode, op, unary=True)
    if op == "bypass":
        return
    if op in UNARY or op == "invert":
        if kind not in ("none", "zero"):
            raise NkiValidationError(f"{opcode}: nl.{op} takes no {name}, expected None or 0")
        return
    if kind == "none":
        raise NkiValidationError(f"{opcode}: nl.{op} needs {name}")
    if tile is not None:
        check_column(opcode, name, tile, partitions)
        if op in BITWISE and tile.dtype not in INTEGERS:
            raise NkiValidationError(f"{opcode}: {name} of nl.{op} is {tile.dtype}")
        if op not in BITWISE and tile.dtype != "float32":
            raise NkiValidationError(f"{opcode}: {name} is {tile.dtype}, expected float32")
    elif op in BITWISE and kind == "float":
        raise NkiValidationError(f"{opcode}: {name} of nl.{op} is no whole number")


def check_bits(opcode: str, op: str, *views: NkiTensor) -> None:
    """Raises NkiValidationError unless the operands of a bitwise operation are whole numbers."""
    for view in views:
        if view.dtype not in INTEGERS:
            raise NkiValidationError(f"{opcode}: nl.{op} needs whole numbers, not {view!r}")


def tensor_tensor_engine(op: str, asked: Engine, *views: NkiTensor) -> Engine:
    """Returns the engine of tensor_tensor; ANY where the compiler may pick."""
    if asked != Engine.ANY:
        return asked
    if op == "power":
        return Engine.GPSIMD
    if op in BITWISE or any(view.space == Space.PSUM for view in views):
        return Engine.VECTOR
    if all(view.dtype in ("int32", "uint32") for view in views):
        return Engine.GPSIMD
    return Engine.ANY


def tensor_scalar_engine(
    operations: tuple[str, str | None], asked: Engine, *views: NkiTensor
) -> Engine:
    """Returns the engine of tensor_scalar; ANY where the compiler may pick.

    Raises:
        NkiValidationError: The engine does not have these operations.
    """
    on_gpsimd = "rsqrt" in operations
    able = [Engine.VECTOR]
    if operations[0] not in BITWISE:
        able += [Engine.SCALAR] if operations in _ON_SCALAR else []
        able += [Engine.GPSIMD] if on_gpsimd else []
    check_engine(f"tensor_scalar of nl.{operations[0]}, nl.{operations[1]}", asked, *able)
    if asked != Engine.ANY:
        return asked
    if on_gpsimd and not any(view.space == Space.PSUM for view in views):
        return Engine.GPSIMD
    return Engine.ANY if operations in _ON_SCALAR else Engine.VECTOR
