"""When each instruction starts and is done: an event simulation in time order.

Every engine and DMA queue issues in program order. An instruction starts when its queue is free and
everything it waits for is done and known (semaphore). DMA engines, PSUM ports and TensorE's clock
are taken in the order of time, not of the program, so that a store that waits for its data holds
nothing up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.neuroncore.costs import COMPUTE, DMA, Cost, picoseconds
from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import Engine, Program

__all__ = ["Parameters", "Timeline", "parameters", "queues", "timeline"]

Ints = npt.NDArray[np.int64]
NEVER = -(1 << 60)


class Parameters(NamedTuple):
    """What the timeline needs of a device; times in whole picoseconds."""

    cross_engine_ps: int
    same_engine_ps: int
    dma_start_ps: int
    dma_done_ps: int
    dma_issue_ps: int
    dma_engines: int
    matmul_tail_ps: int
    psum_exclusive: bool
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
        dma_start_ps=picoseconds(dma.start_ns),
        dma_done_ps=picoseconds(dma.done_ns),
        dma_issue_ps=picoseconds(dma.issue_interval_ns),
        dma_engines=dma.engines,
        matmul_tail_ps=picoseconds(t.matmul_tail_cycles / device.clock.tensor_ghz),
        ramp_hold_ps=picoseconds(t.ramp_hold_ns),
        ramp_rise_ps=picoseconds(t.ramp_rise_ns),
        ramp_window_ps=picoseconds(t.ramp_window_ns),
        psum_exclusive=device.psum.vector_scalar_exclusive,
        ramp=t.clock_ramp,
        ramp_start_fraction=t.ramp_start_fraction,
        ramp_threshold=t.ramp_threshold,
    )


@dataclass(frozen=True)
class Timeline:
    """Result of the simulation, in picoseconds.

    Attributes:
        queue: Shape (instructions,): 0..3 the compute engines, then load queues, then store queues.
        start: Shape (instructions,): when each was issued.
        done: Shape (instructions,): when its result may be used.
        makespan: When the last is done.
        busy: Shape (5,): TensorE, VectorE, ScalarE, GpSimdE, and the mean over the DMA engines.
    """

    queue: npt.NDArray[np.int32]
    start: Ints
    done: Ints
    makespan: int
    busy: Ints


def queues(program: Program, policy: Policy) -> npt.NDArray[np.int32]:
    """Returns the queue of every instruction: DMA transfers take the queues of their direction in
    turn.
    """
    engine = program.engine_of().astype(np.int32)
    queue = engine.copy()
    loads, stores = engine == Engine.LOAD, engine == Engine.STORE
    queue[loads] = Engine.LOAD + np.arange(loads.sum()) % policy.load_queues
    queue[stores] = Engine.LOAD + policy.load_queues + np.arange(stores.sum()) % policy.store_queues
    return queue


def timeline(
    program: Program,
    costs: list[Cost],
    starts: Ints,
    predecessors: Ints,
    policy: Policy,
    settings: Parameters,
) -> Timeline:
    """Simulates a program.

    Args:
        program: The instructions.
        costs: One for each of `program.works`.
        starts: Shape (instructions + 1,): instruction i waits for
            `predecessors[starts[i]:starts[i+1]]`.
        predecessors: Instructions, each earlier in the program than the one that waits.
        policy: Says how many DMA queues there are.
        settings: The device's parameters.
    """
    queue = queues(program, policy)
    table = np.array(costs, np.int64).reshape(-1, len(Cost._fields))
    start, done, busy = _simulate(
        queue,
        Engine.LOAD + policy.load_queues + policy.store_queues,
        table[program.work_of],
        starts,
        predecessors,
        settings,
    )
    return Timeline(queue, start, done, int(done.max(initial=0)), busy)


@compiled
def _ready(
    i: Any, queue: Any, starts: Any, predecessors: Any, done: Any, checked: Any, known: Any, p: Any
) -> Any:
    """When everything instruction i waits for is known; -1 while something is not scheduled yet."""
    k = starts[i] + checked[i]
    latest = known[i]
    while k < starts[i + 1]:
        other = predecessors[k]
        if done[other] < 0:
            break
        signal = p.same_engine_ps if queue[other] == queue[i] else p.cross_engine_ps
        latest = max(latest, done[other] + signal)
        k += 1
    checked[i] = k - starts[i]
    known[i] = latest
    return latest if k == starts[i + 1] else -1


@compiled
def _stretched(occupied: Any, now: Any, window: Any, ramp: Any, p: Any) -> Any:
    """Time of a matmul under TensorE's power ramp: slow at first, slow again after it idled.

    `window` holds the start and end of recent matmuls, `ramp` (first and last of them, their sum,
    ramp start).
    """
    since = now - p.ramp_window_ps
    while ramp[0] < ramp[1] and window[ramp[0], 1] < since:
        ramp[2] -= window[ramp[0], 1] - window[ramp[0], 0]
        ramp[0] += 1
    active = ramp[2]
    if ramp[0] < ramp[1] and window[ramp[0], 0] < since:
        active -= since - window[ramp[0], 0]
    rising = now - ramp[3]
    if active < p.ramp_threshold * p.ramp_window_ps and rising > p.ramp_hold_ps + p.ramp_rise_ps:
        ramp[3] = now
        rising = 0
    rate = 1.0
    if rising < p.ramp_hold_ps:
        rate = p.ramp_start_fraction
    elif rising < p.ramp_hold_ps + p.ramp_rise_ps:
        share = (rising - p.ramp_hold_ps) / p.ramp_rise_ps
        rate = p.ramp_start_fraction + (1.0 - p.ramp_start_fraction) * share
    taken = np.int64(occupied / rate + 0.5)
    window[ramp[1], 0] = now
    window[ramp[1], 1] = now + taken
    ramp[1] += 1
    ramp[2] += taken
    return taken


@compiled
def _multiply(
    at: Any, load: Any, move: Any, count: Any, state: Any, window: Any, ramp: Any, p: Any
) -> Any:
    """Runs the instructions of a matmul; returns how long TensorE was busy with them.

    `state` is when the stationary operand is loaded, the moving one began and the moving one is
    through; the next stationary operand loads while the moving one passes.
    """
    busy = 0
    for _ in range(count):
        state[0] = max(at, state[0], state[1]) + load
        state[1] = max(state[2], state[0])
        taken = _stretched(move, state[1], window, ramp, p) if p.ramp else move
        state[2] = state[1] + taken
        busy += taken
    return busy


@compiled
def _transfer(at: Any, serve: Any, count: Any, dma_free: Any, p: Any) -> Any:
    """Serves a transfer on the least busy DMA engines; returns when the last is through."""
    if count < len(dma_free):
        engines = np.argsort(dma_free, kind="mergesort")[:count]
    else:
        engines = np.arange(len(dma_free))
    last = 0
    for e in engines:
        dma_free[e] = max(at + p.dma_start_ps, dma_free[e]) + serve
        last = max(last, dma_free[e])
    return last


@compiled
def _simulate(queue: Any, n_queues: Any, cost: Any, starts: Any, predecessors: Any, p: Any) -> Any:
    n = len(queue)
    order = np.argsort(queue, kind="mergesort")  # the instructions of each queue, in program order
    head = np.searchsorted(queue[order], np.arange(n_queues))
    end = np.searchsorted(queue[order], np.arange(n_queues), side="right")
    start = np.full(n, -1, np.int64)
    done = np.full(n, -1, np.int64)
    checked = np.zeros(n, np.int64)
    known = np.zeros(n, np.int64)
    candidate = np.full(n_queues, -1, np.int64)  # when a queue's head could start; -1: not known
    free = np.zeros(n_queues, np.int64)
    dma_free = np.zeros(p.dma_engines, np.int64)
    window = np.zeros((cost[:, 3].sum() + 1, 2), np.int64)
    ramp = np.array([0, 0, 0, NEVER])
    tensor = np.zeros(3, np.int64)
    psum_free = 0
    busy = np.zeros(5, np.int64)
    for _ in range(n):
        chosen, at = -1, 0
        for q in range(n_queues):
            if head[q] == end[q]:
                continue
            if candidate[q] < 0:
                ready = _ready(order[head[q]], queue, starts, predecessors, done, checked, known, p)
                if ready < 0:
                    continue
                candidate[q] = max(ready, free[q])
            if chosen < 0 or candidate[q] < at:
                chosen, at = q, candidate[q]
        i = order[head[chosen]]
        head[chosen] += 1
        candidate[chosen] = -1
        kind, issue, latency, parts, psum = cost[i]
        if kind == COMPUTE:
            if p.psum_exclusive and psum > 0:
                at = max(at, psum_free)
                psum_free = at + psum
            free[chosen] = at + issue
            done[i] = at + latency
            busy[chosen] += issue
        elif kind == DMA:
            free[chosen] = at + p.dma_issue_ps
            done[i] = _transfer(at, issue, parts, dma_free, p) + p.dma_done_ps
            busy[4] += issue * parts
        else:
            busy[0] += _multiply(at, issue, latency, parts, tensor, window, ramp, p)
            free[chosen] = tensor[1]
            done[i] = tensor[2] + p.matmul_tail_ps
        start[i] = at
    busy[4] //= len(dma_free)
    return start, done, busy
