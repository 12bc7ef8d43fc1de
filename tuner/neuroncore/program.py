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
    "ACCUMULATED",
    "BYTE_HIGH",
    "BYTE_LOW",
    "MODE",
    "READ",
    "ROW_HIGH",
    "ROW_LOW",
    "TENSOR",
    "WRITTEN",
    "DmaWork",
    "ElementwiseWork",
    "Engine",
    "MatmulWork",
    "Operand",
    "Program",
    "Site",
    "Space",
    "Work",
]

TENSOR, MODE, ROW_LOW, ROW_HIGH, BYTE_LOW, BYTE_HIGH = range(6)
"""Columns of `Program.accesses`."""

READ, WRITTEN, ACCUMULATED = range(3)
"""Values of the MODE column; ACCUMULATED: a matmul adds to what earlier ones left in PSUM."""


class Engine(IntEnum):
    """The streams that issue in order: four compute engines, and DMA into SBUF and into HBM.

    ANY is a compute engine of the compiler's choice: the policy settles it.
    """

    TENSOR = 0
    VECTOR = 1
    SCALAR = 2
    GPSIMD = 3
    LOAD = 4
    STORE = 5
    ANY = 6


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
    """nc_matmul, or nc_transpose on TensorE.

    Attributes:
        contraction: Rows that are summed over (of a transpose: partitions of its input).
        stationary_free: Columns of the stationary operand, elements.
        moving_free: Columns of the moving operand, elements.
        itemsize: Bytes of an operand's element; 4 is float32.
        transpose: Moves data only: no floating-point operations.
        onezero: An operand is declared to hold ones and zeros, which halves float32 passes.
        double_row: float8, two rows of contraction a cycle.
        tile: (first row, rows, first column, columns) of the array it occupies; all of it by
            default.
    """

    contraction: int
    stationary_free: int
    moving_free: int
    itemsize: int
    transpose: bool = False
    onezero: bool = False
    double_row: bool = False
    tile: tuple[int, int, int, int] = (0, 128, 0, 128)

    @property
    def flops(self) -> int:
        """Floating-point operations."""
        if self.transpose:
            return 0
        rows = self.contraction * (2 if self.double_row else 1)
        return 2 * rows * self.stationary_free * self.moving_free


class ElementwiseWork(NamedTuple):
    """An instruction of VectorE, ScalarE or GpSimdE on `elements` per partition.

    Attributes:
        opcode: Name of the nki.isa function.
        engine: Where it runs; Engine.ANY leaves it to the policy.
        elements: Elements per partition that it walks over (of a reduction: its input's).
        operands: The written one first.
        table: Activation function whose table ScalarE needs if it does this; "" for none.
        zero: memset: the value is zero.
        reduces: It also reads out a reduction register.
    """

    opcode: str
    engine: Engine
    elements: int
    operands: tuple[Operand, ...]
    table: str = ""
    zero: bool = False
    reduces: bool = False


class DmaWork(NamedTuple):
    """A DMA transfer of `partitions` rows, each of `runs` pieces of `run_bytes` contiguous in HBM.

    Attributes:
        engine: LOAD or STORE: the direction, seen from SBUF (within HBM: STORE).
        rows_contiguous: All rows together are one run in HBM.
        transpose: "" or where the transposed source is: "hbm", "sbuf".
        dge: Who makes the descriptors: "unknown", "none", "hwdge", "swdge".
        trigger: Engine whose stream triggers it; None leaves it to the policy.
        read_bytes: Bytes that cross from HBM.
        written_bytes: Bytes that cross to HBM.
    """

    engine: Engine
    partitions: int
    runs: int
    run_bytes: int
    rows_contiguous: bool
    transpose: str = ""
    dge: str = "unknown"
    trigger: Engine | None = None
    read_bytes: int = 0
    written_bytes: int = 0


Work = MatmulWork | ElementwiseWork | DmaWork


class Site(NamedTuple):
    """A place in the kernel that allocates.

    Attributes:
        name: The tensor's name, for messages.
        place: File and line.
        looped: Inside a loop of the kernel, or in a helper called from one.
    """

    name: str
    place: str
    looped: bool


@dataclass(frozen=True)
class Program:
    """A recorded kernel, every instruction of it in program order.

    A tensor is a rectangle: on chip its partitions by the bytes of a partition; in HBM the rows of
    its last dimension by the bytes of a row. An access covers a rectangle of one tensor (where a
    view is no rectangle, the smallest one around it).

    Attributes:
        works: The distinct pieces of work.
        work_of: Shape (instructions,): index into `works`.
        lines: The distinct places in the kernel's source that issue instructions, "file.py:12".
        line_of: Shape (instructions,): index into `lines`.
        first_access: Shape (instructions + 1,): instruction i accesses
            `accesses[first_access[i]:first_access[i + 1]]`, what it writes first.
        accesses: Shape (accesses, 6), columns TENSOR, MODE, ROW_LOW, ROW_HIGH, BYTE_LOW, BYTE_HIGH
            (one past the last).
        sites: The distinct places that allocate.
        space: Shape (tensors,): Space of each tensor; tensors are in order of allocation.
        rows: Shape (tensors,): partitions, or rows in HBM.
        row_bytes: Shape (tensors,): bytes per partition or row.
        site: Shape (tensors,): index into `sites`.
    """

    works: tuple[Work, ...]
    work_of: npt.NDArray[np.int32]
    lines: tuple[str, ...]
    line_of: npt.NDArray[np.int32]
    first_access: npt.NDArray[np.int64]
    accesses: npt.NDArray[np.int32]
    sites: tuple[Site, ...]
    space: npt.NDArray[np.int8]
    rows: npt.NDArray[np.int32]
    row_bytes: npt.NDArray[np.int64]
    site: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.work_of)

    def counts(self) -> npt.NDArray[np.int64]:
        """Returns how often each piece of work occurs, shape (works,)."""
        return np.bincount(self.work_of, minlength=len(self.works))

    @property
    def flops(self) -> int:
        """Floating-point operations of all matmuls."""
        per_work = [w.flops if isinstance(w, MatmulWork) else 0 for w in self.works]
        return int(self.counts() @ np.array(per_work, np.int64)) if per_work else 0

    @property
    def hbm_read_bytes(self) -> int:
        """Bytes that cross from HBM."""
        per_work = [w.read_bytes if isinstance(w, DmaWork) else 0 for w in self.works]
        return int(self.counts() @ np.array(per_work, np.int64)) if per_work else 0

    @property
    def hbm_written_bytes(self) -> int:
        """Bytes that cross to HBM."""
        per_work = [w.written_bytes if isinstance(w, DmaWork) else 0 for w in self.works]
        return int(self.counts() @ np.array(per_work, np.int64)) if per_work else 0
