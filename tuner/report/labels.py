"""Names of instructions, their work and their operands, as a trace shows them."""

from __future__ import annotations

from typing import Any

from tuner.neuroncore.program import (
    BYTE_HIGH,
    BYTE_LOW,
    MODE,
    READ,
    ROW_HIGH,
    ROW_LOW,
    TENSOR,
    DmaWork,
    ElementwiseWork,
    Engine,
    MatmulWork,
    Operand,
    Space,
    Work,
)
from tuner.report.run import Run

__all__ = ["Labels", "category", "details", "name"]

WHOLE_ARRAY = (0, 128, 0, 128)


def name(work: Work) -> str:
    """Returns the nki.isa function of a piece of work."""
    if isinstance(work, MatmulWork):
        return "nc_transpose" if work.transpose else "nc_matmul"
    if isinstance(work, DmaWork):
        return "dma_transpose" if work.transpose else "dma_copy"
    return work.opcode


def category(work: Work) -> str:
    """Returns what kind of work it is: matmul, transpose, load, store or elementwise."""
    if isinstance(work, MatmulWork):
        return "transpose" if work.transpose else "matmul"
    if isinstance(work, DmaWork):
        return "load" if work.engine == Engine.LOAD else "store"
    return "elementwise"


def details(work: Work) -> dict[str, Any]:
    """Returns the size of a piece of work: shape, bytes, floating-point operations."""
    if isinstance(work, MatmulWork):
        found: dict[str, Any] = {
            "K x M x N": f"{work.contraction} x {work.stationary_free} x {work.moving_free}",
            "bytes per element": work.itemsize,
            "flops": work.flops,
        }
        if work.tile != WHOLE_ARRAY:
            row, rows, column, columns = work.tile
            found["array"] = f"rows {row}:{row + rows}, columns {column}:{column + columns}"
        return found
    if isinstance(work, DmaWork):
        return {
            "bytes": work.partitions * work.runs * work.run_bytes,
            "partitions": work.partitions,
            "runs per partition": work.runs,
            "bytes per run": work.run_bytes,
            "bytes from HBM": work.read_bytes,
            "bytes to HBM": work.written_bytes,
        }
    return _elementwise(work)


def _elementwise(work: ElementwiseWork) -> dict[str, Any]:
    written, *read = [_operand(operand) for operand in work.operands] or [""]
    found: dict[str, Any] = {"elements per partition": work.elements, "out": written}
    if read:
        found["in"] = ", ".join(read)
    if work.table:
        found["activation table"] = work.table
    return found


def _operand(operand: Operand) -> str:
    stride = "" if abs(operand.inner_stride) <= 1 else f", stride {operand.inner_stride}"
    return f"{operand.space.name}, {operand.itemsize} bytes each{stride}"


class Labels:
    """Describes the instructions of one run."""

    def __init__(self, run: Run) -> None:
        self._program = run.program
        self._first_bank = run.memory.first_bank
        self._bank_bytes = run.device.psum.bank_bytes_per_partition
        self._work = [(name(w), category(w), details(w)) for w in run.program.works]
        self._sites = [f"{site.name or 'tensor'} ({site.place})" for site in run.program.sites]

    def work(self, instruction: int) -> tuple[str, str, dict[str, Any]]:
        """Returns name, category and details of an instruction's work."""
        return self._work[int(self._program.work_of[instruction])]

    def line(self, instruction: int) -> str:
        """Returns the place in the kernel's source."""
        return self._program.lines[int(self._program.line_of[instruction])]

    def short(self, instruction: int) -> str:
        """Returns what an instruction is and where it stands in the kernel."""
        return f"{self.work(instruction)[0]} at {self.line(instruction)}"

    def tensor(self, tensor: int) -> str:
        """Returns a tensor's name and where it was allocated."""
        return self._sites[int(self._program.site[tensor])]

    def operands(self, instruction: int) -> dict[str, list[str]]:
        """Returns what an instruction writes and reads, with the rectangles."""
        first, end = self._program.first_access[instruction : instruction + 2]
        found: dict[str, list[str]] = {"writes": [], "reads": []}
        for access in self._program.accesses[first:end].tolist():
            found["reads" if access[MODE] == READ else "writes"].append(self._access(access))
        return {key: texts for key, texts in found.items() if texts}

    def _access(self, access: list[int]) -> str:
        tensor = access[TENSOR]
        space = Space(self._program.space[tensor]).name
        if space == "PSUM":
            space = f"PSUM bank {self._first_bank[tensor] + access[BYTE_LOW] // self._bank_bytes}"
        rows = f"rows {access[ROW_LOW]}:{access[ROW_HIGH]}"
        size = f"bytes {access[BYTE_LOW]}:{access[BYTE_HIGH]}"
        return f"{self.tensor(tensor)} in {space}, {rows}, {size}"
