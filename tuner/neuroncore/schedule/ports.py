"""What instructions share besides their engines: ports of the memories and activation tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import lean
from tuner.neuroncore.compiler.memory import MemoryPlan
from tuner.neuroncore.device import Device
from tuner.neuroncore.program import (
    BYTE_HIGH,
    BYTE_LOW,
    TENSOR,
    ElementwiseWork,
    Engine,
    Program,
    Space,
)

__all__ = ["ALL_PORTS", "LOADS_TABLE", "PORTS", "SBUF_PORT", "ports"]

PORTS = 9
"""The bits of a mark that are ports: 0 to 7 the banks of PSUM, 8 SBUF between VectorE and
GpSimdE."""

ALL_PORTS = (1 << PORTS) - 1
SBUF_PORT = 1 << 8
LOADS_TABLE = 1 << 9
"""The bit of an activation whose table is not the one in ScalarE."""

_ANY_PSUM, _BANK = 1, 2


def ports(
    program: Program, plan: MemoryPlan, device: Device, engines: Sequence[Engine]
) -> npt.NDArray[np.int16]:
    """Returns the ports that each instruction takes while its data moves, and LOADS_TABLE.

    Where VectorE and ScalarE exclude each other on all of PSUM its first bank stands for it.
    """
    kinds = np.zeros((len(program.works), 3), np.int16)
    tables: dict[str, int] = {"": 0}
    for kind, work, engine in zip(kinds, program.works, engines, strict=True):
        if not isinstance(work, ElementwiseWork):
            continue
        spaces = [operand.space for operand in work.operands]
        if Space.PSUM in spaces and engine in (Engine.VECTOR, Engine.SCALAR):
            if device.psum.vector_scalar_exclusive:
                kind[0] = _ANY_PSUM
            elif device.psum.same_bank_exclusive:
                kind[0] = _BANK
        if Space.SBUF in spaces and engine in (Engine.VECTOR, Engine.GPSIMD):
            kind[1] = SBUF_PORT if device.sbuf.vector_gpsimd_exclusive else 0
        if engine == Engine.SCALAR:
            kind[2] = tables.setdefault(work.table, len(tables))
    if not kinds.any():
        return np.zeros(len(program), np.int16)
    marks = np.zeros(len(program), np.int16)
    _mark(
        marks,
        program.work_of,
        kinds,
        program.first_access,
        program.accesses,
        plan.first_bank,
        device.psum.bank_bytes_per_partition,
    )
    return marks


@lean
def _mark(
    marks: Any, work_of: Any, kinds: Any, first_access: Any, accesses: Any, first_bank: Any,
    bank_bytes: Any,
) -> None:  # fmt: skip
    table = 0
    for i in range(len(work_of)):
        kind = kinds[work_of[i]]
        mark = kind[1]
        if kind[0] == _ANY_PSUM:
            mark |= 1
        elif kind[0] == _BANK:
            for a in range(first_access[i], first_access[i + 1]):
                bank = first_bank[accesses[a, TENSOR]]
                if bank >= 0:
                    low = bank + accesses[a, BYTE_LOW] // bank_bytes
                    high = bank + (accesses[a, BYTE_HIGH] - 1) // bank_bytes
                    for b in range(low, high + 1):
                        mark |= 1 << b
        if kind[2] > 0 and kind[2] != table:
            table = kind[2]
            mark |= LOADS_TABLE
        marks[i] = mark
