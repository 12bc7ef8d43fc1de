"""Traces a kernel: runs it as ordinary Python and records it, one program or two."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import Program
from tuner.nki.errors import NkiValidationError
from tuner.nki.hazards import Hazards
from tuner.nki.record.recorder import Recorder, TooLongError, activated, check_programs
from tuner.nki.record.recording import Recording
from tuner.nki.record.symbolic import NotSymbolicError
from tuner.nki.tensors.tensor import Allocation, Buffer, NkiTensor, Values
from tuner.space import Argument

__all__ = ["Trace", "check_output", "trace"]


@dataclass(frozen=True)
class Trace:
    """One run of a kernel.

    Attributes:
        recordings: What each of its programs asked of its core.
        outputs: (shape, dtype) of each tensor it returned.
        values: The returned tensors' values, where values were given.
        hazards: What gives no sure result on hardware, where values were given.
    """

    recordings: tuple[Recording, ...]
    outputs: tuple[tuple[tuple[int, ...], str], ...]
    values: tuple[Values, ...] | None
    hazards: Hazards

    @property
    def recording(self) -> Recording:
        """What the first program asked of its core."""
        return self.recordings[0]

    @property
    def program(self) -> Program:
        """The same, every instruction written out."""
        return self.programs[0]

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """What each of its programs asked, every instruction written out."""
        return tuple(recording.program() for recording in self.recordings)


def trace(
    kernel: Callable[..., Any],
    arguments: Sequence[Argument],
    params: Mapping[str, Any],
    device: Device,
    values: Mapping[str, Values] | None = None,
    symbolic: bool = True,
    *,
    programs: int = 1,
    hazards: Hazards | None = None,
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
        programs: Cores that run the kernel, each as a program of its own: one after the other,
            so that none reads what a later one writes.
        hazards: Where hazards are collected; a new collection unless given.

    Raises:
        NkiValidationError: The kernel breaks a rule, or returns what is no tensor in shared_hbm.
        HazardError: A hazard, where `hazards` is strict.
        Exception: Whatever the kernel raises itself.
    """
    check_programs(device, programs)
    found = Hazards() if hazards is None else hazards
    launch = _Launch(kernel, arguments, params, device, values, programs, found)
    runs: list[_Run] = []
    for number in range(programs):
        shared = runs[-1].shared if runs else []
        run = launch.whole(number, shared) if symbolic and values is None else None
        runs.append(run or launch.run(number, shared, symbolic=False))
    outputs = runs[0].outputs
    if values is not None:
        for output in outputs:
            found.returned(output)
    return Trace(
        tuple(run.recording for run in runs),
        tuple((output.shape, output.dtype) for output in outputs),
        None if values is None else tuple(output.read() for output in outputs),
        found,
    )


@dataclass(frozen=True)
class _Run:
    """One program of a launch that has run."""

    recording: Recording
    shared: Sequence[Allocation]
    outputs: tuple[NkiTensor, ...]


@dataclass(frozen=True)
class _Launch:
    """What the programs of a launch have in common, as `trace` takes it."""

    kernel: Callable[..., Any]
    arguments: Sequence[Argument]
    params: Mapping[str, Any]
    device: Device
    values: Mapping[str, Values] | None
    programs: int
    hazards: Hazards

    def whole(self, number: int, shared: Sequence[Allocation]) -> _Run | None:
        """Runs a program with loops as wholes; None where that cannot be."""
        before = NotSymbolicError.raised
        try:
            found = self.run(number, shared, symbolic=True)
        except TooLongError:
            raise
        except (NotSymbolicError, Exception):
            return None  # what is wrong with the kernel, if anything, the plain run will say
        return found if NotSymbolicError.raised == before else None

    def run(self, number: int, shared: Sequence[Allocation], symbolic: bool) -> _Run:
        """Runs a program."""
        recorder = Recorder(
            self.device,
            self.values is not None,
            symbolic,
            grid=(number, self.programs),
            hazards=self.hazards,
            shared=shared,
        )
        with activated(recorder):
            inputs = {}
            for argument in self.arguments:
                tensor = recorder.argument(argument.name, argument.shape, argument.dtype)
                if self.values is not None and number == 0:
                    tensor.write(self.values[argument.name])
                inputs[argument.name] = tensor
            returned = self.kernel(**_bound(self.kernel, {**self.params, **inputs}))
        outputs = returned if isinstance(returned, tuple) else (returned,)
        for output in outputs:
            check_output(output)
        return _Run(recorder.finished(), recorder.shared, outputs)


def check_output(output: Any) -> None:
    """Refuses what a kernel may not return.

    Raises:
        NkiValidationError: It is no tensor in shared HBM.
    """
    if not isinstance(output, NkiTensor) or output.buffer != Buffer.shared_hbm:
        raise NkiValidationError(f"a kernel must return tensors in nl.shared_hbm, not {output!r}")


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
