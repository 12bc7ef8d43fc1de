"""Lists of instructions, and what one instruction waits for: the data that links are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tuner.neuroncore.compiled import compiled, inlined, lean

__all__ = [
    "FOUND",
    "FREE",
    "LEGACY",
    "TOP",
    "Lists",
    "Waits",
    "add",
    "collect",
    "flush",
    "note",
    "push",
    "release",
    "room",
]

FREE, TOP, FOUND, LEGACY = range(4)
"""Counters: the first unused node, the first never used, and the ends of `found` and `legacy`."""


class Lists(NamedTuple):
    """Linked lists of instructions; FREE heads the unused nodes, from TOP on none was used."""

    instruction: Any
    next: Any
    counters: Any


class Waits(NamedTuple):
    """What the current instruction waits for.

    `latest` is the last instruction of each in-order lane (its end says if there is any). Of other
    lanes the caller's `found` lists all, each once thanks to `stamp`. `waited` is the last of each
    lane that a stream has waited for.
    """

    lane: Any
    in_order: Any
    latest: Any
    waited: Any
    stamp: Any


@inlined
def push(instruction: Any, head: Any, lists: Any) -> Any:
    """Puts an instruction before a list; returns the new head."""
    node = lists.counters[FREE]
    if node >= 0:
        lists.counters[FREE] = lists.next[node]
    else:
        node = lists.counters[TOP]
        lists.counters[TOP] += 1
    lists.instruction[node] = instruction
    lists.next[node] = head
    return node


@inlined
def add(i: Any, replaces: Any, head: Any, lists: Any, lane: Any) -> Any:
    """Puts i on a list; on an in-order lane it takes the place of the lane's last one."""
    if replaces:
        node = head
        while node >= 0:
            if lane[lists.instruction[node]] == lane[i]:
                lists.instruction[node] = i
                return head
            node = lists.next[node]
    return push(i, head, lists)


@lean
def release(head: Any, lists: Any) -> None:
    """Gives the nodes of a list back."""
    if head < 0:
        return
    last = head
    while lists.next[last] >= 0:
        last = lists.next[last]
    lists.next[last] = lists.counters[FREE]
    lists.counters[FREE] = head


@inlined
def note(p: Any, mark: Any, stream: Any, waits: Any, found: Any, count: Any) -> Any:
    """Notes that the current instruction waits for p."""
    lane = waits.lane[p]
    if waits.in_order[lane]:
        if p > waits.waited[stream, lane] and p > waits.latest[lane]:
            waits.latest[lane] = p
            waits.latest[-1] = 1
    elif waits.stamp[p] != mark:
        waits.stamp[p] = mark
        found[count] = p
        count += 1
    return count


@inlined
def collect(
    head: Any, lists: Any, mark: Any, stream: Any, waits: Any, found: Any, count: Any
) -> Any:
    """Notes that the current instruction waits for all of a list."""
    while head >= 0:
        count = note(lists.instruction[head], mark, stream, waits, found, count)
        head = lists.next[head]
    return count


@inlined
def flush(stream: Any, remembers: Any, waits: Any, found: Any, count: Any) -> Any:
    """Adds the last of each in-order lane; an in-order stream remembers them."""
    if waits.latest[-1] < 0:
        return count
    waits.latest[-1] = -1
    for lane in range(len(waits.latest) - 1):
        p = waits.latest[lane]
        if p >= 0:
            found[count] = p
            count += 1
            waits.latest[lane] = -1
            if remembers:
                waits.waited[stream, lane] = p
    return count


@compiled
def room(array: Any, needed: Any) -> Any:
    """Returns the array, longer where `needed` entries do not fit."""
    if needed <= len(array):
        return array
    longer = np.empty(max(needed, 2 * len(array)), array.dtype)
    longer[: len(array)] = array
    return longer
