"""TensorE: stationary operands behind moving ones, tiles of the array, and the clock's ramp."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tuner.neuroncore.compiled import compiled, inlined, lean
from tuner.neuroncore.costs import QUARTERS, WHOLE_ARRAY

__all__ = ["TensorEngine", "multiply", "multiply_on_tile", "tensor_engine"]

_LONG_AGO = -(1 << 60)

LOADED, MOVE_START, MOVE_END = range(3)
FIRST, LAST, ACTIVE, RAMP_START, NOW = range(5)


class TensorEngine(NamedTuple):
    """State of TensorE, in picoseconds.

    `part` is when the stationary operand of each part of the array is loaded, and when its moving
    one began and ended; row 0 is all of the array while no call occupies less; the last row is
    scratch. `spans` are the times when TensorE was active, apart from each other. `ramp` holds the
    first and last of them inside the window, their sum, when the clock began to rise, and when the
    latest matmul moved.
    """

    part: Any
    spans: Any
    ramp: Any


@compiled
def tensor_engine(instructions: Any) -> Any:
    """Returns TensorE before the first of so many instructions."""
    ramp = np.array([0, -1, 0, _LONG_AGO, 0])
    return TensorEngine(
        np.zeros((QUARTERS + 1, 3), np.int64), np.empty((instructions + 1, 2), np.int64), ramp
    )


@lean
def _stretched(occupied: Any, now: Any, state: Any, p: Any) -> Any:
    """Time of a matmul under the power ramp: slow at first, slow again after TensorE idled."""
    ramp, spans = state.ramp, state.spans
    now = max(now, ramp[NOW])
    ramp[NOW] = now
    since = now - p.ramp_window_ps
    while ramp[FIRST] <= ramp[LAST] and spans[ramp[FIRST], 1] < since:
        ramp[ACTIVE] -= spans[ramp[FIRST], 1] - spans[ramp[FIRST], 0]
        ramp[FIRST] += 1
    active = ramp[ACTIVE]
    if ramp[FIRST] <= ramp[LAST] and spans[ramp[FIRST], 0] < since:
        active -= since - spans[ramp[FIRST], 0]
    rising = now - ramp[RAMP_START]
    if active < p.ramp_threshold * p.ramp_window_ps and rising > p.ramp_hold_ps + p.ramp_rise_ps:
        ramp[RAMP_START] = now
        rising = 0
    taken = occupied
    if rising < p.ramp_hold_ps + p.ramp_rise_ps:
        share = 0.0
        if rising >= p.ramp_hold_ps:
            share = (rising - p.ramp_hold_ps) / p.ramp_rise_ps
        rate = p.ramp_start_fraction + (1.0 - p.ramp_start_fraction) * share
        taken = np.int64(occupied / rate + 0.5)
    return taken


@lean
def _active(begin: Any, end: Any, ramp: Any, spans: Any) -> None:
    """Enters a time of activity; what earlier ones cover counts once."""
    last = ramp[LAST]
    if last >= 0:
        begin = max(begin, spans[last, 1])
        if end <= begin:
            return
    if last >= ramp[FIRST] and begin == spans[last, 1]:
        spans[last, 1] = end
        ramp[ACTIVE] += end - begin
        return
    ramp[LAST] += 1
    spans[ramp[LAST], 0] = begin
    spans[ramp[LAST], 1] = end
    ramp[ACTIVE] += end - begin


@inlined
def _one(at: Any, load: Any, move: Any, part: Any, state: Any, p: Any) -> Any:
    """Runs an instruction on a part of the array; returns when its load began and how long it
    moved.
    """
    load_start = max(at, part[LOADED], part[MOVE_START])
    part[LOADED] = load_start + load
    part[MOVE_START] = max(part[LOADED], part[MOVE_END])
    taken = move
    if p.ramp:
        taken = _stretched(move, part[MOVE_START], state, p)
        _active(part[MOVE_START], part[MOVE_START] + taken, state.ramp, state.spans)
    part[MOVE_END] = part[MOVE_START] + taken
    return load_start, taken


@inlined
def multiply(at: Any, load: Any, move: Any, count: Any, state: Any, p: Any) -> Any:
    """Runs the instructions of a matmul on the whole array.

    Returns:
        How long it moved; when TensorE takes the next one; when it is through.
    """
    busy = 0
    for _ in range(count):
        busy += _one(at, load, move, state.part[0], state, p)[1]
    return busy, state.part[0, MOVE_START], state.part[0, MOVE_END]


@lean
def multiply_on_tile(
    at: Any, load: Any, move: Any, count: Any, tile: Any, state: Any, p: Any
) -> Any:
    """Does the same on the parts of the array that `tile` names, one bit each.

    The next call may be issued soon after this one's load; it waits for itself where it wants the
    same parts. Activity counts by the share of the array.
    """
    own = state.part[QUARTERS]
    for k in range(3):
        own[k] = 0
    size = 0
    for q in range(QUARTERS):
        if tile >> q & 1:
            size += 1
            for k in range(3):
                own[k] = max(own[k], state.part[q, k])
    busy, load_start = 0, at
    for _ in range(count):
        load_start, taken = _one(at, load, move, own, state, p)
        busy += taken * size // QUARTERS
    for q in range(QUARTERS):
        if tile >> q & 1:
            for k in range(3):
                state.part[q, k] = own[k]
    free = own[MOVE_START] if tile == WHOLE_ARRAY else load_start + p.tile_issue_ps
    return busy, free, own[MOVE_END]
