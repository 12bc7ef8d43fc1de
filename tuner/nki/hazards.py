"""Hazards: what a kernel does that gives no error but no sure result on hardware either.

They are found while values are computed: reading what nothing was written to, accumulating onto
what hardware leaves undefined, and tiles placed by address over others that are still read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from tuner.nki.errors import HazardError
from tuner.nki.record.sites import kernel_line
from tuner.nki.tensors.storage import Allocation, uninitialised
from tuner.nki.tensors.tensor import NkiTensor
from tuner.runtime.rules import DTYPE_BYTES

__all__ = ["ACCUMULATION", "OVERLAP", "UNWRITTEN", "Hazard", "Hazards"]

UNWRITTEN = "unwritten"
ACCUMULATION = "accumulation"
OVERLAP = "overlap"


@dataclass(frozen=True)
class Hazard:
    """One place of a kernel whose result hardware does not promise.

    Attributes:
        kind: UNWRITTEN, ACCUMULATION or OVERLAP.
        line: File and line of the kernel.
        message: What is read or written there, and why it is unsure.
    """

    kind: str
    line: str
    message: str

    def __str__(self) -> str:
        return f"{self.line}: {self.message}"


class Hazards:
    """Collects the hazards of one run, each place of the kernel once.

    Attributes:
        strict: Whether the first one raises.
        counts: How often each was met.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.counts: dict[Hazard, int] = {}
        self._first: dict[tuple[str, str, str], Hazard] = {}
        self._placed: WeakKeyDictionary[Allocation, None] = WeakKeyDictionary()
        self._lost: WeakKeyDictionary[Allocation, str] = WeakKeyDictionary()

    def __iter__(self) -> Iterator[Hazard]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def begin(self) -> None:
        """Forgets which tiles lie where: a program begins, on a core of its own."""
        self._placed.clear()
        self._lost.clear()

    def report(
        self, kind: str, message: str, line: str | None = None, subject: str | None = None
    ) -> None:
        """Notes a hazard, once for each line and subject.

        Args:
            kind: UNWRITTEN, ACCUMULATION or OVERLAP.
            message: What is unsure and why; the first one stays.
            line: File and line, the kernel's current one unless given.
            subject: What the message is about, the message itself unless given.

        Raises:
            HazardError: In strict mode.
        """
        place = line or kernel_line()
        key = (kind, place, message if subject is None else subject)
        hazard = self._first.setdefault(key, Hazard(kind, place, message))
        self.counts[hazard] = self.counts.get(hazard, 0) + 1
        if self.strict:
            raise HazardError(str(hazard))

    def before(self, writes: Sequence[NkiTensor], reads: Sequence[NkiTensor]) -> None:
        """Looks at an instruction's operands before its values are computed."""
        for view in reads:
            self._check_read(view)
        for view in writes:
            if view.allocation.address is not None:
                self._place(view)

    def returned(self, output: NkiTensor) -> None:
        """Looks at a tensor that the kernel returned."""
        self._check_read(output, "returns")

    def _check_read(self, view: NkiTensor, verb: str = "reads") -> None:
        place = (view.row, view.column, view.shape, view.strides)
        lasts = (
            view.allocation.base or view.allocation
        ).address is None  # what was written once stays so
        if lasts and place in view.allocation.sound:
            return
        written = view.written()
        if written.all():
            if lasts:
                view.allocation.sound.add(place)
            return
        allocation = view.allocation.base or view.allocation
        missing = int(written.size - np.count_nonzero(written))
        over = self._lost.get(allocation)
        why = "that were never written" if over is None else f"that {over} has overwritten"
        self.report(
            UNWRITTEN if over is None else OVERLAP,
            f"{verb} {described(view)}, {missing} of {written.size} elements {why}",
            allocation.site if verb == "returns" else None,
            described(view),
        )
        if over is not None and allocation.values is not None:
            assert allocation.written is not None
            allocation.values[~allocation.written] = uninitialised(1, allocation.dtype)

    def _place(self, view: NkiTensor) -> None:
        """Forgets what a write to a tile placed by address overwrites in other such tiles."""
        mine = view.allocation.base or view.allocation
        row, rows, first, size = (int(number) for number in view.rectangle())
        assert mine.address is not None
        row, first = row + mine.address[0], first + mine.address[1]
        for other in [placed for placed in self._placed if placed is not mine]:
            if other.buffer == mine.buffer and _overwrite(other, row, rows, first, size):
                self._lost[other] = described(view)
        self._placed[mine] = None


def _overwrite(tile: Allocation, row: int, rows: int, first: int, size: int) -> bool:
    """Marks what a rectangle of partitions by bytes covers of a tile as not written."""
    assert tile.address is not None
    assert tile.written is not None
    width = DTYPE_BYTES[tile.dtype]
    row, first = row - tile.address[0], first - tile.address[1]
    low, high = max(0, row), min(tile.rows, row + rows)
    left, right = max(0, first // width), min(tile.row_elements, -(-(first + size) // width))
    covered = tile.written.reshape(tile.rows, tile.row_elements)[low:high, left:right]
    if low >= high or left >= right or not covered.any():
        return False
    covered[...] = False
    return True


def described(view: NkiTensor) -> str:
    """Names a tensor for a message: its name, shape, memory and the line that made it."""
    allocation = view.allocation
    name = f"'{allocation.name}' " if allocation.name else ""
    made = f" made at {allocation.site}" if allocation.site else ""
    return f"tensor {name}{list(view.shape)} in {view.buffer!r}{made}"
