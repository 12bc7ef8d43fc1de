"""Which instructions must be done before another may start.

Read after write, write after read and write after write, byte range by byte range. Matmuls that
write the same
PSUM bytes in a row form an accumulation group: they wait for whoever used the bytes before the
group, not for each other; a reader waits for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.neuroncore.memory import MemoryPlan
from tuner.neuroncore.program import Engine, Program, Space

__all__ = ["dependences"]

Ints = npt.NDArray[np.int64]


def dependences(program: Program, plan: MemoryPlan) -> tuple[Ints, Ints]:
    """Returns (starts, predecessors): instruction i waits for
    `predecessors[starts[i]:starts[i+1]]`.

    Every predecessor comes earlier in the program. HBM tensors take part only where the program
    both writes and reads them.
    """
    first_cell, last_cell, tensor_cell = _cells(program)
    is_matmul = program.engine_of() == Engine.TENSOR
    starts, predecessors = _link(
        program.operands,
        program.ranges[:, 0].copy(),
        first_cell,
        last_cell,
        tensor_cell,
        is_matmul,
        plan.first_heir,
        plan.bequeathers,
    )
    return starts, predecessors


def _cells(program: Program) -> tuple[Ints, Ints, Ints]:
    """Cuts each tensor at every byte where an access begins or ends; accesses then cover whole
    cells.
    """
    tensor, low, high = program.ranges.T if len(program.ranges) else np.empty((3, 0), np.int64)
    tracked = _tracked(program)[tensor]
    span = int(high.max(initial=0)) + 1
    cuts = np.unique(
        np.concatenate([tensor * span + low, tensor * span + high])[np.tile(tracked, 2)]
    )
    # The cell that begins at a tensor's last cut is empty; it does no harm.
    tensor_cell = np.searchsorted(cuts, np.arange(len(program.tensors) + 1) * span)
    first = np.where(tracked, np.searchsorted(cuts, tensor * span + low), 0)
    last = np.where(tracked, np.searchsorted(cuts, tensor * span + high), 0)
    return first.astype(np.int64), last.astype(np.int64), tensor_cell.astype(np.int64)


def _tracked(program: Program) -> npt.NDArray[np.bool_]:
    written = np.zeros(len(program.tensors), bool)
    read = np.zeros(len(program.tensors), bool)
    writes = program.operands[:, 0]
    reads = program.operands[:, 1:].ravel()
    written[program.ranges[writes[writes >= 0], 0]] = True
    read[program.ranges[reads[reads >= 0], 0]] = True
    on_chip = np.array([info.space != Space.HBM for info in program.tensors], bool)
    return on_chip | (written & read)


@compiled
def _push(instruction: Any, head: Any, node_instruction: Any, node_next: Any, used: Any) -> Any:
    """Puts an instruction before a list; lists share their tails and are never changed."""
    if used == len(node_instruction):
        node_instruction = np.concatenate((node_instruction, np.empty_like(node_instruction)))
        node_next = np.concatenate((node_next, np.empty_like(node_next)))
    node_instruction[used] = instruction
    node_next[used] = head
    return used, node_instruction, node_next, used + 1


@compiled
def _collect(
    head: Any, i: Any, node_instruction: Any, node_next: Any, stamp: Any, found: Any, count: Any
) -> Any:
    """Adds a list's instructions to what instruction i waits for, each once."""
    node = head
    while node >= 0:
        p = node_instruction[node]
        if p != i and stamp[p] != i:
            stamp[p] = i
            if count == len(found):
                found = np.concatenate((found, np.empty_like(found)))
            found[count] = p
            count += 1
        node = node_next[node]
    return found, count


@compiled
def _take_over(
    t: Any,
    heirs: Any,
    tensor_cell: Any,
    writers: Any,
    readers: Any,
    inherited: Any,
    stamp: Any,
    node_instruction: Any,
    node_next: Any,
    used: Any,
) -> Any:
    """Makes a list of everybody who used the memory that tensor t takes over from `heirs`."""
    head = -1
    for b in heirs:
        for cell in range(tensor_cell[b], tensor_cell[b + 1]):
            if writers[cell] < 0 and readers[cell] == inherited[b]:
                continue  # not used since: those who used b waited for that list
            for source in (writers[cell], readers[cell]):
                node = source
                while node >= 0:
                    p = node_instruction[node]
                    if stamp[p] != t:
                        stamp[p] = t
                        head, node_instruction, node_next, used = _push(
                            p, head, node_instruction, node_next, used
                        )
                    node = node_next[node]
    return head, node_instruction, node_next, used


@compiled
def _link(
    operands: Any,
    tensor_of: Any,
    first_cell: Any,
    last_cell: Any,
    tensor_cell: Any,
    is_matmul: Any,
    first_heir: Any,
    bequeathers: Any,
) -> Any:
    n = len(operands)
    cells = tensor_cell[-1]
    writers = np.full(cells, -1, np.int64)  # list of writers since the last change of hands
    readers = np.full(cells, -1, np.int64)  # list of readers since those wrote
    before = np.full(cells, -1, np.int64)  # what a group of accumulating matmuls waits for
    grouped = np.zeros(cells, np.bool_)
    seen = np.zeros(len(tensor_cell) - 1, np.bool_)
    inherited = np.full(len(seen), -1, np.int64)  # list that a tensor's cells began with
    node_instruction = np.empty(4 * n + 64, np.int64)
    node_next = np.empty(4 * n + 64, np.int64)
    used = 0
    stamp = np.full(n, -1, np.int64)
    inherited_stamp = np.full(n, -1, np.int64)
    starts = np.zeros(n + 1, np.int64)
    found = np.empty(4 * n + 64, np.int64)
    count = 0
    for i in range(n):
        for column in range(operands.shape[1]):
            r = operands[i, column]
            if r < 0 or seen[tensor_of[r]]:
                continue
            t = tensor_of[r]  # its first access: the memory may have been another's
            seen[t] = True
            heirs = bequeathers[first_heir[t] : first_heir[t + 1]]
            inherited[t], node_instruction, node_next, used = _take_over(
                t,
                heirs,
                tensor_cell,
                writers,
                readers,
                inherited,
                inherited_stamp,
                node_instruction,
                node_next,
                used,
            )
            if inherited[t] >= 0:
                readers[tensor_cell[t] : tensor_cell[t + 1]] = inherited[t]
        for column in range(1, operands.shape[1]):
            r = operands[i, column]
            if r >= 0:
                for cell in range(first_cell[r], last_cell[r]):
                    found, count = _collect(
                        writers[cell], i, node_instruction, node_next, stamp, found, count
                    )
        written = operands[i, 0]
        if written >= 0:
            for cell in range(first_cell[written], last_cell[written]):
                joins = is_matmul[i] and grouped[cell] and readers[cell] < 0
                if joins:
                    head = before[cell]
                elif readers[cell] >= 0:
                    head = readers[cell]
                else:
                    head = writers[cell]
                found, count = _collect(head, i, node_instruction, node_next, stamp, found, count)
        for column in range(1, operands.shape[1]):
            r = operands[i, column]
            if r >= 0:
                for cell in range(first_cell[r], last_cell[r]):
                    readers[cell], node_instruction, node_next, used = _push(
                        i, readers[cell], node_instruction, node_next, used
                    )
        if written >= 0:
            for cell in range(first_cell[written], last_cell[written]):
                joins = is_matmul[i] and grouped[cell] and readers[cell] < 0
                if not joins:
                    before[cell] = readers[cell] if readers[cell] >= 0 else writers[cell]
                    writers[cell] = -1
                grouped[cell] = is_matmul[i]
                readers[cell] = -1
                writers[cell], node_instruction, node_next, used = _push(
                    i, writers[cell], node_instruction, node_next, used
                )
        starts[i + 1] = count
    return starts, found[:count]
