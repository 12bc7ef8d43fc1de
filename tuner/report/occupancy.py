"""What of the memory on chip is in use at what time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled, lean
from tuner.neuroncore.compiler.memory import SBUF_ALIGNMENT
from tuner.neuroncore.program import (
    BYTE_HIGH,
    BYTE_LOW,
    MODE,
    READ,
    TENSOR,
    WRITTEN,
    DmaWork,
    Engine,
    Space,
)
from tuner.report.run import Run

__all__ = ["Holding", "Steps", "bank_holdings", "banks_in_use", "in_flight", "sbuf_bytes"]

Ints = npt.NDArray[np.int64]


class Steps(NamedTuple):
    """A quantity over time: `value[k]` from `time[k]` (picoseconds) on, 0 before."""

    time: Ints
    value: Ints


class Holding(NamedTuple):
    """A bank of PSUM, from the write that fills it anew to the last access before the next such.

    Attributes:
        bank: 0 to 7.
        tensor: The tensor whose bytes it holds.
        writer: The instruction that filled it.
        begin: When that was issued, in picoseconds.
        end: When the last access was done.
    """

    bank: int
    tensor: int
    writer: int
    begin: int
    end: int


def sbuf_bytes(run: Run) -> Steps:
    """Returns bytes per partition of all tensors between their first start and last done."""
    program, timeline = run.program, run.timeline
    tensors = len(program.space)
    begin, end = np.full(tensors, -1, np.int64), np.full(tensors, -1, np.int64)
    _spans(program.first_access, program.accesses, timeline.start, timeline.done, begin, end)
    there = (program.space == Space.SBUF) & (end >= 0)
    room = -(-program.row_bytes // SBUF_ALIGNMENT) * SBUF_ALIGNMENT
    return _steps(begin[there], end[there], room[there])


def in_flight(run: Run, direction: Engine) -> Steps:
    """Returns how many transfers into SBUF (LOAD) or into HBM (STORE) are on their way."""
    works = run.program.works
    mine = np.array([isinstance(w, DmaWork) and w.engine == direction for w in works], bool)
    chosen = mine[run.program.work_of] if works else np.zeros(0, bool)
    begin, end = run.timeline.start[chosen], run.timeline.done[chosen]
    return _steps(begin, end, np.ones(len(begin), np.int64))


def banks_in_use(holdings: list[Holding]) -> Steps:
    """Returns how many banks of PSUM hold something."""
    begin = np.array([holding.begin for holding in holdings], np.int64)
    end = np.array([holding.end for holding in holdings], np.int64)
    return _steps(begin, end, np.ones(len(begin), np.int64))


def bank_holdings(run: Run, shown: npt.NDArray[np.bool_] | None = None) -> list[Holding]:
    """Returns who holds which bank of PSUM when, by bank.

    A bank is taken anew by a write that does not accumulate, after something was read from it.

    Args:
        run: The run.
        shown: Shape (instructions,): the others are passed over; None passes over none.
    """
    program, timeline, first_bank = run.program, run.timeline, run.memory.first_bank
    kept = np.ones(len(program), np.bool_) if shown is None else shown
    accesses, bank_bytes = program.accesses, run.device.psum.bank_bytes_per_partition
    writes = accesses[(accesses[:, MODE] == WRITTEN) & (first_bank[accesses[:, TENSOR]] >= 0)]
    most = int(((writes[:, BYTE_HIGH] - 1) // bank_bytes - writes[:, BYTE_LOW] // bank_bytes).sum())
    found = np.empty((most + len(writes), len(Holding._fields)), np.int64)
    banks = int(first_bank.max(initial=-1)) + run.device.psum.banks
    count = _holdings(
        program.first_access,
        accesses,
        kept,
        timeline.start,
        timeline.done,
        first_bank,
        bank_bytes,
        np.full(banks, -1, np.int64),
        np.zeros(banks, np.bool_),
        found,
    )
    ordered = found[:count]
    ordered = ordered[np.lexsort((ordered[:, 3], ordered[:, 0]))]
    return [Holding(*row) for row in ordered.tolist()]


def _steps(begin: Ints, end: Ints, amount: Ints) -> Steps:
    """Adds up what comes and goes; one step for each time at which something changes."""
    time = np.concatenate((begin, end))
    change = np.concatenate((amount, -amount))
    order = np.argsort(time, kind="stable")
    time, value = time[order], np.cumsum(change[order])
    last = np.ones(len(time), bool)
    last[:-1] = time[1:] != time[:-1]
    return Steps(time[last], value[last])


@lean
def _spans(first_access: Any, accesses: Any, start: Any, done: Any, begin: Any, end: Any) -> None:
    for i in range(len(start)):
        for a in range(first_access[i], first_access[i + 1]):
            t = accesses[a, TENSOR]
            if begin[t] < 0 or start[i] < begin[t]:
                begin[t] = start[i]
            end[t] = max(end[t], done[i])


@compiled
def _holdings(
    first_access: Any, accesses: Any, kept: Any, start: Any, done: Any, first_bank: Any,
    bank_bytes: Any, current: Any, was_read: Any, found: Any,
) -> Any:  # fmt: skip
    """Fills in rows of Holding; `current` is each bank's row, `was_read` whether it was read."""
    count = 0
    for i in range(len(kept)):
        if not kept[i]:
            continue
        for a in range(first_access[i], first_access[i + 1]):
            t = accesses[a, TENSOR]
            if first_bank[t] < 0:
                continue
            low = first_bank[t] + accesses[a, BYTE_LOW] // bank_bytes
            high = first_bank[t] + (accesses[a, BYTE_HIGH] - 1) // bank_bytes
            for b in range(low, high + 1):
                row = current[b]
                anew = accesses[a, MODE] == WRITTEN and (row < 0 or was_read[b])
                if anew:
                    since = start[i]
                    if row >= 0:
                        since = max(since, found[row, 4])
                    found[count, 0], found[count, 1], found[count, 2] = b, t, i
                    found[count, 3], found[count, 4] = since, since
                    current[b], was_read[b], row = count, False, count
                    count += 1
                if row >= 0:
                    found[row, 4] = max(found[row, 4], done[i])
                if accesses[a, MODE] == READ:
                    was_read[b] = True
    return count
