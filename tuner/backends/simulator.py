"""The simulator backend: times and checks kernels without hardware and without the Neuron
packages.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from tuner.backends.base import Candidate, Capabilities, Mismatch, Problem
from tuner.backends.checking import called, compare, random_values
from tuner.kernel import LoadedKernel, load_kernel
from tuner.neuroncore import ON_OVERFLOW, Device, Policy, device, policy
from tuner.neuroncore.bound import lower_bound_us
from tuner.neuroncore.compiler.building import Built, build
from tuner.neuroncore.heap import keep_freed_memory
from tuner.neuroncore.simulation import Prediction, predict
from tuner.nki import NkiValidationError, isa, language
from tuner.nki.hashing import model_hash
from tuner.nki.hazards import Hazards
from tuner.nki.record.recorder import check_programs
from tuner.nki.record.recording import Recording
from tuner.nki.record.tracing import Trace, trace
from tuner.nki.tensors.tensor import NkiTensor
from tuner.runtime.errors import TunerError, unknown
from tuner.space import Argument

__all__ = ["SimulatorBackend", "warm"]

BATCH = 4


@dataclass(frozen=True)
class Compiled:
    """What the simulator times: programs as the compiler passes them on, and their memory.

    Attributes:
        built: The program that is timed; of several, the slowest.
        others: The other programs of the launch.
        hopeless_us: A lower bound of its time where that is above the candidate's limit; it is then
            neither written out nor timed.
    """

    traced: Trace
    built: Built | None
    hopeless_us: float | None = None
    others: tuple[Built, ...] = ()


class SimulatorBackend:
    """Runs kernels against the simulated NKI and predicts their time on one NeuronCore.

    Options: `policy`, the compiler policy (default "nki"); `cores_busy`, cores that share the HBM
    bandwidth (default 1); `on_overflow`, instead of the policy's own; `programs`, the cores that
    run the kernel together (default: as the kernel is marked, else 1), all of them busy. The
    programs of a launch are timed apart: the launch takes as long as the slowest.

    Attributes:
        hazards: What the last check found that gives no sure result on hardware.

    Raises:
        TunerError: An unknown device, policy or choice.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._device = problem.core
        rules = policy(str(problem.options.get("policy", "nki")))
        on_overflow = problem.options.get("on_overflow") or rules.on_overflow
        if on_overflow not in ON_OVERFLOW:
            raise unknown("choice of on_overflow", str(on_overflow), ON_OVERFLOW)
        self._policy = dataclasses.replace(rules, on_overflow=str(on_overflow))
        self._cores_asked = int(problem.options.get("cores_busy", 1))
        if not 1 <= self._cores_asked <= self._device.hbm.cores:
            raise TunerError(
                f"cores_busy={self._cores_asked}: expected 1 to {self._device.hbm.cores} "
                f"({self._device.name})"
            )
        self._programs_asked = int(problem.options.get("programs") or 0)
        try:
            check_programs(self._device, self._programs_asked or 1)
        except NkiValidationError as error:
            raise TunerError(f"programs={self._programs_asked}: {error}") from None
        self.hazards = Hazards()

    @cached_property
    def _kernel(self) -> LoadedKernel:
        return load_kernel(self._problem.kernel)

    @cached_property
    def _programs(self) -> int:
        return self._programs_asked or int(getattr(self._kernel.function, "lnc", 1))

    @property
    def _cores_busy(self) -> int:
        return max(self._cores_asked, self._programs)

    def prepare(self) -> None:
        """Loads the kernel's file, raises whatever the file raises; compiles the simulator."""
        keep_freed_memory()
        self._kernel.attribute(self._problem.kernel.entry)
        try:
            with self._kernel.lent():
                _compile_simulator(self._device, self._policy)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise TunerError(f"device {self._device.name}: cannot be simulated: {told}") from None

    def compile(self, candidate: Candidate) -> Compiled:
        """Records the kernel and gives its tensors their memory, unless it is hopeless."""
        with self._kernel.lent():
            traced = trace(
                self._kernel.function,
                self._problem.arguments,
                self._problem.keywords(candidate.config),
                self._device,
                programs=self._programs,
            )
        if candidate.limit_us is not None:
            bound_us = max(self._bound_us(recording) for recording in traced.recordings)
            if bound_us > candidate.limit_us:
                return Compiled(traced, None, bound_us)
        built = [build(program, self._device, self._policy) for program in traced.programs]
        if len(built) > 1:
            built.sort(key=lambda each: -self._predict(each).latency_us)
        return Compiled(traced, built[0], others=tuple(built[1:]))

    def _bound_us(self, recording: Recording) -> float:
        works = recording.work_counts()
        return lower_bound_us(
            list(works), list(works.values()), self._device, self._policy, self._cores_busy
        )

    def _predict(self, built: Built) -> Prediction:
        return predict(built.program, built.memory, self._device, self._policy, self._cores_busy)

    def measure(self, artifact: Compiled) -> tuple[float | None, dict[str, Any]]:
        """Predicts latency and the use of engines and memory.

        What is counted is of all programs together; busy times and peaks of memory are of the
        slowest.
        """
        if artifact.built is None:
            return None, {"bound_us": artifact.hopeless_us}
        memory = artifact.built.memory
        prediction = self._predict(artifact.built)
        bank = self._device.psum.bank_bytes_per_partition
        built = (artifact.built, *artifact.others)
        return prediction.latency_us, {
            "programs": len(built),
            "launch_us": prediction.launch_us,
            "error_percent": prediction.error_percent,
            "busy_us": prediction.busy_us,
            "instructions": sum(len(each.program) for each in built),
            "flops": sum(each.program.flops for each in built),
            "hbm_read_bytes": sum(each.program.hbm_read_bytes for each in built),
            "hbm_written_bytes": sum(each.program.hbm_written_bytes for each in built),
            "spill_saved_bytes": sum(each.spill_saved_bytes for each in built),
            "spill_reloaded_bytes": sum(each.spill_reloaded_bytes for each in built),
            "reread_bytes": sum(each.reread_bytes for each in built),
            "sbuf_peak_bytes_per_partition": memory.sbuf_peak_bytes,
            "psum_peak_banks": memory.psum_peak_bytes // bank,
            "output_bytes": sum(
                Argument("", shape, dtype).bytes for shape, dtype in artifact.traced.outputs
            ),
        }

    def verify(self, candidate: Candidate) -> Mismatch | None:
        """Runs the kernel, all its programs, on random numbers and compares what they return with
        its numpy reference; keeps the hazards.
        """
        self.hazards = Hazards()
        if self._problem.reference is None:
            raise TunerError("there is no reference to check against")
        arguments = candidate.verify_with or self._problem.arguments
        values = random_values(arguments)
        reference = self._kernel.attribute(self._problem.reference)
        with self._kernel.lent():
            traced = trace(
                self._kernel.function,
                arguments,
                self._problem.keywords(candidate.config),
                self._device,
                values,
                programs=self._programs,
                hazards=self.hazards,
            )
        assert traced.values is not None
        dtypes = [dtype for _, dtype in traced.outputs]
        expected = called(reference, {**self._problem.variants, **values})
        inputs = [a.dtype for a in arguments]
        return compare(expected, traced.values, dtypes, inputs, self._problem.roundings)

    def fingerprint(self) -> dict[str, Any]:
        """Names the model's code, the compiler policy, the device's constants and the kernel's
        source.
        """
        every = [(c.name, c.value) for c in self._device.constants]
        listed = [entry for entry in every if not entry[0].startswith("error.")]
        return {
            "backend": "simulator",
            "model_hash": model_hash(),
            "policy": self._policy.name,
            "policy_hash": _hash(dataclasses.astuple(self._policy)),
            "cores_busy": max(self._cores_asked, self._programs_asked),
            "programs": self._programs_asked or None,
            "device": self._device.name,
            "device_hash": _hash(listed),
            "kernel_hash": self._problem.kernel.kernel_hash,
        }

    def capabilities(self) -> Capabilities:
        """Simulated times; several short candidates at a time."""
        return Capabilities("simulated", BATCH)


def warm() -> None:
    """Compiles the simulator, or loads it from the cache, in this process."""
    _compile_simulator(device("trn2"), policy("nki"))


def _compile_simulator(core: Device, chosen: Policy) -> None:
    """Simulates a few instructions: else compiling would count as time of the first candidate."""

    def twice(x: NkiTensor) -> NkiTensor:
        out = language.ndarray(x.shape, x.dtype, language.shared_hbm)
        for _ in language.affine_range(2):
            tiles = [language.ndarray(x.shape, x.dtype, language.sbuf) for _ in range(2)]
            for tile in tiles:
                isa.dma_copy(tile, x)
                isa.activation(tile, language.exp, tile)
            for tile in tiles:
                isa.dma_copy(out, tile)
        return out

    traced = trace(twice, (Argument("x", (1, 1), "float32"),), {}, core)
    built = build(traced.program, core, chosen)
    predict(built.program, built.memory, core, chosen)
    if chosen.on_overflow == "spill":  # there is room for one tile
        sbuf = msgspec.structs.replace(core.sbuf, usable_bytes_per_partition=4)
        build(traced.program, msgspec.structs.replace(core, sbuf=sbuf), chosen)


def _hash(facts: Any) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
