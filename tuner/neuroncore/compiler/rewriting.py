"""What the compiler changes in a program before it is scheduled, as far as the policy says so.

Renaming: a tile allocated inside a loop is a new one whenever it is overwritten as a whole.

Hoisting: what a loop loads alike in every pass is loaded once and kept, with all that is computed
from it alone, as long as SBUF has room for it. Repeated computation that loads nothing stays: so
do the byte and flop counters of published kernels say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.neuroncore.compiler.memory import demand
from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import DmaWork, Engine, Program, Space

__all__ = ["rewrite"]

TENSOR, MODE, ROW_LOW, ROW_HIGH, BYTE_LOW, BYTE_HIGH = range(6)
READ, WRITTEN = 0, 1
Ints = npt.NDArray[np.int64]


def rewrite(program: Program, device: Device, policy: Policy) -> Program:
    """Returns the program as the compiler passes it on."""
    if policy.renames:
        program = _renamed(program)
    if policy.hoists:
        program = _hoisted(program, device)
    return program


def _renamed(program: Program) -> Program:
    looped = np.array([site.looped for site in program.sites], bool)
    may = looped[program.site] & (program.space != Space.HBM)
    tensor, original = _rename(
        program.first_access, program.accesses, program.rows, program.row_bytes, may
    )
    if len(original) == len(program.space):
        return program
    accesses = program.accesses.copy()
    accesses[:, TENSOR] = tensor
    return replace(
        program,
        accesses=accesses,
        space=program.space[original],
        rows=program.rows[original],
        row_bytes=program.row_bytes[original],
        site=program.site[original],
    )


@compiled
def _rename(first_access: Any, accesses: Any, rows: Any, row_bytes: Any, may: Any) -> Any:
    """Returns the tensor of every access, and which tensor each tensor was."""
    tensors = len(may)
    current = np.arange(tensors)
    used = np.zeros(tensors, np.bool_)
    original = np.empty(tensors + len(accesses), np.int64)
    original[:tensors] = np.arange(tensors)
    count = tensors
    out = np.empty(len(accesses), np.int32)
    for i in range(len(first_access) - 1):
        begin, end = first_access[i], first_access[i + 1]
        for a in range(begin, end):
            if accesses[a, 1] == 0:
                out[a] = current[accesses[a, 0]]
        for a in range(begin, end):
            if accesses[a, 1] == 0:
                continue
            t = accesses[a, 0]
            whole = (
                accesses[a, 1] == 1
                and accesses[a, 3] - accesses[a, 2] == rows[t]
                and accesses[a, 5] - accesses[a, 4] == row_bytes[t]
            )
            for other in range(begin, end):  # nor does it read any of it
                whole = whole and (other == a or accesses[other, 0] != t)
            if whole and used[t] and may[t]:
                current[t] = count
                original[count] = t
                count += 1
            out[a] = current[t]
        for a in range(begin, end):
            used[accesses[a, 0]] = True
    return out, original[:count]


def _hoisted(program: Program, device: Device) -> Program:
    loads = np.array(
        [isinstance(work, DmaWork) and work.engine == Engine.LOAD for work in program.works], bool
    )
    looped = np.array([site.looped for site in program.sites], bool)
    loads = loads[program.work_of]
    content, final, complete = _contents(
        program.work_of,
        np.where(loads, -1, program.line_of),
        program.first_access,
        program.accesses,
        program.space == Space.HBM,
    )
    same = _first_alike(program, content, complete, final & looped[program.site])
    repeated = _repeated_loads(loads, program.first_access, program.accesses, same)
    if not repeated.any():
        return program
    place = _together(
        program.first_access, program.accesses, program.site, len(program.sites), repeated
    )
    kept = _kept(program, device, same, repeated, place[program.site])
    if not kept.any():
        return program
    return _without(program, np.where(kept, same, np.arange(len(same))))


@compiled
def _contents(work_of: Any, line_of: Any, first_access: Any, accesses: Any, in_hbm: Any) -> Any:
    """Returns a hash of how each tensor came by its contents, whether it was written before it was
    read, for good, and the instruction that wrote it last.

    Lines count as well as works (-1: they do not): of a sum and a product the works are the same.
    """
    tensors = len(in_hbm)
    complete = np.full(tensors, -1, np.int64)
    content = np.arange(tensors).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    written = np.zeros(tensors, np.bool_)
    read = np.zeros(tensors, np.bool_)
    final = np.ones(tensors, np.bool_)
    for i in range(len(work_of)):
        begin, end = first_access[i], first_access[i + 1]
        inputs = np.uint64(work_of[i] + 1) * np.uint64(0xC2B2AE3D27D4EB4F)
        inputs += np.uint64(line_of[i] + 1)
        for a in range(begin, end):
            t = accesses[a, 0]
            if accesses[a, 1] != 1:  # read, or added to
                inputs = inputs * np.uint64(6364136223846793005) + (
                    content[t] if written[t] or accesses[a, 1] == 0 else np.uint64(1)
                )
            for column in range(1, 6):
                inputs = inputs * np.uint64(0x100000001B3) + np.uint64(accesses[a, column] + 1)
        for a in range(begin, end):
            t = accesses[a, 0]
            if accesses[a, 1] == 0:
                read[t] = True
                continue
            final[t] = final[t] and not read[t]
            before = content[t] if written[t] or in_hbm[t] else np.uint64(7)
            content[t] = (before ^ (inputs + np.uint64(a - begin))) * np.uint64(0xFF51AFD7ED558CCD)
            content[t] ^= content[t] >> np.uint64(29)
            written[t] = True
            complete[t] = i
    return content, final & written, complete


def _first_alike(
    program: Program, content: Any, complete: Ints, final: npt.NDArray[np.bool_]
) -> Ints:
    """Returns for each tensor the first one that is complete with the same contents; itself for
    most.
    """
    same = np.arange(len(content))
    mine = np.flatnonzero(final & (program.space == Space.SBUF))
    mine = mine[np.argsort(complete[mine], kind="stable")]
    keys = np.stack([content[mine], program.row_bytes[mine], program.rows[mine]], axis=1)
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    same[mine] = mine[first[group.ravel()]]
    return same


@compiled
def _repeated_loads(loads: Any, first_access: Any, accesses: Any, same: Any) -> Any:
    """Which tensors a repeated load fills, or what is computed from one."""
    repeated = np.zeros(len(same), np.bool_)
    derived = np.zeros(len(same), np.bool_)  # also where it passes through PSUM
    for i in range(len(loads)):
        from_load = loads[i]
        for a in range(first_access[i], first_access[i + 1]):
            if accesses[a, 1] == 0 and derived[accesses[a, 0]]:
                from_load = True
        for a in range(first_access[i], first_access[i + 1]):
            t = accesses[a, 0]
            if accesses[a, 1] != 0 and from_load:
                repeated[t] = same[t] != t
                derived[t] = derived[t] or same[t] != t or not loads[i]
    return repeated


@compiled
def _together(first_access: Any, accesses: Any, site: Any, sites: Any, repeated: Any) -> Any:
    """Takes out of `repeated` what an instruction writes that must stay for something else.

    Returns for each site the first of those that are decided on together, as one instruction
    writes to all of them.
    """
    changed = True
    while changed:
        changed = False
        for i in range(len(first_access) - 1):
            some, every = False, True
            for a in range(first_access[i], first_access[i + 1]):
                if accesses[a, 1] != 0:
                    some = some or repeated[accesses[a, 0]]
                    every = every and repeated[accesses[a, 0]]
            if some and not every:
                for a in range(first_access[i], first_access[i + 1]):
                    if accesses[a, 1] != 0:
                        repeated[accesses[a, 0]] = False
                changed = True
    first = np.arange(sites)
    changed = True
    while changed:
        changed = False
        for i in range(len(first_access) - 1):
            least = sites
            for a in range(first_access[i], first_access[i + 1]):
                if accesses[a, 1] != 0 and repeated[accesses[a, 0]]:
                    least = min(least, first[site[accesses[a, 0]]])
            for a in range(first_access[i], first_access[i + 1]):
                if accesses[a, 1] != 0 and first[site[accesses[a, 0]]] > least:
                    first[site[accesses[a, 0]]] = least
                    changed = True
    return first


def _kept(
    program: Program,
    device: Device,
    same: Ints,
    repeated: npt.NDArray[np.bool_],
    place: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Decides place by place, what is computed last first, whether SBUF has room to keep it."""
    asked = demand(program, device)
    first, last, room = asked.first, asked.last, asked.room_bytes
    kept = np.zeros(len(same), bool)
    steps = np.zeros(len(program) + 2, np.int64)
    on_chip = (program.space == Space.SBUF) & (last >= 0)
    np.add.at(steps, first[on_chip], room[on_chip])
    np.add.at(steps, last[on_chip] + 1, -room[on_chip])
    live = np.cumsum(steps)
    places = np.unique(place[repeated])
    start = {p: first[repeated & (place == p)].min() for p in places}
    for p in sorted(places, key=lambda p: -int(start[p])):
        group = np.flatnonzero(repeated & (place == p))
        longer = live.copy()
        change = np.zeros_like(steps)
        until = last.copy()
        np.maximum.at(until, same[group], last[group])
        keepers = np.unique(same[group])
        np.add.at(change, last[keepers] + 1, room[keepers])
        np.add.at(change, until[keepers] + 1, -room[keepers])
        np.add.at(change, first[group], -room[group])
        np.add.at(change, last[group] + 1, room[group])
        longer += np.cumsum(change)
        if longer.max() <= device.sbuf.usable_bytes_per_partition:
            kept[group] = True
            live, last = longer, until
    return kept


def _without(program: Program, same: Ints) -> Program:
    """Leaves out what is written to tensors that have a first alike, and what only they used."""
    accesses = program.accesses.copy()
    keep = _needed(program.first_access, accesses, same, program.space == Space.HBM)
    sizes = np.diff(program.first_access)
    keep_access = np.repeat(keep, sizes)
    accesses[:, TENSOR] = same[accesses[:, TENSOR]]
    return replace(
        program,
        work_of=program.work_of[keep],
        line_of=program.line_of[keep],
        first_access=np.concatenate([[0], np.cumsum(sizes[keep])]).astype(np.int64),
        accesses=accesses[keep_access],
    )


@compiled
def _needed(first_access: Any, accesses: Any, same: Any, lasting: Any) -> Any:
    """Walks backwards: an instruction stays if somebody reads what it writes, or it lasts."""
    count = len(first_access) - 1
    was_read = np.zeros(len(same), np.bool_)
    for a in range(len(accesses)):
        if accesses[a, 1] == 0:
            was_read[accesses[a, 0]] = True
    read = np.zeros(len(same), np.bool_)
    keep = np.zeros(count, np.bool_)
    for i in range(count - 1, -1, -1):
        for a in range(first_access[i], first_access[i + 1]):
            t = accesses[a, 0]
            if accesses[a, 1] != 0 and same[t] == t and (lasting[t] or read[t] or not was_read[t]):
                keep[i] = True
        if keep[i]:
            for a in range(first_access[i], first_access[i + 1]):
                if accesses[a, 1] == 0:
                    read[same[accesses[a, 0]]] = True
    return keep
