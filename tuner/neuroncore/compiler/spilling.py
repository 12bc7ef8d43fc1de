"""What a compiler does with tiles that do not fit in SBUF: it sends them to HBM and back.

In program order, an instruction that needs room evicts the tensors whose contents are needed last
(Belady). Contents without a copy in HBM are stored first; the next access loads them into a new
tensor, just before the instruction. What was loaded as it is from a tensor that the kernel never
writes is not stored but read from there again; was it not used in between, it is read then only.
Of those the one goes that was used longest ago, so that the next can be loaded well ahead.
Source: the profiler's spill bytes, AWS NKI performance guide; which tensors it picks is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.neuroncore.compiler.memory import Demand, capacity_error, demand
from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import (
    BYTE_HIGH,
    BYTE_LOW,
    MODE,
    READ,
    ROW_HIGH,
    ROW_LOW,
    TENSOR,
    WRITTEN,
    DmaWork,
    Engine,
    Program,
    Space,
    Work,
)

__all__ = ["Spilled", "spill"]

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

SBUF = int(Space.SBUF)
AT, TILE, COPY, KIND = range(4)  # columns of the transfers
ORIGIN, IN_HBM = range(2)  # columns of the new tensors
NOWHERE, USELESS, SOURCE = -1, -2, -3  # instead of a copy in HBM
STORE, RELOAD, REREAD = range(3)  # kinds of transfers


@dataclass(frozen=True)
class Spilled:
    """A program whose tiles fit in SBUF.

    Attributes:
        program: With the transfers to HBM and back; the one given, if it fits as it is.
        saved_bytes: Bytes that these transfers store.
        reloaded_bytes: Bytes of those that they load.
        reread_bytes: Bytes that they read again from where they came.
    """

    program: Program
    saved_bytes: int
    reloaded_bytes: int
    reread_bytes: int


class _Transfers(NamedTuple):
    """What is to be inserted.

    Attributes:
        at: Shape (transfers,): the instruction that each comes before.
        tile: Shape (transfers,): the tensor in SBUF.
        copy: Shape (transfers,): the one in HBM; of a REREAD, the instruction that loaded it.
        kind: Shape (transfers,): STORE, RELOAD or REREAD.
        origin: Shape (tensors + new tensors,): which of the program's own each continues.
        in_hbm: Shape (new tensors,): each is a copy in HBM.
        tensor: Shape (accesses,): the tensors that the program's own accesses now refer to.
        late: Shape (instructions,): loads that nothing used before they were evicted.
    """

    at: Numbers
    tile: Numbers
    copy: Numbers
    kind: Numbers
    origin: Numbers
    in_hbm: npt.NDArray[np.bool_]
    tensor: Numbers
    late: npt.NDArray[np.bool_]


class _Tracked(NamedTuple):
    """What the walk knows of each tensor, and what it has written down.

    Attributes:
        number: Its number now; -1: it was not accessed yet.
        resident: It is in SBUF.
        copy: The tensor in HBM that holds its contents, NOWHERE, USELESS or SOURCE.
        load: The instruction that loaded it, where its copy is the SOURCE.
        unused: Nothing read it since.
        late: Of each instruction: a load that nothing used before it was evicted.
        needed: When its contents are needed next, as `_next_needed`.
        used: When it was accessed last.
        seen: The instruction that accesses it, while that is looked at.
        moves: Rows of transfers.
        made: Rows of new tensors.
        counts: How many transfers, how many new tensors.
    """

    number: Numbers
    resident: npt.NDArray[np.bool_]
    copy: Numbers
    load: Numbers
    unused: npt.NDArray[np.bool_]
    late: npt.NDArray[np.bool_]
    needed: Ints
    used: Ints
    seen: Ints
    moves: Numbers
    made: Numbers
    counts: Ints


def _tracked(tensors: int, accesses: int, instructions: int) -> _Tracked:
    # Each access evicts and brings back one tensor at most; pages that are not used cost nothing.
    return _Tracked(
        number=np.full(tensors, -1, np.int32),
        resident=np.zeros(tensors, bool),
        copy=np.full(tensors, NOWHERE, np.int32),
        load=np.full(tensors, -1, np.int32),
        unused=np.zeros(tensors, bool),
        late=np.zeros(instructions, bool),
        needed=np.full(tensors, -1, np.int64),
        used=np.full(tensors, -1, np.int64),
        seen=np.full(tensors, -1, np.int64),
        moves=np.empty((2 * accesses, 4), np.int32),
        made=np.empty((2 * accesses, 2), np.int32),
        counts=np.zeros(2, np.int64),
    )


def spill(program: Program, device: Device, policy: Policy) -> Spilled:
    """Makes a program fit in SBUF, where the policy spills.

    The instructions of the program keep their order; new tensors are numbered after its own.

    Raises:
        CapacityError: The operands of one instruction do not fit.
    """
    if policy.on_overflow != "spill":
        return Spilled(program, 0, 0, 0)
    available = device.sbuf.usable_bytes_per_partition
    asked = demand(program, device)
    if asked.peak_bytes[SBUF] <= available:
        return Spilled(program, 0, 0, 0)
    transfers = _transfers(program, asked, available)
    origin = transfers.origin[transfers.tile]
    moved = program.rows[origin] * program.row_bytes[origin]
    return Spilled(
        _with_transfers(program, transfers),
        saved_bytes=int(moved[transfers.kind == STORE].sum()),
        reloaded_bytes=int(moved[transfers.kind == RELOAD].sum()),
        reread_bytes=int(moved[transfers.kind == REREAD].sum()),
    )


def _transfers(program: Program, asked: Demand, available: int) -> _Transfers:
    """Returns what to insert so that SBUF holds everything."""
    first_access, accesses = program.first_access, program.accesses
    needed = _next_needed(first_access, accesses, program.rows, program.row_bytes)
    w = _tracked(len(program.space), len(accesses), len(program))
    plain = _plain_loads(program)
    tensor, failed, operand_bytes = _walk(
        first_access, accesses, program.space, asked.room_bytes, needed, plain, available, w
    )
    if failed >= 0:
        touched = np.unique(accesses[first_access[failed] : first_access[failed + 1], TENSOR])
        operands = touched[program.space[touched] == SBUF].astype(np.int64)
        raise capacity_error(program, asked, operands, operand_bytes, available)
    moves, made = w.moves[: w.counts[0]], w.made[: w.counts[1]]
    return _Transfers(
        at=moves[:, AT],
        tile=moves[:, TILE],
        copy=moves[:, COPY],
        kind=moves[:, KIND],
        origin=np.concatenate([np.arange(len(program.space), dtype=np.int32), made[:, ORIGIN]]),
        in_hbm=made[:, IN_HBM] == 1,
        tensor=tensor,
        late=w.late,
    )


def _plain_loads(program: Program) -> npt.NDArray[np.bool_]:
    """Returns which instructions load all of a tile from a tensor that nothing ever writes."""
    accesses = program.accesses
    loads = [isinstance(w, DmaWork) and w.engine == Engine.LOAD for w in program.works]
    plain: npt.NDArray[np.bool_] = np.array(loads, bool)[program.work_of]
    plain &= np.diff(program.first_access) == 2
    written = np.zeros(len(program.space), bool)
    written[accesses[accesses[:, MODE] != READ, TENSOR]] = True
    at = np.flatnonzero(plain)
    to, source = accesses[program.first_access[at]], accesses[program.first_access[at] + 1]
    tall = to[:, ROW_HIGH] - to[:, ROW_LOW] == program.rows[to[:, TENSOR]]
    wide = to[:, BYTE_HIGH] - to[:, BYTE_LOW] == program.row_bytes[to[:, TENSOR]]
    whole = tall & wide & (to[:, MODE] == WRITTEN)
    lasts = (program.space[source[:, TENSOR]] == Space.HBM) & ~written[source[:, TENSOR]]
    plain[at] = whole & lasts & (source[:, MODE] == READ)
    return np.asarray(plain, bool)


def _with_transfers(program: Program, transfers: _Transfers) -> Program:
    """Returns the program with the transfers inserted and the new tensors appended."""
    origin = transfers.origin
    works, work = _works(program, transfers)
    lines, line = _lines(program, origin[transfers.tile])
    moved = transfers.at + np.arange(len(transfers.at))  # where they come to stand
    own = np.ones(len(program) + len(moved), bool)
    own[moved] = False
    counts = np.full(len(own), 2, np.int64)
    counts[own] = np.diff(program.first_access)
    first_access = np.concatenate([[0], np.cumsum(counts)])
    accesses = np.empty((first_access[-1], program.accesses.shape[1]), np.int32)
    own_accesses = np.repeat(own, counts)
    kept = program.accesses.copy()
    kept[:, TENSOR] = transfers.tensor
    accesses[own_accesses] = kept
    accesses[~own_accesses] = _rectangles(program, transfers)
    space = program.space[origin]
    space[len(program.space) :][transfers.in_hbm] = Space.HBM
    stays = np.ones(len(own), bool)
    stays[own] = ~transfers.late
    first_access = np.concatenate([[0], np.cumsum(counts[stays])])
    return replace(
        program,
        works=works,
        work_of=_merged(own, program.work_of, work)[stays],
        lines=lines,
        line_of=_merged(own, program.line_of, line)[stays],
        first_access=first_access,
        accesses=accesses[np.repeat(stays, counts)],
        space=space,
        rows=program.rows[origin],
        row_bytes=program.row_bytes[origin],
        site=program.site[origin],
    )


def _merged(own: npt.NDArray[np.bool_], before: Numbers, inserted: Numbers) -> Numbers:
    merged = np.empty(len(own), np.int32)
    merged[own] = before
    merged[~own] = inserted
    return merged


def _rectangles(program: Program, transfers: _Transfers) -> Numbers:
    """Returns the two accesses of every transfer, shape (2 * transfers, 6): all of a tensor each,
    what is written first.
    """
    tile = transfers.origin[transfers.tile]
    pairs = np.zeros((len(tile), 2, program.accesses.shape[1]), np.int32)
    loads, again = transfers.kind != STORE, transfers.kind == REREAD
    pairs[:, 0, TENSOR] = np.where(loads, transfers.tile, transfers.copy)
    pairs[:, 1, TENSOR] = np.where(loads, transfers.copy, transfers.tile)
    pairs[:, 0, MODE], pairs[:, 1, MODE] = WRITTEN, READ
    pairs[:, :, ROW_HIGH] = program.rows[tile][:, None]
    pairs[:, :, BYTE_HIGH] = program.row_bytes[tile][:, None]
    pairs[again, 1] = program.accesses[program.first_access[transfers.copy[again]] + 1]
    return pairs.reshape(-1, program.accesses.shape[1])


def _works(program: Program, transfers: _Transfers) -> tuple[tuple[Work, ...], Numbers]:
    """Returns all works, with the transfers', and the work of each transfer."""
    tile, kind = transfers.origin[transfers.tile], transfers.kind
    shapes = np.stack([program.rows[tile], program.row_bytes[tile], kind], axis=1)
    shapes, which = np.unique(shapes, axis=0, return_inverse=True)
    works = []
    for rows, row_bytes, how in shapes.tolist():
        total = rows * row_bytes
        works.append(
            DmaWork(
                engine=Engine.STORE if how == STORE else Engine.LOAD,
                partitions=rows,
                runs=1,
                run_bytes=row_bytes,
                rows_contiguous=False,
                read_bytes=0 if how == STORE else total,
                written_bytes=total if how == STORE else 0,
            )
        )
    work = (len(program.works) + which.ravel()).astype(np.int32)
    again = kind == REREAD
    work[again] = program.work_of[transfers.copy[again]]
    return (*program.works, *works), work


def _lines(program: Program, tile: Numbers) -> tuple[tuple[str, ...], Numbers]:
    """Returns all lines, with the transfers', and the line of each transfer."""
    sites, which = np.unique(program.site[tile], return_inverse=True)
    added = [f"spill of {program.sites[s].place}" for s in sites]
    return (*program.lines, *added), (len(program.lines) + which).astype(np.int32)


@compiled
def _next_needed(first_access: Any, accesses: Any, rows: Any, row_bytes: Any) -> Any:
    """Returns for each access when its tensor's contents are needed next.

    That is an instruction; their number, if the next one to access the tensor overwrites all of
    it; -1, if none accesses it.
    """
    count = len(first_access) - 1
    needed = np.full(len(rows), -1, np.int64)
    found = np.empty(len(accesses), np.int64)
    for i in range(count - 1, -1, -1):
        span = range(first_access[i], first_access[i + 1])
        for k in span:
            found[k] = needed[accesses[k, TENSOR]]
        for k in span:
            needed[accesses[k, TENSOR]] = i
        for k in span:
            t = accesses[k, TENSOR]
            tall = accesses[k, ROW_LOW] == 0 and accesses[k, ROW_HIGH] == rows[t]
            wide = accesses[k, BYTE_LOW] == 0 and accesses[k, BYTE_HIGH] == row_bytes[t]
            if accesses[k, MODE] == WRITTEN and tall and wide:
                needed[t] = count
        for k in span:
            if accesses[k, MODE] != WRITTEN:
                needed[accesses[k, TENSOR]] = i
    return found


@compiled
def _make(t: Any, in_hbm: Any, w: Any) -> Any:
    """Returns the number of a new tensor."""
    w.made[w.counts[1], ORIGIN], w.made[w.counts[1], IN_HBM] = t, in_hbm
    w.counts[1] += 1
    return len(w.number) + w.counts[1] - 1


@compiled
def _move(at: Any, t: Any, kind: Any, w: Any) -> Any:
    """Writes a transfer between a tensor and its copy down."""
    move = w.moves[w.counts[0]]
    copy = w.load[t] if kind == REREAD else w.copy[t]
    move[AT], move[TILE], move[COPY], move[KIND] = at, w.number[t], copy, kind
    w.counts[0] += 1


@compiled
def _victim(i: Any, victims: Any, rereadable: Any, w: Any) -> Any:
    """Returns the tensor whose contents are needed last; of what can be read again, the one used
    longest ago.

    Old entries stay in the heaps; an operand gets a new one after its instruction.
    """
    while True:
        entry = heappop(victims)
        needed, t = divmod(-entry, len(w.number))
        if w.resident[t] and w.needed[t] == needed and w.seen[t] != i:
            break
    if w.copy[t] != SOURCE or w.needed[t] == len(w.late):
        return t
    heappush(victims, entry)
    while True:
        used, t = divmod(heappop(rereadable), len(w.number))
        if w.resident[t] and w.copy[t] == SOURCE and w.used[t] == used and w.seen[t] != i:
            return t


@compiled
def _evict(i: Any, t: Any, w: Any) -> None:
    """Sends a tensor out of SBUF."""
    w.resident[t] = False
    if w.needed[t] == len(w.late):  # never: it will be overwritten
        w.copy[t] = USELESS
    elif w.copy[t] == NOWHERE:
        w.copy[t] = _make(t, 1, w)
        _move(i, t, STORE, w)
    elif w.copy[t] == SOURCE and w.unused[t]:
        w.late[w.load[t]] = True


@compiled
def _admit(i: Any, t: Any, w: Any) -> Any:
    """Gives a tensor room in SBUF; if it was there before, under a new number."""
    w.resident[t] = True
    if w.number[t] < 0:
        w.number[t] = t
        return
    w.number[t] = _make(t, 0, w)
    if w.copy[t] != USELESS:
        _move(i, t, REREAD if w.copy[t] == SOURCE else RELOAD, w)


@compiled
def _after(
    i: Any,
    k: Any,
    accesses: Any,
    space: Any,
    room: Any,
    next_needed: Any,
    plain: Any,
    victims: Any,
    rereadable: Any,
    w: Any,
) -> Any:
    """Notes what an access does to its tensor; returns the bytes that are free after the last."""
    t = accesses[k, TENSOR]
    if space[t] != SBUF:
        return 0
    if accesses[k, MODE] == READ:
        w.unused[t] = False
    elif plain[i]:
        w.copy[t], w.load[t], w.unused[t] = SOURCE, i, True
    else:
        w.copy[t] = NOWHERE
    if w.seen[t] < 0:  # the instruction accesses it twice
        return 0
    w.seen[t], w.used[t] = -1, i
    w.needed[t] = next_needed[k]
    if w.needed[t] < 0:
        w.resident[t] = False
        return room[t]
    heappush(victims, -(w.needed[t] * len(w.number) + t))
    if w.copy[t] == SOURCE:
        heappush(rereadable, i * len(w.number) + t)
    return 0


@compiled
def _walk(
    first_access: Any,
    accesses: Any,
    space: Any,
    room: Any,
    next_needed: Any,
    plain: Any,
    capacity: Any,
    w: Any,
) -> Any:
    """Keeps what is in SBUF within `capacity`.

    Returns the tensors that the accesses now refer to, and the instruction whose operands alone do
    not fit (-1: none) with their bytes.
    """
    count = len(first_access) - 1
    tensor = accesses[:, TENSOR].copy()
    victims = [np.int64(0) for _ in range(0)]  # heaps
    rereadable = [np.int64(0) for _ in range(0)]
    used = 0
    for i in range(count):
        operands, asked = 0, 0
        span = range(first_access[i], first_access[i + 1])
        for k in span:
            t = accesses[k, TENSOR]
            if space[t] == SBUF and w.seen[t] != i:
                w.seen[t] = i
                operands += room[t]
                asked += 0 if w.resident[t] else room[t]
        if operands > capacity:
            return tensor, i, operands
        while used + asked > capacity:
            t = _victim(i, victims, rereadable, w)
            used -= room[t]
            _evict(i, t, w)
        used += asked
        for k in span:
            t = accesses[k, TENSOR]
            if space[t] == SBUF:
                if not w.resident[t]:
                    _admit(i, t, w)
                tensor[k] = w.number[t]
        for k in span:
            used -= _after(i, k, accesses, space, room, next_needed, plain, victims, rereadable, w)
    return tensor, -1, 0
