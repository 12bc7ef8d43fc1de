"""What all instructions share: operands are checked once for each kind of them, then issued."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ElementwiseWork, Engine, Operand, Work
from tuner.nki.enums import engine
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.limits import check_start
from tuner.nki.record.recorder import Recorder
from tuner.nki.record.symbolic import Index
from tuner.nki.tensors.tensor import NkiTensor, inner_stride

__all__ = [
    "HANDLE",
    "NkiInstruction",
    "Number",
    "asked_engine",
    "elementwise",
    "is_number",
    "issue",
    "kind_of",
    "tiles",
    "work_of",
]

Number = int | float


class NkiInstruction:
    """What an instruction returns: a handle, no tensor."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def depends_on(self, *producers: NkiInstruction) -> None:
        """Not supported: the simulator orders by data alone."""
        raise NotSupportedError("nki.isa.NkiInstruction.depends_on")


HANDLE = NkiInstruction(None)

MAX_KNOWN = 4096

_known: dict[Any, Any] = {}
_known_device: Device | None = None


def work_of(
    device: Device, make: Callable[..., Work], views: tuple[NkiTensor, ...], rest: tuple[Any, ...]
) -> Any:
    """Returns make(device, *views, *rest), which checks all but where the views begin.

    Operands of the same shapes, strides, dtypes and buffers have the same answer: it is remembered.
    """
    global _known, _known_device
    if device is not _known_device or len(_known) > MAX_KNOWN:
        _known, _known_device = {}, device
    key: list[Any] = [make, rest]
    for view in views:
        allocation = view.allocation
        key += (
            view.shape,
            view.strides,
            view.dtype,
            allocation.dtype,
            allocation.row_elements,
            allocation.buffer.name,
        )
    found = tuple(key)
    work = _known.get(found)
    if work is None:
        work = _known[found] = make(device, *views, *rest)
    return work


def issue(
    recorder: Recorder,
    make: Callable[..., Work],
    writes: tuple[NkiTensor, ...],
    reads: tuple[NkiTensor, ...],
    *rest: Any,
    accumulates: bool = False,
) -> None:
    """Checks an instruction of a compute engine and records it."""
    views = writes + reads
    work = work_of(recorder.device, make, views, rest)
    for view in views:
        row = view.row
        if type(row) is not int or row or view.allocation.address is not None:
            check_start(view)
    recorder.emit(work, writes, reads, accumulates)


def elementwise(
    opcode: str,
    on: Engine,
    elements: int,
    views: tuple[NkiTensor, ...],
    table: str = "",
    zero: bool = False,
    reduces: bool = False,
) -> ElementwiseWork:
    """The work on full-size operands; columns of one element per partition cost nothing."""
    operands = tuple(Operand(v.space, v.itemsize, inner_stride(v)) for v in views)
    return ElementwiseWork(opcode, on, elements, operands, table, zero, reduces)


_ENGINES = {
    engine.unknown: Engine.ANY,
    engine.tensor: Engine.TENSOR,
    engine.vector: Engine.VECTOR,
    engine.scalar: Engine.SCALAR,
    engine.gpsimd: Engine.GPSIMD,
}


def asked_engine(opcode: str, asked: engine) -> Engine:
    """Returns the compute engine that an `engine=` argument names; Engine.ANY for unknown."""
    if asked is engine.unknown:
        return Engine.ANY
    if asked not in _ENGINES:
        raise NkiValidationError(f"{opcode}: engine={asked!r} is no compute engine")
    return _ENGINES[asked]


def is_number(value: Any) -> bool:
    """Whether an operand is a constant."""
    return isinstance(value, int | float | Index | np.number) and not isinstance(value, bool)


def tiles(opcode: str, **operands: Any) -> tuple[NkiTensor, ...]:
    """Returns those operands that are tensors; the others must be numbers or None.

    Raises:
        NkiValidationError: One is neither.
    """
    found = []
    for name, operand in operands.items():
        if isinstance(operand, NkiTensor):
            found.append(operand)
        elif operand is not None and not is_number(operand):
            raise NkiValidationError(f"{opcode}: {name}={operand!r} is no tensor and no number")
    return tuple(found)


def kind_of(operand: Any) -> str:
    """What the rules for an operand depend on."""
    if isinstance(operand, NkiTensor):
        return "tile"
    if operand is None:
        return "none"
    if type(operand) is int or type(operand) is float:
        return "zero" if operand == 0 else type(operand).__name__
    return "float" if isinstance(operand, np.floating) else "int"
