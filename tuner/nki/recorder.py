"""Records what a kernel does while it runs as ordinary Python; one recorder at a time in a
process.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ACCUMULATED, READ, WRITTEN, Program, Site, Space, Work
from tuner.nki.errors import NkiValidationError
from tuner.nki.recording import Recording, Stack
from tuner.nki.symbolic import Index, Loop, NotSymbolicError, Whole
from tuner.nki.tensor import (
    Allocation,
    Buffer,
    NkiTensor,
    Values,
    rounded,
    row_major,
    uninitialised,
)
from tuner.runtime.rules import DTYPE_BYTES
from tuner.space import Argument

__all__ = ["Recorder", "Trace", "active", "each", "passes", "trace"]

MAX_INSTRUCTIONS = 20_000_000


class _TooLongError(NkiValidationError):
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


class Recorder:
    """Collects instructions and tensors; keeps values too when asked.

    Attributes:
        device: The core whose limits hold.
        numeric: Whether tensors carry values; loops then run pass by pass.
        symbolic: Whether the bodies of loops are recorded once for many passes.
        recording: What was collected.
    """

    def __init__(self, device: Device, numeric: bool, symbolic: bool = False) -> None:
        self.device = device
        self.numeric = numeric
        self.symbolic = symbolic and not numeric
        self.recording = Recording()
        self._stack = self._opened(())
        self._running = self._segments = 0
        self._instructions = self._accesses = self._tensors = 0
        self._sites: dict[Site, int] = {}

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
            raise _TooLongError(f"more than {MAX_INSTRUCTIONS} instructions")

    def allocate(
        self,
        shape: Sequence[int],
        dtype: str,
        buffer: Buffer,
        name: str = "",
        place: str | None = None,
    ) -> NkiTensor:
        """Makes a tensor; its site is the line of the kernel that asks for it, if not given."""
        sizes = tuple(int(size) for size in shape)
        strides = row_major(sizes)
        on_chip = buffer.space != Space.HBM
        row_elements = strides[0] if on_chip else sizes[-1]
        rows = sizes[0] if on_chip else strides[0] * sizes[0] // row_elements
        where = Site(name, place or _line(), self._running > 0)
        site = self._sites.get(where)
        if site is None:
            site = self._sites[where] = len(self._sites)
            self.recording.sites.append(where)
        number, stack = self._tensors, self._stack
        self._tensors += 1
        self.recording.tensors.append(
            (stack.number, number, buffer.space, rows, row_elements * DTYPE_BYTES[dtype], site)
        )
        values = written = None
        if self.numeric:
            values = uninitialised(rows * row_elements, dtype)
            written = np.zeros(rows * row_elements, bool)
        allocation = Allocation(
            number, stack.loops, buffer, dtype, rows, row_elements, values, written
        )
        return NkiTensor(allocation, sizes, strides, 0, 0)

    def emit(
        self,
        work: Work,
        writes: Sequence[NkiTensor],
        reads: Sequence[NkiTensor],
        accumulates: bool = False,
    ) -> None:
        """Appends one instruction, for all passes of the loops around it."""
        recording, stack = self.recording, self._stack
        count = len(writes) + len(reads)
        number = recording.works.setdefault(work, len(recording.works))
        line = recording.lines.setdefault(_line(), len(recording.lines))
        recording.instructions.append(
            (stack.number, self._instructions, self._accesses, count, number, line)
        )
        self._instructions += 1
        self._accesses += count
        mode = ACCUMULATED if accumulates else WRITTEN
        for view in writes:
            recording.access(stack, self._tensor(view), mode, view.footprint())
        for view in reads:
            recording.access(stack, self._tensor(view), READ, view.footprint())
        self._check_length()

    def _tensor(self, view: NkiTensor) -> tuple[int, int]:
        """Number and depth of a view's tensor, which must be of this pass."""
        allocation = view.allocation
        loops = allocation.loops
        depth = len(loops)
        if depth and not loops[-1].open:  # a tensor of a pass that is over
            raise NotSymbolicError
        return allocation.number, depth

    def finished(self) -> Recording:
        """Returns what was recorded.

        Raises:
            NotSymbolicError: A loop that is recorded as a whole was left early.
        """
        if self._segments:
            raise NotSymbolicError
        self.recording.total = self._instructions, self._accesses, self._tensors
        return self.recording


def passes(*bounds: Any) -> Iterable[Any]:
    """What a qualifying `for i in range(...)` of a kernel runs over."""
    numbers = range(*bounds)
    return numbers if _active is None else _active.passes(numbers)


def each(items: Iterable[Any]) -> Iterable[Any]:
    """What any other `for` of a kernel runs over."""
    return items if _active is None else _active.each(items)


_OWN = str(Path(__file__).resolve().parent)


def _line() -> str:
    """The line of the kernel that is running: the innermost frame that is not this package's."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith(_OWN) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


@dataclass(frozen=True)
class Trace:
    """One run of a kernel.

    Attributes:
        recording: What it asked of the core.
        outputs: (shape, dtype) of each tensor it returned.
        values: The returned tensors' values, where values were given.
    """

    recording: Recording
    outputs: tuple[tuple[tuple[int, ...], str], ...]
    values: tuple[Values, ...] | None

    @cached_property
    def program(self) -> Program:
        """What it asked of the core, every instruction written out."""
        return self.recording.program()


HBM_INPUT = Buffer("hbm", Space.HBM)


def trace(
    kernel: Callable[..., Any],
    arguments: Sequence[Argument],
    params: Mapping[str, Any],
    device: Device,
    values: Mapping[str, Values] | None = None,
    symbolic: bool = True,
) -> Trace:
    """Runs a kernel and records it.

    Args:
        kernel: The kernel's Python function.
        arguments: Its tensors, by keyword.
        params: Its other keywords.
        device: The core whose limits hold.
        values: For each argument an array of its shape; None records time only.
        symbolic: Record a loop's body once for many passes where that is safe: the same program,
            sooner.

    Raises:
        NkiValidationError: The kernel breaks a rule, or returns what is no tensor in shared_hbm.
        Exception: Whatever the kernel raises itself.
    """
    if symbolic and values is None:
        before = NotSymbolicError.raised
        try:
            found = _traced(kernel, arguments, params, None, Recorder(device, False, symbolic=True))
            if NotSymbolicError.raised == before:
                return found
        except _TooLongError:
            raise
        except (NotSymbolicError, Exception):
            pass  # what is wrong with the kernel, if anything, the plain run will say
    return _traced(kernel, arguments, params, values, Recorder(device, values is not None))


def _traced(
    kernel: Callable[..., Any],
    arguments: Sequence[Argument],
    params: Mapping[str, Any],
    values: Mapping[str, Values] | None,
    recorder: Recorder,
) -> Trace:
    with _recording(recorder):
        inputs = {}
        for argument in arguments:
            tensor = recorder.allocate(
                argument.shape, argument.dtype, HBM_INPUT, argument.name, place="argument"
            )
            if values is not None:
                tensor.write(rounded(values[argument.name], argument.dtype))
            inputs[argument.name] = tensor
        returned = kernel(**_bound(kernel, {**params, **inputs}))
    outputs = returned if isinstance(returned, tuple) else (returned,)
    for output in outputs:
        if not isinstance(output, NkiTensor) or output.buffer.name != "shared_hbm":
            raise NkiValidationError(
                f"a kernel must return tensors in nl.shared_hbm, not {output!r}"
            )
    return Trace(
        recorder.finished(),
        tuple((output.shape, output.dtype) for output in outputs),
        None if values is None else tuple(output.read() for output in outputs),
    )


def _bound(kernel: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Checks that a kernel takes these keywords and needs no others."""
    try:
        _signature(kernel).bind(**keywords)
    except TypeError as error:
        raise NkiValidationError(f"the kernel cannot be called so: {error}") from None
    return keywords


@lru_cache(maxsize=64)
def _signature(kernel: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(kernel)


@contextmanager
def _recording(recorder: Recorder) -> Iterator[Recorder]:
    global _active
    if _active is not None:
        raise NkiValidationError("a kernel is being traced already")
    _active = recorder
    try:
        yield recorder
    finally:
        _active = None
