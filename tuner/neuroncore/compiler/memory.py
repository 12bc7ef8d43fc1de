"""Gives every tensor of a program its memory, or says why there is not enough.

Verdict: the live tensors (from first to last access, in program order) must fit at every instant.
SBUF is counted in bytes per partition; a PSUM tensor takes whole banks side by side.
Rotation: an allocation inside a loop gets up to `Policy.rotation_depth` times the buffers that are
live at once, then reuses the oldest; one outside all loops gets what is live at once. Who takes
over whose memory is the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import TENSOR, Program, Space

__all__ = [
    "CapacityError",
    "Demand",
    "MemoryPlan",
    "capacity_error",
    "demand",
    "live_ranges",
    "plan_memory",
]

Ints = npt.NDArray[np.int64]

SBUF_ALIGNMENT = 4
PIECES_SEEN = 64
HBM, SBUF, PSUM = (int(space) for space in Space)
FRESH, BUSY = -1, 1 << 40  # of a bank; in between: the event that freed it


class CapacityError(Exception):
    """A program needs more memory than the core has.

    Attributes:
        space: SBUF or PSUM.
        asked_bytes: Bytes per partition that are live at once, at most; where `apart`, of the one
            tensor that finds no place.
        available_bytes: Bytes per partition there are; where `apart`, that are free.
        apart: There are enough free banks, but not side by side.
    """

    def __init__(
        self,
        space: Space,
        asked_bytes: int,
        available_bytes: int,
        largest: str,
        apart: bool = False,
    ) -> None:
        asked = "asked side by side" if apart else "asked"
        available = "free, but apart" if apart else "available"
        super().__init__(
            f"out of memory in {space.name}: {asked_bytes} bytes per partition {asked}, "
            f"{available_bytes} {available}; largest: {largest}"
        )
        self.space = space
        self.asked_bytes = asked_bytes
        self.available_bytes = available_bytes
        self.apart = apart


class Demand(NamedTuple):
    """What a program asks of the memory on chip, before anything is placed.

    Attributes:
        first: Shape (tensors,): first instruction that touches each; instructions, if none does.
        last: Shape (tensors,): the last; -1, if none does.
        events: The tensors on chip that are touched, twice each, in program order: t where it
            comes, ~t where it goes.
        room_bytes: Shape (tensors,): bytes per partition that each takes, aligned or whole banks.
        peak_bytes: Shape (3,), by Space: most bytes per partition live at once.
        peak_at: Shape (3,), by Space: the first instruction where so much is live; -1: none.
        most: Shape (sites,): tensors of each site that are live at once, at most.
    """

    first: Ints
    last: Ints
    events: npt.NDArray[np.int32]
    room_bytes: Ints
    peak_bytes: Ints
    peak_at: Ints
    most: Ints


@dataclass(frozen=True)
class MemoryPlan:
    """Where tensors lie, and from whom they take over memory.

    Attributes:
        first_heir: Shape (tensors + 1,): tensor t takes over from
            `bequeathers[first_heir[t]:first_heir[t+1]]`.
        bequeathers: Tensors whose memory is taken over.
        first_bank: Shape (tensors,): the first of each PSUM tensor's banks; -1 for all others.
        sbuf_peak_bytes: Most bytes per partition live at once in SBUF.
        psum_peak_bytes: The same in PSUM, in whole banks.
    """

    first_heir: Ints
    bequeathers: Ints
    first_bank: Ints
    sbuf_peak_bytes: int
    psum_peak_bytes: int


def live_ranges(program: Program) -> tuple[Ints, Ints]:
    """Returns the first and last instruction that touch each tensor; untouched ones get (n, -1)."""
    first, last = _live_ranges(program.first_access, program.accesses, len(program.space))
    return first, last


def demand(program: Program, device: Device) -> Demand:
    """Returns what a program asks of the memory on chip."""
    units = np.array([1, SBUF_ALIGNMENT, device.psum.bank_bytes_per_partition])
    first, last = live_ranges(program)
    events = _events(first, last, program.space, len(program))
    measured = _measure(
        events, first, program.space, program.row_bytes, program.site, len(program.sites), units
    )
    return Demand(first, last, events, *measured)


def plan_memory(program: Program, device: Device, policy: Policy) -> MemoryPlan:
    """Allocates the tensors of a program.

    Where `policy.on_overflow` is "ignore", tensors are placed as if memory were doubled until they
    fit; the plan's peaks are true all the same.

    Raises:
        CapacityError: What is live at once does not fit; names the numbers and the largest tensors.
    """
    asked = demand(program, device)
    ignores = policy.on_overflow == "ignore"
    sbuf_bytes = device.sbuf.usable_bytes_per_partition
    for space, available in ((SBUF, sbuf_bytes), (PSUM, device.psum.bytes_per_partition)):
        if asked.peak_bytes[space] > available and not ignores:
            live = _live(program, asked, space, int(asked.peak_at[space]))
            raise capacity_error(program, asked, live, int(asked.peak_bytes[space]), available)
    while sbuf_bytes < asked.peak_bytes[SBUF]:
        sbuf_bytes *= 2
    buffers = _buffers(program, asked, policy)
    in_sbuf = _rotate(
        asked.events, program.space, asked.room_bytes, program.site, buffers, sbuf_bytes
    )
    first_bank, in_psum = _psum(program, asked, device, buffers, ignores)
    first_heir, bequeathers = _by_heir(in_sbuf, in_psum, len(program.space))
    return MemoryPlan(
        first_heir=first_heir,
        bequeathers=bequeathers,
        first_bank=first_bank,
        sbuf_peak_bytes=int(asked.peak_bytes[SBUF]),
        psum_peak_bytes=int(asked.peak_bytes[PSUM]),
    )


def capacity_error(
    program: Program,
    asked: Demand,
    tensors: Ints,
    asked_bytes: int,
    available_bytes: int,
    apart: bool = False,
) -> CapacityError:
    """Returns the error for tensors that cannot be in a memory together; names the largest."""
    biggest = tensors[np.argsort(-asked.room_bytes[tensors], kind="stable")][:3]
    sites = [program.sites[program.site[t]] for t in biggest]
    largest = ", ".join(
        f"{site.name or 'tensor'} {asked.room_bytes[t]} ({site.place})"
        for t, site in zip(biggest, sites, strict=True)
    )
    space = Space(program.space[tensors[0]])
    return CapacityError(space, asked_bytes, available_bytes, largest, apart)


def _live(program: Program, asked: Demand, space: int, at: int) -> Ints:
    """Returns the tensors of a space that are live at an instruction."""
    return np.nonzero((asked.first <= at) & (asked.last >= at) & (program.space == space))[0]


def _buffers(program: Program, asked: Demand, policy: Policy) -> Ints:
    """Returns how many buffers each site may use, memory permitting."""
    looped = np.array([site.looped for site in program.sites], bool)
    rotating = np.maximum(policy.rotation_depth * asked.most, policy.buffers_min)
    return np.where(looped, rotating, asked.most)


def _psum(
    program: Program, asked: Demand, device: Device, buffers: Ints, ignores: bool
) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Returns every tensor's first bank, and who took over from whom, as rows of pairs."""
    bank_bytes = device.psum.bank_bytes_per_partition
    banks = device.psum.banks
    packed = False
    while True:
        first_bank, pairs, lost, free_banks = _place(
            asked.events,
            program.space,
            asked.room_bytes // bank_bytes,
            program.site,
            buffers,
            banks,
            packed,
        )
        if lost < 0:
            return first_bank, pairs
        if packed and not ignores:
            live = _live(program, asked, PSUM, int(asked.first[lost]))
            room, free = int(asked.room_bytes[lost]), int(free_banks) * bank_bytes
            raise capacity_error(program, asked, live, room, free, apart=True)
        # Rotation may have scattered what is live: once more without, before anything is refused.
        banks = 2 * banks if packed else banks
        packed = not packed


@compiled
def _live_ranges(first_access: Any, accesses: Any, tensors: Any) -> Any:
    count = len(first_access) - 1
    first = np.full(tensors, count, np.int64)
    last = np.full(tensors, -1, np.int64)
    for i in range(count):
        for k in range(first_access[i], first_access[i + 1]):
            t = accesses[k, TENSOR]
            if last[t] < 0:
                first[t] = i
            last[t] = i
    return first, last


@compiled
def _events(first: Any, last: Any, space: Any, count: Any) -> Any:
    """Orders the comings and goings; of one instruction all come before any goes, by number."""
    comes = np.full(count, -1, np.int32)  # the first of the tensors that come with an instruction
    goes = np.full(count, -1, np.int32)
    next_comes = np.empty(len(space), np.int32)
    next_goes = np.empty(len(space), np.int32)
    total = 0
    for t in range(len(space) - 1, -1, -1):
        if last[t] >= 0 and space[t] != HBM:
            next_comes[t], comes[first[t]] = comes[first[t]], t
            next_goes[t], goes[last[t]] = goes[last[t]], t
            total += 2
    events = np.empty(total, np.int32)
    at = 0
    for i in range(count):
        t = comes[i]
        while t >= 0:
            events[at] = t
            at += 1
            t = next_comes[t]
        t = goes[i]
        while t >= 0:
            events[at] = ~t
            at += 1
            t = next_goes[t]
    return events


@compiled
def _measure(
    events: Any, first: Any, space: Any, row_bytes: Any, site: Any, sites: Any, units: Any
) -> Any:
    """Adds up what is live; the last four fields of `Demand`."""
    room = np.empty(len(space), np.int64)
    for t in range(len(space)):
        room[t] = -(-row_bytes[t] // units[space[t]]) * units[space[t]]
    live, peak, peak_at = np.zeros(3, np.int64), np.zeros(3, np.int64), np.full(3, -1, np.int64)
    live_of, most = np.zeros(sites, np.int64), np.zeros(sites, np.int64)
    for event in events:
        t = max(event, ~event)
        where, whose = space[t], site[t]
        if event < 0:
            live[where] -= room[t]
            live_of[whose] -= 1
            continue
        live[where] += room[t]
        if live[where] > peak[where]:
            peak[where], peak_at[where] = live[where], first[t]
        live_of[whose] += 1
        most[whose] = max(most[whose], live_of[whose])
    return room, peak, peak_at, most


@compiled
def _rotate(events: Any, space: Any, room: Any, site: Any, buffers: Any, fresh: Any) -> Any:
    """Hands out SBUF: a site's fresh buffers first, then its oldest freed memory, then fresh
    memory, then the oldest freed piece of anybody that is enough, then whatever was freed first.
    Returns who took over from whom, as rows of pairs.
    """
    made = np.zeros(len(buffers), np.int64)
    left = room.copy()  # of a freed tensor's bytes
    freed, n_freed, oldest = np.empty(len(events), np.int32), 0, 0
    own, own_last = np.full(len(buffers), -1, np.int32), np.empty(len(buffers), np.int32)
    own_next = np.full(len(space), -1, np.int32)
    pairs, n_pairs = np.empty((len(events), 2), np.int32), 0  # each uses up a piece or a need
    for event in events:
        t = max(event, ~event)
        s, need = site[t], room[t]
        if space[t] != SBUF:
            continue
        if event < 0:
            freed[n_freed] = t
            n_freed += 1
            if own[s] < 0:
                own[s] = t
            else:
                own_next[own_last[s]] = t
            own_last[s] = t
            continue
        if made[s] < buffers[s] and fresh >= need:
            made[s] += 1
            fresh -= need
            continue
        while need > 0 and own[s] >= 0:
            need, n_pairs = _take(t, own[s], need, left, pairs, n_pairs)
            if left[own[s]] == 0:
                own[s] = own_next[own[s]]
        given = min(need, fresh)
        fresh, need = fresh - given, need - given
        if need > 0:
            piece = _large_enough(need, freed, oldest, n_freed, left)
            if piece >= 0:
                need, n_pairs = _take(t, piece, need, left, pairs, n_pairs)
        while need > 0:
            need, n_pairs = _take(t, freed[oldest], need, left, pairs, n_pairs)
            oldest += left[freed[oldest]] == 0
    return pairs[:n_pairs]


@compiled
def _large_enough(need: Any, freed: Any, oldest: Any, n_freed: Any, left: Any) -> Any:
    """Returns the oldest freed piece that is enough by itself, -1 if none of the next few is.

    Else large tiles would use up the buffers of small ones, which then could not rotate.
    """
    seen = 0
    for k in range(oldest, n_freed):
        if left[freed[k]] >= need:
            return freed[k]
        seen += left[freed[k]] > 0
        if seen == PIECES_SEEN:
            break
    return -1


@compiled
def _take(heir: Any, piece: Any, need: Any, left: Any, pairs: Any, n_pairs: Any) -> Any:
    """Takes what is left of a freed tensor, as far as needed; returns the rest of the need."""
    taken = min(left[piece], need)
    if taken > 0:
        pairs[n_pairs, 0], pairs[n_pairs, 1] = heir, piece
        n_pairs += 1
    left[piece] -= taken
    return need - taken, n_pairs


@compiled
def _place(
    events: Any, space: Any, width: Any, site: Any, buffers: Any, banks: Any, packed: Any
) -> Any:
    """Gives every PSUM tensor its banks, in rotation or packed.

    Returns the first banks, who took over from whom, the tensor that finds no place (-1: all do),
    and how many banks were free then.
    """
    made = np.zeros(len(buffers), np.int64)
    holder = np.full(banks, -1, np.int32)
    freed = np.full(banks, FRESH, np.int64)
    first_bank = np.full(len(space), -1, np.int64)
    total = 0
    for event in events:
        if event >= 0 and space[event] == PSUM:
            total += width[event]
    pairs, n_pairs = np.empty((total, 2), np.int32), 0
    for e in range(len(events)):
        t = max(events[e], ~events[e])
        if space[t] != PSUM:
            continue
        if events[e] < 0:
            freed[first_bank[t] : first_bank[t] + width[t]] = e
            continue
        grows = made[site[t]] < buffers[site[t]]
        at = _choose(width[t], site[t], holder, freed, site, grows, packed)
        if at < 0:
            return first_bank, pairs[:n_pairs], t, np.sum(freed != BUSY)
        first_bank[t] = at
        made[site[t]] += np.all(freed[at : at + width[t]] == FRESH)
        for b in range(at, at + width[t]):
            if holder[b] >= 0 and (b == at or holder[b] != holder[b - 1]):
                pairs[n_pairs, 0], pairs[n_pairs, 1] = t, holder[b]
                n_pairs += 1
        holder[at : at + width[t]], freed[at : at + width[t]] = t, BUSY
    return first_bank, pairs[:n_pairs], -1, 0


@compiled
def _choose(
    width: Any, whose: Any, holder: Any, freed: Any, site: Any, grows: Any, packed: Any
) -> Any:
    """Returns the first of the free banks side by side that suit best; -1: there are none.

    In rotation: as `_rotate`. Packed: the lowest; single banks the highest, so as not to cut up
    what wide tensors need.
    """
    best, best_rank = -1, BUSY * 8
    for at in range(len(freed) - width + 1):
        newest, own = FRESH, True
        for b in range(at, at + width):
            newest = max(newest, freed[b])
            own = own and holder[b] >= 0 and site[holder[b]] == whose
        if newest == BUSY:
            continue
        if packed:
            rank = at if width > 1 else -at
        elif newest == FRESH:
            rank = 0 if grows else 2 * BUSY
        else:
            rank = newest + (BUSY if own else 3 * BUSY)
        if rank < best_rank:
            best, best_rank = at, rank
    return best


@compiled
def _by_heir(in_sbuf: Any, in_psum: Any, tensors: Any) -> Any:
    """Gathers the pairs (heir, bequeather) by heir."""
    first = np.zeros(tensors + 1, np.int64)
    for pairs in (in_sbuf, in_psum):
        for k in range(len(pairs)):
            first[pairs[k, 0] + 1] += 1
    first = np.cumsum(first)
    filled = first.copy()
    bequeathers = np.empty(first[-1], np.int64)
    for pairs in (in_sbuf, in_psum):
        for k in range(len(pairs)):
            bequeathers[filled[pairs[k, 0]]] = pairs[k, 1]
            filled[pairs[k, 0]] += 1
    return first, bequeathers
