"""Which instructions must be done before another may start.

Read after write, write after read and write after write, rectangle by rectangle. Matmuls that write
the same PSUM bytes in a row form an accumulation group: they wait for whoever used the bytes before
the group, not for each other; a reader waits for all of them.

Two things keep this fast. A lane that issues in order also completes in order, so of its users of a
cell only the last counts. What an instruction of an in-order stream has waited for need not be
named again by the later ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled, inlined, lean
from tuner.neuroncore.compiler.memory import MemoryPlan
from tuner.neuroncore.program import MODE, READ, TENSOR, Engine, Program
from tuner.neuroncore.schedule.cells import BYTE_CELLS, COUNT, FIRST, cells, span
from tuner.neuroncore.schedule.lists import (
    FOUND,
    LEGACY,
    TOP,
    Lists,
    Waits,
    add,
    collect,
    flush,
    note,
    push,
    release,
    room,
)
from tuner.neuroncore.schedule.queues import Queues

__all__ = ["dependences"]

_MATMUL_LANE = int(Engine.TENSOR)

READERS, WRITERS, BEFORE, STATE = range(4)
"""Columns of a cell: lists of its readers since the last write, of its writers, and of those that
an accumulation group waits for."""

IS_WRITTEN, GROUPED, OPENED_FRESH = 1, 2, 4
"""Bits of STATE: written since the tensor got its memory; by matmuls; and those were the first."""


def dependences(
    program: Program, plan: MemoryPlan, queues: Queues
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Returns (starts, predecessors): instruction i waits for
    `predecessors[starts[i]:starts[i+1]]`.

    Every predecessor comes earlier in the program; those that another one implies are left out. HBM
    tensors take part only where the program both writes and reads them.
    """
    grid, table, cell_count = cells(
        program.accesses, program.space, program.rows, program.row_bytes
    )
    return _link(  # type: ignore[no-any-return]
        program.first_access,
        program.accesses,
        grid,
        table,
        cell_count,
        queues.lane,
        queues.stream_of,
        queues.window,
        plan.first_heir,
        plan.bequeathers,
    )


class _State(NamedTuple):
    """Cells, shape (cells, 4), and of each tensor whether it was used and whom it inherits from."""

    cell: Any
    seen: Any
    inherited: Any


@lean
def _inherit(
    t: Any, heirs: Any, grid: Any, state: Any, lists: Any, waits: Any, legacy: Any
) -> None:
    """Lists everybody who used the memory that tensor t takes over."""
    mark = -2 - t
    start = used = lists.counters[LEGACY]
    for b in heirs:
        whole = True
        for c in range(grid[b, FIRST], grid[b, FIRST] + grid[b, COUNT]):
            cell = state.cell[c]
            whole = whole and cell[STATE] & IS_WRITTEN != 0
            used = collect(cell[READERS], lists, mark, 0, waits, legacy, used)
            if cell[READERS] < 0:
                used = collect(cell[WRITERS], lists, mark, 0, waits, legacy, used)
        if not whole:  # who used b's memory before b was not waited for by all of it
            for k in range(state.inherited[b, 0], state.inherited[b, 1]):
                used = note(legacy[k], mark, 0, waits, legacy, used)
    used = flush(0, False, waits, legacy, used)
    state.inherited[t, 0] = start
    state.inherited[t, 1] = lists.counters[LEGACY] = used


@inlined
def _before_writing(
    c: Any, t: Any, i: Any, stream: Any, state: Any, lists: Any, waits: Any, legacy: Any,
    found: Any, count: Any,
) -> Any:  # fmt: skip
    """Collects whom a write to a cell waits for."""
    cell = state.cell[c]
    fresh = cell[STATE] & IS_WRITTEN == 0
    if waits.lane[i] == _MATMUL_LANE and cell[STATE] & GROUPED and cell[READERS] < 0:
        head = cell[BEFORE]
        fresh = cell[STATE] & OPENED_FRESH != 0
    else:
        head = cell[READERS] if cell[READERS] >= 0 else cell[WRITERS]
    count = collect(head, lists, i, stream, waits, found, count)
    if fresh:
        for k in range(state.inherited[t, 0], state.inherited[t, 1]):
            count = note(legacy[k], i, stream, waits, found, count)
    return count


@inlined
def _write(cell: Any, i: Any, replaces: Any, lists: Any, lane: Any) -> None:
    """Makes i the writer of a cell, or one of the group that writes it."""
    matmul = lane[i] == _MATMUL_LANE
    if matmul and cell[STATE] & GROUPED and cell[READERS] < 0:
        cell[WRITERS] = add(i, replaces, cell[WRITERS], lists, lane)
        return
    release(cell[BEFORE], lists)
    cell[BEFORE] = -1
    if matmul and cell[READERS] >= 0:
        cell[BEFORE] = cell[READERS]
        release(cell[WRITERS], lists)
    elif matmul:
        cell[BEFORE] = cell[WRITERS]
    else:
        release(cell[READERS], lists)
        release(cell[WRITERS], lists)
    cell[READERS] = -1
    cell[WRITERS] = push(i, -1, lists)
    first = OPENED_FRESH if cell[STATE] & IS_WRITTEN == 0 else 0
    cell[STATE] = IS_WRITTEN | ((GROUPED | first) if matmul else 0)


@compiled
def _start(n: Any, cell_count: Any, tensors: Any, lane: Any, stream_of: Any, window: Any) -> Any:
    """Returns the state before the first instruction."""
    state = _State(
        np.full((cell_count, 4), -1, np.int32),
        np.zeros(tensors, np.bool_),
        np.zeros((tensors, 2), np.int32),
    )
    state.cell[:, STATE] = 0
    lanes = len(stream_of)
    in_order = np.empty(lanes, np.bool_)
    for q in range(lanes):
        in_order[q] = window[stream_of[q]] == 1
    waits = Waits(
        lane,
        in_order,
        np.full(lanes + 1, -1, np.int32),
        np.full((len(window), lanes), -1, np.int32),
        np.full(1 if in_order.all() else n, -1, np.int32),
    )
    lists = Lists(np.empty(4096, np.int32), np.empty(4096, np.int32), np.array([-1, 0, 0, 0]))
    return state, waits, lists


@inlined
def _wait(
    i: Any, spans: Any, many: Any, stream: Any, state: Any, lists: Any, waits: Any, legacy: Any,
    found: Any,
) -> None:  # fmt: skip
    """Adds what instruction i waits for to `found`."""
    count = lists.counters[FOUND]
    for k in range(many):
        t, mode, first, high, wide = spans[k, 0], spans[k, 1], spans[k, 2], spans[k, 3], spans[k, 4]
        for _ in range(high):
            for c in range(first, first + wide):
                if mode == READ:
                    head = state.cell[c, WRITERS]
                    count = collect(head, lists, i, stream, waits, found, count)
                else:
                    count = _before_writing(
                        c, t, i, stream, state, lists, waits, legacy, found, count
                    )
            first += spans[k, 5]
    remembers = waits.in_order[stream]
    lists.counters[FOUND] = flush(stream, remembers, waits, found, count)


@inlined
def _use(i: Any, spans: Any, many: Any, state: Any, lists: Any, waits: Any) -> None:
    """Enters instruction i into the cells that it reads, then into those that it writes."""
    replaces = waits.in_order[waits.lane[i]]
    for reading in (True, False):
        for k in range(many):
            if (spans[k, 1] == READ) != reading:
                continue
            first = spans[k, 2]
            for _ in range(spans[k, 3]):
                for c in range(first, first + spans[k, 4]):
                    cell = state.cell[c]
                    if reading:
                        cell[READERS] = add(i, replaces, cell[READERS], lists, waits.lane)
                    else:
                        _write(cell, i, replaces, lists, waits.lane)
                first += spans[k, 5]


@inlined
def _resolve(
    i: Any, first_access: Any, accesses: Any, grid: Any, table: Any, state: Any, spans: Any
) -> Any:
    """Finds the cells that instruction i accesses; returns the rectangles and the cells."""
    many = touched = 0
    for a in range(first_access[i], first_access[i + 1]):
        t = accesses[a, TENSOR]
        if grid[t, FIRST] < 0:
            continue
        first, high, wide = np.int64(grid[t, FIRST]), 1, 1
        if grid[t, COUNT] > 1:
            first, high, wide = span(accesses[a], grid[t], table)
        spans[many, 0], spans[many, 1], spans[many, 2] = t, accesses[a, MODE], first
        spans[many, 3], spans[many, 4], spans[many, 5] = high, wide, grid[t, BYTE_CELLS]
        touched += high * wide
        many += 1
    return many, touched


@lean
def _advance(
    i: Any, n: Any, spare: Any, first_access: Any, accesses: Any, grid: Any, table: Any,
    stream_of: Any, first_heir: Any, bequeathers: Any, state: Any, waits: Any, all_of: Any,
    lists: Any, spans: Any, starts: Any, found: Any, legacy: Any,
) -> Any:  # fmt: skip
    """Links instructions from i on; returns where it stopped for want of room, and for how many
    cells.
    """
    counters = lists.counters
    while i < n:
        many, touched = _resolve(i, first_access, accesses, grid, table, state, spans)
        if (
            counters[TOP] + touched > len(lists.next)
            or counters[FOUND] + spare > len(found)
            or counters[LEGACY] + spare * many > len(legacy)
        ):
            return i, touched
        for k in range(many):
            t = spans[k, 0]
            if not state.seen[t]:
                state.seen[t] = True
                if first_heir[t + 1] > first_heir[t]:
                    heirs = bequeathers[first_heir[t] : first_heir[t + 1]]
                    _inherit(t, heirs, grid, state, lists, all_of, legacy)
        stream = stream_of[waits.lane[i]]
        _wait(i, spans, many, stream, state, lists, waits, legacy, found)
        _use(i, spans, many, state, lists, waits)
        i += 1
        starts[i] = counters[FOUND]
    return i, 0


@compiled
def _link(
    first_access: Any, accesses: Any, grid: Any, table: Any, cell_count: Any, lane: Any,
    stream_of: Any, window: Any, first_heir: Any, bequeathers: Any,
) -> Any:  # fmt: skip
    n = len(lane)
    state, waits, lists = _start(n, cell_count, len(grid), lane, stream_of, window)
    all_of = Waits(lane, waits.in_order, waits.latest, waits.waited.copy(), waits.stamp)
    most = 0
    for i in range(n):
        most = max(most, first_access[i + 1] - first_access[i])
    spans = np.empty((most, 6), np.int64)
    starts = np.zeros(n + 1, np.int64)
    found, legacy = np.empty(n + 1024, np.int32), np.empty(4096, np.int32)
    # An instruction waits at most for all before it, on in-order lanes for the last of each.
    spare = len(stream_of) + (0 if len(waits.stamp) == 1 else n)
    i = 0
    while i < n:
        i, touched = _advance(
            i, n, spare, first_access, accesses, grid, table, stream_of, first_heir, bequeathers,
            state, waits, all_of, lists, spans, starts, found, legacy,
        )  # fmt: skip
        if i < n:
            size = lists.counters[TOP] + touched
            lists = Lists(room(lists.instruction, size), room(lists.next, size), lists.counters)
            found = room(found, lists.counters[FOUND] + spare)
            legacy = room(legacy, lists.counters[LEGACY] + spare * most)
    return starts, found[: lists.counters[FOUND]]
