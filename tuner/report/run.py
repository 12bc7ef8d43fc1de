"""One simulated run of a kernel, with everything that explains its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tuner.backends import Candidate, Measurement, Problem, evaluate, load_backend
from tuner.backends.simulator import Compiled, SimulatorBackend
from tuner.neuroncore import Device, Policy
from tuner.neuroncore.compiler.memory import MemoryPlan
from tuner.neuroncore.program import Engine, Program
from tuner.neuroncore.schedule.timeline import Timeline
from tuner.neuroncore.simulation import ENGINES, Prediction, predict, sensitivity_us
from tuner.neuroncore.stalls import FINISHED, RAMP, TABLE, Waits, bound_by, stalls_us, waits
from tuner.nki.hashing import model_hash
from tuner.runtime.errors import TunerError

__all__ = ["Run", "largest_stall", "observe"]

NO_WAITS = (FINISHED, RAMP, TABLE)


@dataclass(frozen=True)
class Run:
    """A program that ran on a simulated core.

    Attributes:
        name: The kernel, for titles.
        program: What it asked for, as the compiler passed it on.
        memory: Where its tensors lay.
        device: The core.
        policy: The compiler's decisions.
        prediction: When everything happened.
        cores_busy: Cores that shared the HBM bandwidth.
    """

    name: str
    program: Program
    memory: MemoryPlan
    device: Device
    policy: Policy
    prediction: Prediction
    cores_busy: int = 1

    @property
    def timeline(self) -> Timeline:
        """When each instruction ran."""
        return self.prediction.timeline

    @cached_property
    def waits(self) -> Waits:
        """What each instruction waited for."""
        return waits(self.program, self.timeline, self.device, self.policy, self.cores_busy)

    @cached_property
    def stalls_us(self) -> dict[str, dict[str, float]]:
        """How long each engine and the DMA queues waited for what, longest first."""
        return stalls_us(self.program, self.timeline, self.device, self.policy, self.cores_busy)

    @property
    def bound_by(self) -> str:
        """A sentence: what the kernel's time is made of."""
        return bound_by(self.prediction, self.stalls_us)

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the streams, by number: the engines, then the DMA queues."""
        loads = [f"load queue {q}" for q in range(self.policy.load_queues)]
        stores = [f"store queue {q}" for q in range(self.policy.store_queues)]
        return (*ENGINES[: Engine.LOAD], *loads, *stores)

    def sensitivity_us(self) -> tuple[float, float]:
        """Returns the least and greatest latency within the doubt about TensorE's clock."""
        return sensitivity_us(self.program, self.memory, self.device, self.policy, self.cores_busy)

    def facts(self) -> dict[str, Any]:
        """Returns what a reader must know of the run to judge its times."""
        return {
            "kind": "simulated",
            "kernel": self.name,
            "device": self.device.name,
            "policy": self.policy.name,
            "cores_busy": self.cores_busy,
            "model_hash": model_hash(),
            "latency_us": self.prediction.latency_us,
            "launch_us": self.prediction.launch_us,
            "error_percent": self.prediction.error_percent,
            "bound_by": self.bound_by,
        }


def largest_stall(
    busy: Mapping[str, float], stalls: Mapping[str, Mapping[str, float]]
) -> tuple[float, str, str] | None:
    """Returns the longest wait of the busiest compute engine: microseconds, engine, cause.

    That the others wait for it costs nothing by itself. None where it never waits.
    """
    engine = max(ENGINES[: Engine.LOAD], key=lambda name: busy[name])
    found = [(us, cause) for cause, us in stalls[engine].items() if cause not in NO_WAITS]
    return (max(found)[0], engine, max(found)[1]) if found else None


class _Watched(SimulatorBackend):
    """The simulator's backend; keeps the run that it measures."""

    run: Run

    def measure(self, artifact: Compiled) -> tuple[float | None, dict[str, Any]]:
        """Measures as usual, and once more with everything kept."""
        if artifact.built is not None:
            core, rules, cores = self._device, self._policy, self._cores_busy
            program, memory = artifact.built.program, artifact.built.memory
            prediction = predict(program, memory, core, rules, cores)
            name = self._problem.kernel.entry
            self.run = Run(name, program, memory, core, rules, prediction, cores)
        return super().measure(artifact)


def observe(problem: Problem, config: Mapping[str, Any]) -> tuple[Measurement, Run | None]:
    """Simulates one config of a kernel and keeps what explains its time.

    Returns:
        The measurement, as of a trial; the run, None where it failed.

    Raises:
        TunerError: The problem names what there is not, or its backend is not the simulator.
    """
    if problem.backend != "simulator":
        raise TunerError(f"backend {problem.backend!r}: only simulated runs can be looked into")
    backend = _Watched(problem)
    load_backend(problem, backend)
    result = evaluate(backend, Candidate(0, dict(config)))
    return result, backend.run if result.latency_us is not None else None
