"""Predicts what a program takes on a device: memory, dependences, timeline, in that order."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.neuroncore.costs import cost
from tuner.neuroncore.dependences import dependences
from tuner.neuroncore.device import Device
from tuner.neuroncore.memory import MemoryPlan, plan_memory
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
    sbuf_peak_bytes: int
    psum_peak_bytes: int
    timeline: Timeline


def predict(
    program: Program, device: Device, policy: Policy, memory: MemoryPlan | None = None
) -> Prediction:
    """Simulates a program on one core of a device.

    Args:
        program: What the kernel asks for.
        device: The core.
        policy: The compiler's decisions.
        memory: The program's memory plan, where the caller has made it already.

    Raises:
        CapacityError: The program does not fit into SBUF or PSUM.
    """
    memory = memory or plan_memory(program, device, policy)
    starts, predecessors = dependences(program, memory)
    costs = [cost(work, device) for work in program.works]
    result = timeline(program, costs, starts, predecessors, policy, parameters(device))
    return Prediction(
        latency_us=device.kernel.launch_us + result.makespan / 1e6,
        launch_us=device.kernel.launch_us,
        busy_us={name: int(busy) / 1e6 for name, busy in zip(ENGINES, result.busy, strict=True)},
        sbuf_peak_bytes=memory.sbuf_peak_bytes,
        psum_peak_bytes=memory.psum_peak_bytes,
        timeline=result,
    )
