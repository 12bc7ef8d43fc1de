"""Records what a kernel does while it runs as ordinary Python; one recorder at a time in a
process.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import (
    MAX_OPERANDS,
    MatmulWork,
    Program,
    Space,
    TensorInfo,
    Work,
)
from tuner.nki.errors import NkiValidationError
from tuner.nki.tensor import Allocation, Buffer, NkiTensor, Values, rounded, row_major
from tuner.runtime.rules import DTYPE_BYTES
from tuner.space import Argument

__all__ = ["Recorder", "Trace", "active", "trace"]

MAX_INSTRUCTIONS = 20_000_000

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
        numeric: Whether tensors carry values.
    """

    def __init__(self, device: Device, numeric: bool) -> None:
        self.device = device
        self.numeric = numeric
        self.activation: str | None = None
        self._tensors: list[TensorInfo] = []
        self._works: dict[Work, int] = {}
        self._work_of: list[int] = []
        self._ranges: dict[tuple[int, int, int], int] = {}
        self._operands: list[tuple[int, ...]] = []
        self._hbm_read_bytes = 0
        self._hbm_written_bytes = 0

    def allocate(
        self, shape: Sequence[int], dtype: str, buffer: Buffer, name: str, depth: int = 2
    ) -> NkiTensor:
        """Makes a tensor; `depth` frames up is the line of the kernel that asked for it."""
        sizes = tuple(int(size) for size in shape)
        strides = row_major(sizes)
        elements = strides[0] * sizes[0]
        on_chip = buffer.space != Space.HBM
        row_elements = strides[0] if on_chip else elements
        frame = sys._getframe(depth)
        site = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        self._tensors.append(
            TensorInfo(buffer.space, row_elements * DTYPE_BYTES[dtype], name, site)
        )
        values = np.full(elements, np.nan, np.float32) if self.numeric else None
        psum = self.numeric and buffer.space == Space.PSUM
        written = np.zeros(elements, bool) if psum else None
        allocation = Allocation(
            len(self._tensors) - 1, buffer, dtype, row_elements, values, written
        )
        return NkiTensor(allocation, sizes, strides, 0)

    def emit(self, work: Work, dst: NkiTensor, *sources: NkiTensor) -> None:
        """Appends one instruction."""
        works = self._works
        self._work_of.append(works.setdefault(work, len(works)))
        if len(self._work_of) > MAX_INSTRUCTIONS:
            raise NkiValidationError(f"more than {MAX_INSTRUCTIONS} instructions")
        self._operands.append((self._range(dst), *[self._range(source) for source in sources]))

    def count_dma(self, dst: NkiTensor, src: NkiTensor) -> None:
        """Adds a transfer to the traffic of HBM."""
        if src.space == Space.HBM:
            self._hbm_read_bytes += src.size * src.itemsize
        if dst.space == Space.HBM:
            self._hbm_written_bytes += dst.size * dst.itemsize

    def _range(self, view: NkiTensor) -> int:
        allocation = view.allocation
        if allocation.buffer.space == Space.HBM:
            first, extent, start = view.offset, 1, 0
        else:
            first, extent, start = view.offset % allocation.row_elements, 1, 1
        for size, stride in zip(view.shape[start:], view.strides[start:], strict=True):
            extent += (size - 1) * stride
        itemsize = view.itemsize
        key = (allocation.number, first * itemsize, (first + extent) * itemsize)
        return self._ranges.setdefault(key, len(self._ranges))

    def program(self) -> Program:
        """Returns what was recorded."""
        operands = np.full((len(self._operands), MAX_OPERANDS), -1, np.int32)
        for count in {len(row) for row in self._operands}:
            rows = [i for i, row in enumerate(self._operands) if len(row) == count]
            operands[rows, :count] = [self._operands[i] for i in rows]
        works = tuple(self._works)
        work_of = np.array(self._work_of, np.int32)
        per_work = [
            2 * w.contraction * w.stationary_free * w.moving_free
            if isinstance(w, MatmulWork)
            else 0
            for w in works
        ]
        return Program(
            works=works,
            work_of=work_of,
            tensors=tuple(self._tensors),
            ranges=np.array(list(self._ranges), np.int64).reshape(-1, 3),
            operands=operands,
            flops=int(np.array(per_work, np.int64)[work_of].sum()) if len(work_of) else 0,
            hbm_read_bytes=self._hbm_read_bytes,
            hbm_written_bytes=self._hbm_written_bytes,
        )


@dataclass(frozen=True)
class Trace:
    """One run of a kernel.

    Attributes:
        program: What it asked of the core.
        outputs: (shape, dtype) of each tensor it returned.
        values: The returned tensors' values, where values were given.
    """

    program: Program
    outputs: tuple[tuple[tuple[int, ...], str], ...]
    values: tuple[Values, ...] | None


HBM_INPUT = Buffer("hbm", Space.HBM)


def trace(
    kernel: Callable[..., Any],
    arguments: Sequence[Argument],
    params: Mapping[str, Any],
    device: Device,
    values: Mapping[str, Values] | None = None,
) -> Trace:
    """Runs a kernel and records it.

    Args:
        kernel: The kernel's Python function.
        arguments: Its tensors, by keyword.
        params: Its other keywords.
        device: The core whose limits hold.
        values: For each argument an array of its shape; None records time only.

    Raises:
        NkiValidationError: The kernel breaks a rule, or returns what is no tensor in shared_hbm.
        Exception: Whatever the kernel raises itself.
    """
    with _recording(Recorder(device, values is not None)) as recorder:
        inputs = {}
        for argument in arguments:
            tensor = recorder.allocate(argument.shape, argument.dtype, HBM_INPUT, argument.name)
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
        recorder.program(),
        tuple((output.shape, output.dtype) for output in outputs),
        None if values is None else tuple(output.read() for output in outputs),
    )


def _bound(kernel: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Checks that a kernel takes these keywords and needs no others."""
    try:
        inspect.signature(kernel).bind(**keywords)
    except TypeError as error:
        raise NkiValidationError(f"the kernel cannot be called so: {error}") from None
    return keywords


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
