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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled, inlined, lean
from tuner.neuroncore.costs import (
    DELAY,
    DMA,
    HOLD,
    ISSUE,
    KIND,
    LATENCY,
    MATMUL,
    PARTS,
    TILE,
    WHOLE_ARRAY,
    Cost,
    picoseconds,
)
from tuner.neuroncore.device import Device
from tuner.neuroncore.ports import ALL_PORTS, LOADS_TABLE, PORTS
from tuner.neuroncore.program import Program
from tuner.neuroncore.queues import Queues
from tuner.neuroncore.tensor_engine import multiply, multiply_on_tile, tensor_engine

__all__ = ["Parameters", "Timeline", "parameters", "timeline"]

Ints = npt.NDArray[np.int64]
UNKNOWN = -1
LATE = 1 << 62


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
    start, done, ready, blocker, busy, makespan = _simulate(
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


class _Waiting(NamedTuple):
    """What is known of instructions not yet started.

    Of each stream that issues in order its first one, of others each: the predecessors `checked`,
    when those are `known` to be done, and which was the last (`by`).
    """

    checked: Any
    known: Any
    by: Any


class _Core(NamedTuple):
    """When the parts of a core are free, and what each instruction met; in picoseconds."""

    free: Any
    ring: Any
    last_done: Any
    dma: Any
    ports: Any
    busy: Any


@inlined
def _check(i: Any, slot: Any, lane: Any, stream: Any, starts: Any, predecessors: Any, done: Any,
           waiting: Any, p: Any) -> Any:  # fmt: skip
    """Returns whether all that instruction i waits for has started; `waiting` then says until
    when.
    """
    k = waiting.checked[slot]
    end = starts[i + 1]
    latest = waiting.known[slot]
    while k < end:
        other = predecessors[k]
        if done[other] == UNKNOWN:
            break
        signal = p.same_engine_ps if lane[other] == stream else p.cross_engine_ps
        if done[other] + signal > latest:
            latest = done[other] + signal
            waiting.by[slot] = other
        k += 1
    waiting.checked[slot] = k
    waiting.known[slot] = latest
    return k == end


@lean
def _transfer(at: Any, lane: Any, cost: Any, core: Any, p: Any) -> Any:
    """Serves a transfer on the least busy DMA engines; returns when it is known to be done."""
    go = max(at + cost[DELAY], core.ring[lane])
    core.ring[lane] = go + p.dma_issue_ps
    go += cost[LATENCY]
    serve, count, engines = cost[ISSUE], cost[PARTS], len(core.dma)
    last = 0
    if count == engines:
        for e in range(engines):
            core.dma[e] = max(go, core.dma[e]) + serve
            last = max(last, core.dma[e])
    else:
        taken = 0
        for _ in range(count):
            best = -1
            for e in range(engines):
                if not taken >> e & 1 and (best < 0 or core.dma[e] < core.dma[best]):
                    best = e
            taken |= 1 << best
            core.dma[best] = max(go, core.dma[best]) + serve
            last = max(last, core.dma[best])
    core.busy[4] += serve * count
    return last + p.dma_done_ps


@lean
def _through_ports(at: Any, mark: Any, hold: Any, ports: Any) -> Any:
    """Returns when all ports of an instruction are free, and takes them."""
    for b in range(PORTS):
        if mark >> b & 1:
            at = max(at, ports[b])
    for b in range(PORTS):
        if mark >> b & 1:
            ports[b] = at + hold
    return at


@inlined
def _run(
    at: Any, stream: Any, lane: Any, mark: Any, cost: Any, tiled: Any, core: Any, tensor: Any,
    p: Any,
) -> Any:  # fmt: skip
    """Runs an instruction; returns when it starts and when it is done."""
    if cost[KIND] == MATMUL:
        issue, latency, parts = cost[ISSUE], cost[LATENCY], cost[PARTS]
        if tiled:
            busy, free, end = multiply_on_tile(at, issue, latency, parts, cost[TILE], tensor, p)
        else:
            busy, free, end = multiply(at, issue, latency, parts, tensor, p)
        core.busy[0] += busy
        core.free[stream] = free
        done = end + p.matmul_tail_ps
    elif cost[KIND] == DMA:
        core.free[stream] = at + cost[HOLD]
        if stream < 4:
            core.busy[stream] += cost[HOLD]
        done = _transfer(at, lane, cost, core, p)
    else:
        if mark & ALL_PORTS:
            at = _through_ports(at, mark, cost[HOLD], core.ports)
        table = p.table_load_ps if mark & LOADS_TABLE else 0
        core.free[stream] = at + cost[ISSUE] + table
        core.busy[stream] += cost[ISSUE] + table
        return at, at + cost[LATENCY] + table
    core.last_done[lane] = max(core.last_done[lane], done)
    return at, core.last_done[lane]


@compiled
def _core(work_of: Any, table: Any, lanes: Any, streams: Any, p: Any) -> Any:
    """Returns the core at time 0, TensorE, and whether matmuls occupy less than its array."""
    core = _Core(
        np.zeros(streams, np.int64),
        np.zeros(lanes, np.int64),
        np.zeros(lanes, np.int64),
        np.zeros(p.dma_engines, np.int64),
        np.zeros(PORTS, np.int64),
        np.zeros(5, np.int64),
    )
    tiled = False
    for work in range(len(table)):
        if table[work, KIND] == MATMUL and table[work, TILE] != WHOLE_ARRAY:
            tiled = True
    instructions = 0
    if p.ramp:
        for i in range(len(work_of)):
            if table[work_of[i], KIND] == MATMUL:
                instructions += table[work_of[i], PARTS]
    return core, tensor_engine(instructions), tiled


@compiled
def _by_stream(lane: Any, stream_of: Any, streams: Any) -> Any:
    """Returns the instructions of each stream in program order, and where each stream's begin."""
    first = np.zeros(streams + 1, np.int64)
    for i in range(len(lane)):
        first[stream_of[lane[i]] + 1] += 1
    for q in range(streams):
        first[q + 1] += first[q]
    order = np.empty(len(lane), np.int32)
    at = first[:streams].copy()
    for i in range(len(lane)):
        q = stream_of[lane[i]]
        order[at[q]] = i
        at[q] += 1
    return order, first


@lean
def _pick(
    head: Any, end: Any, window: Any, free: Any, order: Any, stream: Any, lane: Any, starts: Any,
    predecessors: Any, start: Any, done: Any, waiting: Any, p: Any,
) -> Any:  # fmt: skip
    """Returns the first of a window's instructions to start, and when; (-1, LATE) if none can."""
    found, at, seen = -1, LATE, 0
    for k in range(head, end):
        i = order[k]
        if start[i] >= 0:
            continue
        seen += 1
        if _check(i, i, lane, stream, starts, predecessors, done, waiting, p):
            time = max(free, waiting.known[i])
            if time < at:
                found, at = i, time
        if seen == window or at <= free:
            break
    return found, at


@lean
def _events(
    n: Any, base: Any, streams: Any, work_of: Any, table: Any, lane: Any, window: Any, marks: Any,
    starts: Any, predecessors: Any, order: Any, head: Any, end: Any, start: Any, done: Any,
    ready: Any, blocker: Any, candidate: Any, tiled: Any, waiting: Any, core: Any, tensor: Any,
    p: Any,
) -> None:  # fmt: skip
    """Starts instruction after instruction, the earliest first, of the lowest stream on a tie.

    `candidate` is when the first of an in-order stream could start, as far as that is known.
    """
    for _ in range(n):
        chosen, at, i = -1, LATE, -1
        for q in range(streams):
            if head[q] == end[q]:
                continue
            if window[q] > 1:
                j, time = _pick(
                    head[q], end[q], window[q], core.free[q], order, q, lane, starts,
                    predecessors, start, done, waiting, p,
                )  # fmt: skip
                if time < at:
                    chosen, at, i = q, time, j
                continue
            if candidate[q] == UNKNOWN:
                j = order[head[q]]
                slot = base + q
                if not _check(j, slot, lane, q, starts, predecessors, done, waiting, p):
                    continue
                candidate[q] = max(waiting.known[slot], core.free[q])
            if candidate[q] < at:
                chosen, at, i = q, candidate[q], order[head[q]]
        slot = i if window[chosen] > 1 else base + chosen
        ready[i] = waiting.known[slot]
        blocker[i] = waiting.by[slot] if ready[i] > core.free[chosen] else -1
        start[i], done[i] = _run(
            at, chosen, lane[i], marks[i], table[work_of[i]], tiled, core, tensor, p
        )
        while head[chosen] < end[chosen] and start[order[head[chosen]]] >= 0:
            head[chosen] += 1
        if window[chosen] <= 1:
            candidate[chosen] = UNKNOWN
            if head[chosen] < end[chosen]:
                waiting.checked[slot] = starts[order[head[chosen]]]
                waiting.known[slot] = 0
                waiting.by[slot] = -1


@compiled
def _simulate(
    work_of: Any, table: Any, lane: Any, stream_of: Any, window: Any, marks: Any, starts: Any,
    predecessors: Any, p: Any,
) -> Any:  # fmt: skip
    n, streams = len(work_of), len(window)
    order, first = _by_stream(lane, stream_of, streams)
    head, end = first[:streams].copy(), first[1:]
    start, done = np.full(n, UNKNOWN, np.int64), np.full(n, UNKNOWN, np.int64)
    ready, blocker = np.empty(n, np.int64), np.empty(n, np.int32)
    core, tensor, tiled = _core(work_of, table, len(stream_of), streams, p)
    base = 0 if window.max() <= 1 else n  # instructions of a window come first, then streams
    waiting = _Waiting(
        np.zeros(base + streams, np.int64),
        np.zeros(base + streams, np.int64),
        np.full(base + streams, -1, np.int32),
    )
    waiting.checked[:base] = starts[:base]
    for q in range(streams):
        if head[q] < end[q]:
            waiting.checked[base + q] = starts[order[head[q]]]
    candidate = np.full(streams, UNKNOWN, np.int64)
    _events(
        n, base, streams, work_of, table, lane, window, marks, starts, predecessors, order, head,
        end, start, done, ready, blocker, candidate, tiled, waiting, core, tensor, p,
    )  # fmt: skip
    core.busy[4] //= p.dma_engines
    return start, done, ready, blocker, core.busy, (done.max() if n else 0)
