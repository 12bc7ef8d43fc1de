"""The simulator backend: times and checks kernels without hardware and without the Neuron
packages.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tuner.backends.base import Candidate, Capabilities, Mismatch, Problem
from tuner.kernel import LoadedKernel, load_kernel
from tuner.neuroncore import ON_OVERFLOW, Device, Policy, constants, device, policy
from tuner.neuroncore.bound import lower_bound_us
from tuner.neuroncore.building import Built, build
from tuner.neuroncore.simulation import MODEL_VERSION, predict
from tuner.nki import isa, language
from tuner.nki.recorder import Trace, trace
from tuner.nki.tensor import NkiTensor, Values, rounded
from tuner.runtime.errors import TunerError, unknown
from tuner.space import Argument

__all__ = ["SimulatorBackend", "compare"]

BATCH = 4


@dataclass(frozen=True)
class Compiled:
    """What the simulator times: the program as the compiler passes it on, and its memory.

    Attributes:
        hopeless_us: A lower bound of its time where that is above the candidate's limit; it is then
            neither written out nor timed.
    """

    traced: Trace
    built: Built | None
    hopeless_us: float | None = None


class SimulatorBackend:
    """Runs kernels against the simulated NKI and predicts their time on one NeuronCore.

    Options: `policy`, the compiler policy (default "nki"); `cores_busy`, cores that share the HBM
    bandwidth (default 1); `on_overflow`, instead of the policy's own.

    Raises:
        TunerError: An unknown device, policy or choice.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._device = device(problem.device)
        rules = policy(str(problem.options.get("policy", "nki")))
        on_overflow = problem.options.get("on_overflow") or rules.on_overflow
        if on_overflow not in ON_OVERFLOW:
            raise unknown("choice of on_overflow", str(on_overflow), ON_OVERFLOW)
        self._policy = dataclasses.replace(rules, on_overflow=str(on_overflow))
        self._cores_busy = int(problem.options.get("cores_busy") or 1)
        if not 1 <= self._cores_busy <= self._device.hbm.cores:
            raise TunerError(
                f"cores_busy={self._cores_busy}: expected 1 to {self._device.hbm.cores} "
                f"({self._device.name})"
            )

    @cached_property
    def _kernel(self) -> LoadedKernel:
        return load_kernel(self._problem.kernel)

    def prepare(self) -> None:
        """Loads the kernel's file, raises whatever the file raises; compiles the simulator."""
        self._kernel.attribute(self._problem.kernel.entry)
        with self._kernel.lent():
            _compile_simulator(self._device, self._policy)

    def compile(self, candidate: Candidate) -> Compiled:
        """Records the kernel and gives its tensors their memory, unless it is hopeless."""
        with self._kernel.lent():
            traced = trace(
                self._kernel.function, self._problem.arguments, candidate.config, self._device
            )
        if candidate.limit_us is not None:
            works = traced.recording.work_counts()
            bound_us = lower_bound_us(
                list(works), list(works.values()), self._device, self._policy, self._cores_busy
            )
            if bound_us > candidate.limit_us:
                return Compiled(traced, None, bound_us)
        return Compiled(traced, build(traced.program, self._device, self._policy))

    def measure(self, artifact: Compiled) -> tuple[float | None, dict[str, Any]]:
        """Predicts latency and the use of engines and memory."""
        if artifact.built is None:
            return None, {"bound_us": artifact.hopeless_us}
        built = artifact.built
        program, memory = built.program, built.memory
        prediction = predict(program, memory, self._device, self._policy, self._cores_busy)
        bank = self._device.psum.bank_bytes_per_partition
        return prediction.latency_us, {
            "launch_us": prediction.launch_us,
            "error_percent": prediction.error_percent,
            "busy_us": prediction.busy_us,
            "instructions": len(program),
            "flops": program.flops,
            "hbm_read_bytes": program.hbm_read_bytes,
            "hbm_written_bytes": program.hbm_written_bytes,
            "spill_saved_bytes": built.spill_saved_bytes,
            "spill_reloaded_bytes": built.spill_reloaded_bytes,
            "reread_bytes": built.reread_bytes,
            "sbuf_peak_bytes_per_partition": memory.sbuf_peak_bytes,
            "psum_peak_banks": memory.psum_peak_bytes // bank,
            "output_bytes": sum(
                Argument("", shape, dtype).bytes for shape, dtype in artifact.traced.outputs
            ),
        }

    def verify(self, candidate: Candidate) -> Mismatch | None:
        """Runs the kernel on random numbers and compares it with its numpy reference."""
        if self._problem.reference is None:
            raise TunerError("there is no reference to check against")
        arguments = candidate.verify_with or self._problem.arguments
        values = random_values(arguments)
        reference = self._kernel.attribute(self._problem.reference)
        with self._kernel.lent():
            traced = trace(self._kernel.function, arguments, candidate.config, self._device, values)
        assert traced.values is not None
        dtypes = [dtype for _, dtype in traced.outputs]
        return compare(reference, [values[a.name] for a in arguments], traced.values, dtypes)

    def fingerprint(self) -> dict[str, Any]:
        """Names the model, the compiler policy, the device's constants and the kernel's source."""
        listed = [(c.name, c.value) for c in constants(self._problem.device)]
        return {
            "backend": "simulator",
            "model_version": MODEL_VERSION,
            "policy": self._policy.name,
            "policy_hash": _hash(dataclasses.astuple(self._policy)),
            "cores_busy": self._cores_busy,
            "device": self._problem.device,
            "device_hash": _hash(listed),
            "kernel_hash": self._problem.kernel.kernel_hash,
        }

    def capabilities(self) -> Capabilities:
        """Simulated times; several short candidates at a time."""
        return Capabilities("simulated", BATCH)


def _compile_simulator(core: Device, chosen: Policy) -> None:
    """Simulates one instruction: else compiling would count as time of the first candidate."""

    def copy(x: NkiTensor) -> NkiTensor:
        out = language.ndarray(x.shape, x.dtype, language.shared_hbm)
        isa.dma_copy(out, x)
        return out

    traced = trace(copy, (Argument("x", (1,), "float32"),), {}, core)
    built = build(traced.program, core, chosen)
    predict(built.program, built.memory, core, chosen)


def _hash(facts: Any) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def random_values(arguments: Sequence[Argument], seed: int = 0) -> dict[str, Values]:
    """Returns standard normal numbers for each argument, rounded to its dtype; the same every
    time.
    """
    generator = np.random.default_rng(seed)
    return {
        argument.name: rounded(
            generator.standard_normal(argument.shape, dtype=np.float32), argument.dtype
        )
        for argument in arguments
    }


def compare(
    reference: Callable[..., Any],
    inputs: Sequence[Values],
    outputs: Sequence[Values],
    dtypes: Sequence[str],
) -> Mismatch | None:
    """Compares outputs with what the reference makes of the inputs; None means all are within
    tolerance.

    The error of an element is its difference relative to its own size plus the root mean square of
    the output; the tolerance is a few roundings of the output's dtype and of float32 sums.
    """
    returned = reference(*inputs)
    expected = returned if isinstance(returned, tuple) else (returned,)
    if len(expected) != len(outputs):
        at = f"{len(outputs)} outputs, expected {len(expected)}"
        return Mismatch(math.inf, 0.0, at)
    worst: Mismatch | None = None
    for index, (want, got, dtype) in enumerate(zip(expected, outputs, dtypes, strict=True)):
        right = np.asarray(want, np.float64)
        tolerance = _tolerance(dtype)
        if right.shape != got.shape:
            at = f"output {index} has shape {got.shape}, expected {right.shape}"
            return Mismatch(math.inf, tolerance, at)
        error = _relative_error(got, right)
        place = np.unravel_index(int(np.argmax(error)), error.shape)
        if error[place] > tolerance and (worst is None or error[place] > worst.error):
            name = f"output {index}[{', '.join(str(int(i)) for i in place)}]"
            at = f"{name} is {got[place]:.6g}, expected {right[place]:.6g}"
            worst = Mismatch(float(error[place]), tolerance, at)
    return worst


def _relative_error(
    got: npt.NDArray[Any], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    scale = np.abs(right) + np.sqrt(np.mean(np.square(right)))
    error = np.abs(got - right) / np.where(scale > 0, scale, 1)
    return np.where(np.isnan(error), np.inf, error)


def _tolerance(dtype: str) -> float:
    if not dtype.startswith(("float", "bfloat")):
        return 0.0
    return float(4 * ml_dtypes.finfo(dtype).eps + 64 * np.finfo(np.float32).eps)
