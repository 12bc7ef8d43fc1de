"""Programs: what a kernel asks of a NeuronCore, as flat arrays.

A program is the meeting point of the recorder, which writes it, and of memory, dependences and
timeline, which read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "MAX_OPERANDS",
    "DmaWork",
    "ElementwiseWork",
    "Engine",
    "MatmulWork",
    "Operand",
    "Program",
    "Space",
    "TensorInfo",
    "Work",
]

MAX_OPERANDS = 4
"""Operands of an instruction: the written one first, then those it reads."""


class Engine(IntEnum):
    """The streams that issue in order: four compute engines, and DMA into SBUF and into HBM."""

    TENSOR = 0
    VECTOR = 1
    SCALAR = 2
    GPSIMD = 3
    LOAD = 4
    STORE = 5


class Space(IntEnum):
    """Where a tensor lives."""

    HBM = 0
    SBUF = 1
    PSUM = 2


class Operand(NamedTuple):
    """What the cost of an elementwise instruction depends on in one operand."""

    space: Space
    itemsize: int
    inner_stride: int


class MatmulWork(NamedTuple):
    """nc_matmul: rows of contraction, free sizes of the operands (elements)."""

    contraction: int
    stationary_free: int
    moving_free: int
    fp32: bool


class ElementwiseWork(NamedTuple):
    """An instruction of VectorE, ScalarE or GpSimdE on `elements` per partition; `operands[0]` is
    written.
    """

    opcode: str
    engine: Engine
    elements: int
    operands: tuple[Operand, ...]
    loads_table: bool = False
    zero: bool = False


class DmaWork(NamedTuple):
    """A dma_copy between `partitions` rows, each of `runs` pieces of `run_bytes` contiguous in
    HBM.
    """

    engine: Engine
    partitions: int
    runs: int
    run_bytes: int
    rows_contiguous: bool


Work = MatmulWork | ElementwiseWork | DmaWork


class TensorInfo(NamedTuple):
    """One allocation: bytes per partition (HBM: in all), and the place in the kernel that made
    it.
    """

    space: Space
    bytes: int
    name: str
    site: str


@dataclass(frozen=True)
class Program:
    """A recorded kernel.

    Attributes:
        works: The distinct pieces of work.
        work_of: Shape (instructions,): index into `works`.
        tensors: The allocations, in order.
        ranges: Shape (ranges, 3): tensor, first byte, one past the last byte (per partition on
            chip).
        operands: Shape (instructions, MAX_OPERANDS): index into `ranges`, -1 for none; column 0 is
            written.
        flops: Floating-point operations of all matmuls.
        hbm_read_bytes: Bytes that cross from HBM.
        hbm_written_bytes: Bytes that cross to HBM.
    """

    works: tuple[Work, ...]
    work_of: npt.NDArray[np.int32]
    tensors: tuple[TensorInfo, ...]
    ranges: npt.NDArray[np.int64]
    operands: npt.NDArray[np.int32]
    flops: int
    hbm_read_bytes: int
    hbm_written_bytes: int

    def __len__(self) -> int:
        return len(self.work_of)

    def engine_of(self) -> npt.NDArray[np.int8]:
        """Returns the engine of every instruction, shape (instructions,)."""
        engines = np.array([engine(work) for work in self.works], np.int8)
        return engines[self.work_of] if len(self) else np.empty(0, np.int8)


def engine(work: Work) -> Engine:
    """The engine that does a piece of work."""
    return Engine.TENSOR if isinstance(work, MatmulWork) else work.engine
