"""Records what a kernel does while it runs as ordinary Python; one recorder at a time in a
process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ACCUMULATED, READ, WRITTEN, Site, Space, Work
from tuner.nki.errors import NkiValidationError
from tuner.nki.hazards import Hazards
from tuner.nki.record.recording import Recording, Stack
from tuner.nki.record.sites import kernel_line
from tuner.nki.record.symbolic import Index, Loop, NotSymbolicError, Whole
from tuner.nki.tensors.tensor import (
    Allocation,
    Buffer,
    NkiTensor,
    row_major,
    uninitialised,
)
from tuner.runtime.rules import DTYPE_BYTES

__all__ = [
    "Recorder",
    "TooLongError",
    "activated",
    "active",
    "check_programs",
    "each",
    "passes",
]

MAX_INSTRUCTIONS = 20_000_000
MAX_WRITTEN = 1_000_000
"""Instructions that are written down one by one: a kernel that never ends is stopped in time."""
MAX_PROGRAMS = 2
"""Cores of a logical core, each of which runs a program of its own."""
_SINGLE = {"trn1"}  # devices whose logical cores are one core
_ARGUMENT = "argument"


class TooLongError(NkiValidationError):
    """A kernel of more instructions than anybody waits for, least of all pass by pass."""


_active: Recorder | None = None


def active() -> Recorder:
    """Returns the recorder of the kernel that is running.

    Raises:
        NkiValidationError: No kernel is being traced.
    """
    if _active is None:
        raise NkiValidationError("NKI functions work only inside a kernel that is being traced")
    return _active


@contextmanager
def activated(recorder: Recorder) -> Iterator[Recorder]:
    """While it lasts, what a kernel does goes to this recorder.

    Raises:
        NkiValidationError: Another one is active.
    """
    global _active
    if _active is not None:
        raise NkiValidationError("a kernel is being traced already")
    _active = recorder
    try:
        yield recorder
    finally:
        _active = None


def check_programs(device: Device, programs: int) -> None:
    """Refuses a number of programs that a logical core of the device does not run.

    Raises:
        NkiValidationError: It is neither 1 nor 2, or 2 where a logical core is one core.
    """
    if programs not in range(1, MAX_PROGRAMS + 1):
        raise NkiValidationError(f"kernel[{programs!r}]: a logical core has 1 or 2 cores")
    if programs > 1 and device.name in _SINGLE:
        raise NkiValidationError(f"kernel[{programs}]: {device.name} has one core a logical core")


class Recorder:
    """Collects instructions and tensors of one program; keeps values too when asked.

    Attributes:
        device: The core whose limits hold.
        numeric: Whether tensors carry values; loops then run pass by pass.
        symbolic: Whether the bodies of loops are recorded once for many passes.
        grid: This program's index and the number of programs of the launch.
        hazards: What gives no sure result on hardware; found where values are kept.
        shared: The arguments, and what was made in shared HBM: the n-th is the same tensor in
            every program.
        recording: What was collected.
    """

    def __init__(
        self,
        device: Device,
        numeric: bool,
        symbolic: bool = False,
        *,
        grid: tuple[int, int] = (0, 1),
        hazards: Hazards | None = None,
        shared: Sequence[Allocation] = (),
    ) -> None:
        """Begins a program; `hazards` and `shared` are those of the program before."""
        self.device = device
        self.numeric = numeric
        self.symbolic = symbolic and not numeric
        self.grid = grid
        self.hazards = Hazards() if hazards is None else hazards
        self.hazards.begin()
        self.shared: list[Allocation] = []
        self.recording = Recording()
        self._before = shared
        self._stack = self._opened(())
        self._running = self._segments = 0
        self._instructions = self._accesses = self._tensors = 0
        self._sites: dict[Site, int] = {}
        self._placed: dict[Space, _Placed] = {}

    def passes(self, numbers: range) -> Iterator[Whole]:
        """Runs a loop's body once for many passes, in as many segments as its questions need."""
        self._running += 1
        try:
            if not self.symbolic:
                yield from numbers
                return
            done = 0
            while len(numbers) - done > 1:
                loop = Loop(len(numbers) - done, len(self._stack.loops))
                around = self._stack
                self._stack = self._opened((*around.loops, loop))
                before = self._instructions, self._accesses, self._tensors
                self._segments += 1
                yield Index(numbers[done], {loop: numbers.step})
                self._segments -= 1  # not where the body was left early
                loop.open = False
                self._close(loop, before)
                self._stack = around
                done += loop.count
            yield from numbers[done:]
        finally:
            self._running -= 1

    def each(self, items: Iterable[Any]) -> Iterator[Any]:
        """Runs a loop pass by pass."""
        self._running += 1
        try:
            yield from items
        finally:
            self._running -= 1

    def _opened(self, loops: tuple[Loop, ...]) -> Stack:
        stack = Stack(loops, len(self.recording.stacks))
        self.recording.stacks.append(stack)
        return stack

    def _close(self, loop: Loop, before: tuple[int, int, int]) -> None:
        """Counts what one pass made, and makes room for the other passes."""
        loop.instructions = self._instructions - before[0]
        loop.accesses = self._accesses - before[1]
        loop.tensors = self._tensors - before[2]
        self._instructions += loop.instructions * (loop.count - 1)
        self._accesses += loop.accesses * (loop.count - 1)
        self._tensors += loop.tensors * (loop.count - 1)
        self._check_length()

    def _check_length(self) -> None:
        if self._instructions > MAX_INSTRUCTIONS:
            raise TooLongError(f"more than {MAX_INSTRUCTIONS} instructions")
        if len(self.recording.instructions) > MAX_WRITTEN:
            raise TooLongError(f"more than {MAX_WRITTEN} instructions outside simple loops")

    def allocate(
        self,
        shape: Sequence[int],
        dtype: str,
        buffer: Buffer,
        name: str = "",
        address: tuple[int, int] | None = None,
    ) -> NkiTensor:
        """Makes a tensor; its site is the line of the kernel that asks for it.

        Args:
            shape: Sizes; on chip the first is the partition.
            dtype: Name of the dtype.
            buffer: Where it lives.
            name: Shown in messages.
            address: (partition, byte of a partition) where it lies on chip; None leaves the place
                to the compiler.
        """
        line = kernel_line()
        tensor = self._made(shape, dtype, buffer, name, line, address)
        tensor.allocation.site = line
        if buffer.name == "shared_hbm":
            if self._stack.loops and self.grid[1] > 1:  # they are told apart one by one
                raise NotSymbolicError
            self._share(tensor.allocation)
        return tensor

    def argument(self, name: str, shape: Sequence[int], dtype: str) -> NkiTensor:
        """Makes the tensor of an argument, in HBM: the same one in every program."""
        tensor = self._made(shape, dtype, Buffer.private_hbm, name, _ARGUMENT, None)
        self._share(tensor.allocation)
        return tensor

    def _made(
        self,
        shape: Sequence[int],
        dtype: str,
        buffer: Buffer,
        name: str,
        place: str,
        address: tuple[int, int] | None,
    ) -> NkiTensor:
        sizes = tuple(int(size) for size in shape)
        strides = row_major(sizes)
        on_chip = buffer.space != Space.HBM
        row_elements = strides[0] if on_chip else sizes[-1]
        rows = sizes[0] if on_chip else strides[0] * sizes[0] // row_elements
        row_bytes = row_elements * DTYPE_BYTES[dtype]
        if address is None:
            number, stack = self._tensors, self._stack
            self._tensors += 1
            site = self._site(Site(name, place, self._running > 0))
            self.recording.tensors.append(
                (stack.number, number, buffer.space, rows, row_bytes, site)
            )
        else:
            number = ~buffer.space
            placed = self._placed.setdefault(buffer.space, _Placed(place))
            placed.cover(address[0] + rows, address[1] + row_bytes, place)
        values = written = None
        if self.numeric:
            values = uninitialised(rows * row_elements, dtype)
            written = np.zeros(rows * row_elements, bool)
        allocation = Allocation(
            number, self._stack.loops, buffer, dtype, rows, row_elements, values, written, name
        )
        allocation.address = address
        return NkiTensor(allocation, sizes, strides, 0, 0)

    def _site(self, where: Site) -> int:
        number = self._sites.get(where)
        if number is None:
            number = self._sites[where] = len(self._sites)
            self.recording.sites.append(where)
        return number

    def _share(self, mine: Allocation) -> None:
        """Gives a tensor the elements of the program before's."""
        number = len(self.shared)
        self.shared.append(mine)
        if number >= len(self._before):
            return
        other = self._before[number]
        form = mine.dtype, mine.rows, mine.row_elements
        if form != (other.dtype, other.rows, other.row_elements):
            raise NkiValidationError(
                f"a tensor in nl.shared_hbm differs between programs: {mine.rows} rows of "
                f"{mine.row_elements} {mine.dtype}, and {other.rows} rows of "
                f"{other.row_elements} {other.dtype}"
            )
        mine.values, mine.written = other.values, other.written

    def emit(
        self,
        work: Work,
        writes: Sequence[NkiTensor],
        reads: Sequence[NkiTensor],
        accumulates: bool = False,
    ) -> None:
        """Appends one instruction, for all passes of the loops around it; its values are computed
        afterwards.

        Raises:
            HazardError: A hazard, where hazards are errors.
        """
        recording, stack = self.recording, self._stack
        count = len(writes) + len(reads)
        number = recording.works.setdefault(work, len(recording.works))
        line = recording.lines.setdefault(kernel_line(), len(recording.lines))
        recording.instructions.append(
            (stack.number, self._instructions, self._accesses, count, number, line)
        )
        self._instructions += 1
        self._accesses += count
        mode = ACCUMULATED if accumulates else WRITTEN
        for view in writes:
            self._access(view, mode)
        for view in reads:
            self._access(view, READ)
        if self.numeric:
            self.hazards.before(writes, reads)
        self._check_length()

    def _access(self, view: NkiTensor, mode: int) -> None:
        """Writes an access down; its tensor must be of this pass."""
        allocation = view.allocation
        loops, where = allocation.loops, view.footprint()
        depth = len(loops)
        if depth and not loops[-1].open:  # a tensor of a pass that is over
            raise NotSymbolicError
        if allocation.address is not None:  # all of them are one tensor, which is made once
            depth = 0
            row, rows, byte, size = view.rectangle()
            where = row + allocation.address[0], rows, byte + allocation.address[1], size, 1
        self.recording.access(self._stack, (allocation.number, depth), mode, where)

    def finished(self) -> Recording:
        """Returns what was recorded.

        Raises:
            NotSymbolicError: A loop that is recorded as a whole was left early.
        """
        if self._segments:
            raise NotSymbolicError
        recording = self.recording
        numbers = {}
        for space, placed in self._placed.items():
            site = self._site(Site("placed tensors", placed.place, False))
            numbers[~space] = self._tensors
            recording.tensors.append((0, self._tensors, space, placed.rows, placed.row_bytes, site))
            self._tensors += 1
        if numbers:
            recording.accesses = [(numbers.get(a[0], a[0]), *a[1:]) for a in recording.accesses]
        recording.total = self._instructions, self._accesses, self._tensors
        return recording


@dataclass
class _Placed:
    """The tensors of a space that the kernel placed by address: one tensor to whoever times it.

    Attributes:
        place: The line that placed the one which reaches farthest.
        rows: Partitions, from 0 to the last that one of them has.
        row_bytes: Bytes per partition, from 0 to the last that one of them has.
    """

    place: str
    rows: int = 0
    row_bytes: int = 0

    def cover(self, rows: int, row_bytes: int, place: str) -> None:
        """Makes room for another one, which ends there."""
        self.rows = max(self.rows, rows)
        if row_bytes > self.row_bytes:
            self.row_bytes, self.place = row_bytes, place


def passes(*bounds: Any) -> Iterable[Any]:
    """What a qualifying `for i in range(...)` of a kernel runs over."""
    numbers = range(*bounds)
    return numbers if _active is None else _active.passes(numbers)


def each(items: Iterable[Any]) -> Iterable[Any]:
    """What any other `for` of a kernel runs over."""
    return items if _active is None else _active.each(items)
