"""Predicted times of recorded kernels as a function of the constants of a device.

A kernel is recorded, built and searched for dependences once; another value of a constant only
times it again, and only where the kernel feels the constant at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from tuner.calibration.measurements import Measured
from tuner.kernel import KernelSource, LoadedKernel, load_kernel
from tuner.neuroncore import Device
from tuner.neuroncore.compiler.building import build
from tuner.neuroncore.costs import Cost, costs
from tuner.neuroncore.program import Program
from tuner.neuroncore.schedule.dependences import dependences
from tuner.neuroncore.schedule.ports import ports
from tuner.neuroncore.schedule.queues import Queues, engines_of, queues
from tuner.neuroncore.schedule.timeline import Parameters, parameters, timeline
from tuner.neuroncore.simulation import start_us
from tuner.nki.record.tracing import trace
from tuner.runtime.errors import TunerError

__all__ = ["Recorded", "record", "with_values"]


class _Links(NamedTuple):
    """What the timeline needs of a program besides costs and parameters: no constant that may be
    fitted changes it.
    """

    starts: npt.NDArray[np.int64]
    predecessors: npt.NDArray[np.int32]
    queues: Queues
    marks: npt.NDArray[np.int16]


@dataclass
class Recorded:
    """A measured kernel, ready to be timed again and again.

    Attributes:
        row: The measurement.
        multiplies: Whether it does floating-point operations on TensorE.
    """

    row: Measured
    multiplies: bool
    _program: Program
    _links: _Links
    _known: dict[tuple[tuple[Cost, ...], Parameters], float] = field(default_factory=dict)

    def latency_us(self, device: Device) -> float:
        """Predicts its time on a device whose constants were changed."""
        row = self.row
        table, settings = costs(self._program, device, row.policy), parameters(device)
        key = tuple(table), settings
        if key not in self._known:
            result = timeline(self._program, table, *self._links, settings)
            self._known[key] = result.makespan / 1e6
        before = start_us(device, row.policy) if row.start_us is None else row.start_us
        return before + self._known[key]


def record(
    rows: Sequence[Measured], base: Device, progress: Callable[[str], None]
) -> list[Recorded]:
    """Runs the kernels of all rows once.

    Raises:
        TunerError: Names the row whose kernel fails on the simulator, and why it does.
    """
    loaded: dict[KernelSource, LoadedKernel] = {}
    found = []
    for number, row in enumerate(rows, 1):
        progress(f"recording {number}/{len(rows)}: {row.id}")
        try:
            if row.source not in loaded:
                loaded[row.source] = load_kernel(row.source)
            found.append(_record(row, loaded[row.source], base))
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            ours = type(error).__module__.startswith("tuner.")
            named = "" if ours else f"{type(error).__name__}: "
            told = f"{row.where}, column kernel: {row.kernel} fails on the simulator: "
            raise TunerError(f"{told}{named}{text}") from error
    return found


def _record(row: Measured, kernel: LoadedKernel, base: Device) -> Recorded:
    with kernel.lent():
        traced = trace(kernel.function, row.arguments, row.config, base)
    built = build(traced.program, base, row.policy)
    program, dealt = built.program, queues(built.program, row.policy)
    marks = ports(program, built.memory, base, engines_of(program, row.policy))
    links = _Links(*dependences(program, built.memory, dealt), dealt, marks)
    return Recorded(row, traced.program.flops > 0, program, links)


def with_values(base: Device, values: Mapping[str, float]) -> Device:
    """Returns a device with other values of some constants, by their names."""
    sections: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    changed = {
        section: msgspec.structs.replace(getattr(base, section), **entries)
        for section, entries in sections.items()
    }
    return msgspec.structs.replace(base, **changed)
