"""Kernels as users launch them: `nki.jit`, `kernel[lnc]` and `nki.simulate`."""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore import device as named_device
from tuner.neuroncore.program import READ
from tuner.nki.errors import HazardWarning, NkiValidationError
from tuner.nki.hazards import Hazards
from tuner.nki.lending import lent
from tuner.nki.record.recorder import Recorder, activated, active, check_programs
from tuner.nki.record.recording import Recording
from tuner.nki.record.tracing import check_output
from tuner.nki.tensors.storage import NATIVE, Allocation
from tuner.nki.tensors.tensor import NkiTensor

__all__ = ["Kernel", "Simulation", "jit", "simulate"]

_TARGETS = {
    **dict.fromkeys(("trn1", "inf2", "gen2"), "trn1"),
    **dict.fromkeys(("trn2", "gen3"), "trn2"),
    **dict.fromkeys(("trn3", "gen4"), "trn3"),
}
_TARGET = "NEURON_PLATFORM_TARGET_OVERRIDE"


class Kernel:
    """A function marked by `nki.jit`.

    Called inside a kernel it is that function, called with arrays it is simulated.

    Attributes:
        function: The Python function.
        lnc: How many programs run it, each on its own core.
        schedule: Pairs of names: an instruction, and one or more that it comes after.
    """

    __name__: str

    def __init__(
        self, function: Callable[..., Any], lnc: int = 1, schedule: Sequence[Any] = ()
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.lnc = lnc
        self.schedule = tuple(schedule)

    def __getitem__(self, lnc: int) -> Kernel:
        """Returns the kernel for that many cores.

        Raises:
            NkiValidationError: It is neither 1 nor 2.
        """
        if lnc not in (1, 2):
            raise NkiValidationError(f"kernel[{lnc!r}]: a logical core has 1 or 2 cores")
        return Kernel(self.function, int(lnc), self.schedule)

    def with_schedule(self, schedule: Sequence[Any]) -> Kernel:
        """Returns the kernel with more dependences between named instructions: neither values nor
        simulated time change by them, program order is kept anyway.
        """
        return Kernel(self.function, self.lnc, schedule)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function inside a kernel; elsewhere simulates it."""
        try:
            active()
        except NkiValidationError:
            return simulate(self)(*args, **kwargs)
        return self.function(*args, **kwargs)


def jit(fn: Callable[..., Any] | None = None, **kwargs: Any) -> Any:
    """Marks a kernel; what else it is given is the compiler's."""
    return Kernel if fn is None else Kernel(fn)


class Simulation:
    """A kernel that takes arrays and returns arrays.

    Attributes:
        hazards: What the last call did that gives no sure result on hardware.
        recordings: What each of its programs asked of its core.
    """

    def __init__(self, kernel: Kernel, strict: bool, device: str | None) -> None:
        self.kernel = kernel
        self.strict = strict
        self.device = device
        self.hazards = Hazards(strict)
        self.recordings: tuple[Recording, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the kernel.

        Arrays become HBM tensors, other arguments are passed on. Arrays whose tensors the kernel
        writes to are changed.

        Raises:
            NkiValidationError: The kernel breaks a rule, or returns what is no tensor in
                shared_hbm; a dtype that NKI lacks.
            HazardError: A hazard, in strict mode.
        """
        core = named_device(self.device or target())
        check_programs(core, self.kernel.lnc)
        self.hazards = Hazards(self.strict)
        bound = inspect.signature(self.kernel.function).bind(*args, **kwargs)
        shared: list[Allocation] = []
        runs = []
        with lent():
            for number in range(self.kernel.lnc):
                grid = number, self.kernel.lnc
                program = Recorder(core, True, grid=grid, hazards=self.hazards, shared=shared)
                with activated(program):
                    inputs, returned = _run(self.kernel.function, bound, program)
                shared = program.shared
                runs.append((program.finished(), inputs, returned))
        self.recordings = tuple(recording for recording, _, _ in runs)
        _, inputs, returned = runs[0]
        outputs = _arrays(returned, self.hazards)
        changed = {
            tensor for r in self.recordings for tensor, _, mode, *_ in r.accesses if mode != READ
        }
        for array, tensor in inputs:
            if tensor.allocation.number in changed:
                array[...] = _native(tensor)
        for hazard, times in self.hazards.counts.items():
            warnings.warn(f"{hazard} ({times} times)", HazardWarning, stacklevel=2)
        return outputs


def _run(
    function: Callable[..., Any], bound: inspect.BoundArguments, program: Recorder
) -> tuple[list[tuple[npt.NDArray[Any], NkiTensor]], Any]:
    """Returns the arrays with their tensors, and what the kernel returned."""
    inputs = []

    def tensor(name: str, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        inputs.append((value, _input(program, name, value)))
        return inputs[-1][1]

    given = inspect.BoundArguments(bound.signature, type(bound.arguments)(bound.arguments))
    for name, value in bound.arguments.items():
        given.arguments[name] = tensor(name, value)
    return inputs, function(*given.args, **given.kwargs)


def _input(program: Recorder, name: str, array: npt.NDArray[Any]) -> NkiTensor:
    dtype = next((name for name, kind in NATIVE.items() if kind == array.dtype), None)
    if dtype is None or not array.size:
        raise NkiValidationError(
            f"argument {name!r}: no NKI tensor is {array.dtype} {list(array.shape)}"
        )
    tensor = program.argument(name, array.shape or (1,), dtype)
    if program.grid[0] == 0:
        tensor.write(array.reshape(tensor.shape))
    return tensor


def _arrays(returned: Any, hazards: Hazards) -> Any:
    """What a kernel returned, with arrays in the place of tensors."""
    if isinstance(returned, tuple | list):
        return type(returned)(_arrays(item, hazards) for item in returned)
    check_output(returned)
    hazards.returned(returned)
    return _native(returned)


def _native(tensor: NkiTensor) -> npt.NDArray[Any]:
    return tensor.read().astype(NATIVE[tensor.dtype])


def target() -> str:
    """Returns the device that the environment names, trn2 unless it does.

    Raises:
        NkiValidationError: It names none.
    """
    name = os.environ.get(_TARGET) or "trn2"
    if name not in _TARGETS:
        raise NkiValidationError(f"{_TARGET}={name}: expected one of {', '.join(_TARGETS)}")
    return _TARGETS[name]


def simulate(
    kernel: Callable[..., Any], *, strict: bool = False, device: str | None = None
) -> Simulation:
    """Returns a function of arrays that runs a kernel as the hardware would, to the values.

    Args:
        kernel: A kernel, `kernel[lnc]` or a plain function.
        strict: Raise at the first hazard; else they are warnings.
        device: trn1, trn2 or trn3; what NEURON_PLATFORM_TARGET_OVERRIDE names unless given.
    """
    return Simulation(kernel if isinstance(kernel, Kernel) else Kernel(kernel), strict, device)
