"""The loop of the timeline: streams, DMA engines and ports, one instruction after another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

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
)
from tuner.neuroncore.program import Engine
from tuner.neuroncore.schedule.ports import ALL_PORTS, LOADS_TABLE, PORTS
from tuner.neuroncore.schedule.tensor_engine import multiply, multiply_on_tile, tensor_engine

__all__ = ["events"]

UNKNOWN = -1
LATE = 1 << 62
DMA_BUSY = COMPUTE_ENGINES = int(Engine.LOAD)


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
    core.busy[DMA_BUSY] += serve * count
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
        if stream < COMPUTE_ENGINES:
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
        np.zeros(DMA_BUSY + 1, np.int64),
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


@inlined
def _move_on(
    q: Any, slot: Any, window: Any, order: Any, head: Any, end: Any, start: Any, starts: Any,
    candidate: Any, waiting: Any,
) -> None:  # fmt: skip
    """Moves a stream to its first instruction that has not started."""
    while head[q] < end[q] and start[order[head[q]]] >= 0:
        head[q] += 1
    if window[q] <= 1:
        candidate[q] = UNKNOWN
        if head[q] < end[q]:
            waiting.checked[slot] = starts[order[head[q]]]
            waiting.known[slot] = 0
            waiting.by[slot] = -1


@lean
def _start_all(
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
        _move_on(chosen, slot, window, order, head, end, start, starts, candidate, waiting)


@compiled
def events(
    work_of: Any, table: Any, lane: Any, stream_of: Any, window: Any, marks: Any, starts: Any,
    predecessors: Any, p: Any,
) -> Any:  # fmt: skip
    """Returns start, done, ready, blocker, busy and makespan of a program, as in Timeline."""
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
    _start_all(
        n, base, streams, work_of, table, lane, window, marks, starts, predecessors, order, head,
        end, start, done, ready, blocker, candidate, tiled, waiting, core, tensor, p,
    )  # fmt: skip
    core.busy[DMA_BUSY] //= p.dma_engines
    return start, done, ready, blocker, core.busy, (done.max() if n else 0)
