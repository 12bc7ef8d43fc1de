"""When each instruction starts and is done: an event simulation in time order.

A stream (compute engine or DMA queue) issues in program order, or the first that can of a window.
An instruction starts when its stream is free and everything it waits for is done and known
(semaphore). DMA engines, memory ports and TensorE's clock are taken in the order of time, not of
the program, so that a store that waits for its data holds nothing up. Transfers of one lane
complete in the order in which they were issued: a ring's semaphore counts up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.costs import Cost, picoseconds
from tuner.neuroncore.device import Device
from tuner.neuroncore.program import Program
from tuner.neuroncore.schedule.events import events
from tuner.neuroncore.schedule.queues import Queues

__all__ = ["Parameters", "Timeline", "parameters", "timeline"]

Ints = npt.NDArray[np.int64]


class Parameters(NamedTuple):
    """What the timeline needs of a device; times in whole picoseconds."""

    cross_engine_ps: int
    same_engine_ps: int
    dma_done_ps: int
    dma_issue_ps: int
    dma_engines: int
    table_load_ps: int
    matmul_tail_ps: int
    tile_issue_ps: int
    ramp: bool
    ramp_hold_ps: int
    ramp_rise_ps: int
    ramp_window_ps: int
    ramp_start_fraction: float
    ramp_threshold: float


def parameters(device: Device) -> Parameters:
    """Returns the timeline's parameters of a device."""
    t, dma = device.tensor, device.dma
    return Parameters(
        cross_engine_ps=picoseconds(device.sync.cross_engine_ns),
        same_engine_ps=picoseconds(device.sync.same_engine_ns),
        dma_done_ps=picoseconds(dma.done_ns),
        dma_issue_ps=picoseconds(dma.issue_interval_ns),
        dma_engines=dma.engines,
        table_load_ps=picoseconds(device.scalar.table_load_ns),
        matmul_tail_ps=picoseconds(t.matmul_tail_cycles / device.clock.tensor_ghz),
        tile_issue_ps=picoseconds(t.tile_issue_gap_cycles / device.clock.tensor_ghz),
        ramp=t.clock_ramp,
        ramp_hold_ps=picoseconds(t.ramp_hold_ns),
        ramp_rise_ps=picoseconds(t.ramp_rise_ns),
        ramp_window_ps=picoseconds(t.ramp_window_ns),
        ramp_start_fraction=t.ramp_start_fraction,
        ramp_threshold=t.ramp_threshold,
    )


@dataclass(frozen=True)
class Timeline:
    """Result of the simulation, in picoseconds.

    Attributes:
        lane: Shape (instructions,): 0..3 the compute engines, then load queues, store queues, and
            transfers that ScalarE and GpSimdE trigger.
        stream: Shape (instructions,): who issued each; that of a triggered transfer is the engine.
        start: Shape (instructions,): when each was issued.
        done: Shape (instructions,): when its result may be used.
        ready: Shape (instructions,): when the last of its predecessors was known to be done.
        blocker: Shape (instructions,): that predecessor where it made the instruction wait, -1
            where the stream or nothing did.
        makespan: When the last is done.
        busy: Shape (5,): TensorE, VectorE, ScalarE, GpSimdE, and the mean over the DMA engines.
    """

    lane: npt.NDArray[np.int8]
    stream: npt.NDArray[np.int8]
    start: Ints
    done: Ints
    ready: Ints
    blocker: npt.NDArray[np.int32]
    makespan: int
    busy: Ints


def timeline(
    program: Program,
    costs: Sequence[Cost],
    starts: Ints,
    predecessors: npt.NDArray[np.int32],
    queues: Queues,
    marks: npt.NDArray[np.int16],
    settings: Parameters,
) -> Timeline:
    """Simulates a program.

    Args:
        program: The instructions.
        costs: One for each of `program.works`.
        starts: Shape (instructions + 1,): instruction i waits for
            `predecessors[starts[i]:starts[i+1]]`.
        predecessors: Instructions, each earlier in the program than the one that waits.
        queues: Who issues each instruction.
        marks: Shape (instructions,): the shared ports that each takes, from `ports`.
        settings: The device's parameters.
    """
    table = np.array(costs, np.int64).reshape(-1, len(Cost._fields))
    start, done, ready, blocker, busy, makespan = events(
        program.work_of,
        table,
        queues.lane,
        queues.stream_of,
        queues.window,
        marks,
        starts,
        predecessors,
        settings,
    )
    stream = queues.stream_of[queues.lane]
    return Timeline(queues.lane, stream, start, done, ready, blocker, int(makespan), busy)
