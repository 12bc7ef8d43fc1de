"""Predicts how long a program takes on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiler.building import build
from tuner.neuroncore.compiler.memory import MemoryPlan
from tuner.neuroncore.costs import Cost, costs, picoseconds
from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import Program
from tuner.neuroncore.schedule.dependences import dependences
from tuner.neuroncore.schedule.ports import ports
from tuner.neuroncore.schedule.queues import Queues, engines_of, queues
from tuner.neuroncore.schedule.timeline import Timeline, parameters, timeline

__all__ = [
    "ENGINES",
    "Prediction",
    "predict",
    "run",
    "sensitivity_us",
    "simulate",
    "start_us",
]

ENGINES = ("TensorE", "VectorE", "ScalarE", "GpSimdE", "DMA")


@dataclass(frozen=True)
class Prediction:
    """Simulated figures of one program.

    Attributes:
        latency_us: Launch and run together, in microseconds.
        launch_us: What passes before the first instruction.
        busy_us: Busy time of each engine; of DMA, the mean over its engines.
        error_percent: How far such predictions are off, from published or the user's measurements.
        timeline: When each instruction ran.
    """

    latency_us: float
    launch_us: float
    busy_us: dict[str, float]
    error_percent: float
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
    launch_us = start_us(device, policy)
    return Prediction(
        latency_us=launch_us + result.makespan / 1e6,
        launch_us=launch_us,
        busy_us={name: int(busy) / 1e6 for name, busy in zip(ENGINES, result.busy, strict=True)},
        error_percent=(
            device.error.matmul_percent if program.flops else device.error.elementwise_percent
        ),
        timeline=result,
    )


def simulate(program: Program, device: Device, policy: Policy, cores_busy: int = 1) -> Prediction:
    """Does what the compiler does to a recorded kernel and predicts its time.

    Raises:
        CapacityError: Its tensors do not fit, and the policy does not spill.
        TunerError: The device has not so many cores.
    """
    built = build(program, device, policy)
    return predict(built.program, built.memory, device, policy, cores_busy)


def sensitivity_us(
    program: Program, memory: MemoryPlan, device: Device, policy: Policy, cores_busy: int = 1
) -> tuple[float, float]:
    """Returns the least and the greatest latency within the doubt about TensorE's clock.

    Whether the clock falls back in a short pause is a cliff: where these two are far apart, the
    prediction hangs on the window and the threshold of that rule. They are moved to the ends of
    their ranges, one at a time and together.
    """
    spans = {c.name: c.range or (c.value, c.value) for c in device.constants}
    nominal = parameters(device)
    found = {nominal}
    if device.tensor.clock_ramp:
        for window_ns in (device.tensor.ramp_window_ns, *spans["tensor.ramp_window_ns"]):
            for threshold in (nominal.ramp_threshold, *spans["tensor.ramp_threshold"]):
                window_ps = picoseconds(window_ns)
                found.add(nominal._replace(ramp_window_ps=window_ps, ramp_threshold=threshold))
    links = _links(program, memory, device, policy, cores_busy)
    times = [timeline(program, *links, settings).makespan / 1e6 for settings in found]
    start = start_us(device, policy)
    return start + min(times), start + max(times)


def start_us(device: Device, policy: Policy) -> float:
    """Returns what passes before a kernel's first instruction."""
    return device.kernel.launch_us if policy.start_us < 0 else policy.start_us


def run(
    program: Program, memory: MemoryPlan, device: Device, policy: Policy, cores_busy: int = 1
) -> Timeline:
    """Returns the timeline of a program alone."""
    links = _links(program, memory, device, policy, cores_busy)
    return timeline(program, *links, parameters(device))


class _Links(NamedTuple):
    """What the timeline needs of a program on a device besides the parameters."""

    costs: list[Cost]
    starts: npt.NDArray[np.int64]
    predecessors: npt.NDArray[np.int32]
    queues: Queues
    marks: npt.NDArray[np.int16]


def _links(
    program: Program, memory: MemoryPlan, device: Device, policy: Policy, cores_busy: int
) -> _Links:
    dealt = queues(program, policy)
    return _Links(
        costs(program, device, policy, cores_busy),
        *dependences(program, memory, dealt),
        dealt,
        ports(program, memory, device, engines_of(program, policy)),
    )
