"""Predicts how long a program takes on a device."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.neuroncore.costs import cost
from tuner.neuroncore.dependences import dependences
from tuner.neuroncore.device import Device
from tuner.neuroncore.memory import MemoryPlan
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import Program
from tuner.neuroncore.timeline import Timeline, parameters, timeline

__all__ = ["MODEL_VERSION", "Prediction", "predict"]

MODEL_VERSION = 1
"""Part of every fingerprint: raised whenever the model gives another time for some program."""

ENGINES = ("TensorE", "VectorE", "ScalarE", "GpSimdE", "DMA")


@dataclass(frozen=True)
class Prediction:
    """Simulated figures of one program.

    Attributes:
        latency_us: Launch and run together, in microseconds.
        launch_us: The launch alone.
        busy_us: Busy time of each engine; of DMA, the mean over its engines.
        timeline: When each instruction ran.
    """

    latency_us: float
    launch_us: float
    busy_us: dict[str, float]
    timeline: Timeline


def predict(program: Program, memory: MemoryPlan, device: Device, policy: Policy) -> Prediction:
    """Simulates a program on one core of a device.

    Args:
        program: What the kernel asks for.
        memory: Where its tensors lie, from `plan_memory`.
        device: The core.
        policy: The compiler's decisions.
    """
    starts, predecessors = dependences(program, memory)
    costs = [cost(work, device) for work in program.works]
    result = timeline(program, costs, starts, predecessors, policy, parameters(device))
    return Prediction(
        latency_us=device.kernel.launch_us + result.makespan / 1e6,
        launch_us=device.kernel.launch_us,
        busy_us={name: int(busy) / 1e6 for name, busy in zip(ENGINES, result.busy, strict=True)},
        timeline=result,
    )
