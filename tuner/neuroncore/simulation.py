"""Predicts how long a program takes on a device."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.neuroncore.costs import costs
from tuner.neuroncore.dependences import dependences
from tuner.neuroncore.device import Device
from tuner.neuroncore.memory import MemoryPlan
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.ports import ports
from tuner.neuroncore.program import Program
from tuner.neuroncore.queues import engines_of, queues
from tuner.neuroncore.timeline import Parameters, Timeline, parameters, timeline

__all__ = ["ENGINES", "MODEL_VERSION", "Prediction", "predict", "run"]

MODEL_VERSION = 2
"""Part of every fingerprint: raised whenever the model gives another time for some program."""

ENGINES = ("TensorE", "VectorE", "ScalarE", "GpSimdE", "DMA")


@dataclass(frozen=True)
class Prediction:
    """Simulated figures of one program.

    Attributes:
        latency_us: Launch and run together, in microseconds.
        launch_us: What passes before the first instruction.
        busy_us: Busy time of each engine; of DMA, the mean over its engines.
        timeline: When each instruction ran.
    """

    latency_us: float
    launch_us: float
    busy_us: dict[str, float]
    timeline: Timeline


def predict(
    program: Program, memory: MemoryPlan, device: Device, policy: Policy, cores_busy: int = 1
) -> Prediction:
    """Simulates a program on one core of a device.

    Args:
        program: What the kernel asks for.
        memory: Where its tensors lie, from `plan_memory`.
        device: The core.
        policy: The compiler's decisions.
        cores_busy: Cores of the chip that move as many bytes at the same time, this one included.

    Raises:
        TunerError: The device has not so many cores.
    """
    result = run(program, memory, device, policy, cores_busy)
    launch_us = device.kernel.launch_us if policy.start_us < 0 else policy.start_us
    return Prediction(
        latency_us=launch_us + result.makespan / 1e6,
        launch_us=launch_us,
        busy_us={name: int(busy) / 1e6 for name, busy in zip(ENGINES, result.busy, strict=True)},
        timeline=result,
    )


def run(
    program: Program,
    memory: MemoryPlan,
    device: Device,
    policy: Policy,
    cores_busy: int = 1,
    settings: Parameters | None = None,
) -> Timeline:
    """Returns the timeline of a program; `settings` instead of the device's own on request."""
    dealt = queues(program, policy)
    starts, predecessors = dependences(program, memory, dealt)
    marks = ports(program, memory, device, engines_of(program, policy))
    return timeline(
        program,
        costs(program, device, policy, cores_busy),
        starts,
        predecessors,
        dealt,
        marks,
        settings or parameters(device),
    )
