"""Why engines stood still: every gap of a timeline by its cause, and what bounds the kernel."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import lean
from tuner.neuroncore.costs import (
    DMA,
    HOLD,
    ISSUE,
    KIND,
    LATENCY,
    PARTS,
    QUARTERS,
    TILE,
    Cost,
    costs,
    picoseconds,
)
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
    Engine,
    Program,
    Space,
)
from tuner.neuroncore.simulation import ENGINES, Prediction
from tuner.neuroncore.timeline import Timeline

__all__ = ["bound_by", "stalls_us"]

Ints = npt.NDArray[np.int64]

OPERAND, PORT, RAMP, TABLE, FINISHED = (
    "loads of stationary operands",
    "a memory port that another engine holds",
    "the clock ramp",
    "loads of activation tables",
    "nothing: it has finished",
)


def stalls_us(
    program: Program, timeline: Timeline, device: Device, policy: Policy, cores_busy: int = 1
) -> dict[str, dict[str, float]]:
    """Returns for each engine how long it waited for what, in microseconds, longest first.

    Of a compute engine, busy time and waits add up to the makespan, except that the clock ramp and
    table loads are parts of the busy time. "loads" and "stores" are the DMA queues, on average.

    Args:
        program: The instructions.
        timeline: When they ran.
        device: The core they ran on.
        policy: The compiler's decisions.
        cores_busy: As it was for the timeline.
    """
    table = np.array(costs(program, device, policy, cores_busy), np.int64)
    cost = table.reshape(-1, len(Cost._fields))[program.work_of]
    causes = _causes(program, timeline)
    loads = range(Engine.LOAD, Engine.LOAD + policy.load_queues)
    stores = range(loads.stop, loads.stop + policy.store_queues)
    groups = [(name, [lane]) for lane, name in enumerate(ENGINES[:4])]
    groups += [("loads", [*loads]), ("stores", [*stores])]
    found = {}
    for name, lanes in groups:
        waits: dict[str, float] = defaultdict(float)
        for lane in lanes:
            for cause, ps in _gaps(lane, timeline, cost, causes, device).items():
                waits[cause] += ps / 1e6 / len(lanes)
        found[name] = {k: waits[k] for k in sorted(waits, key=lambda k: -waits[k]) if waits[k] > 0}
    return found


def _causes(program: Program, timeline: Timeline) -> npt.NDArray[np.object_]:
    """Returns what each instruction waited for; None where nothing but its stream."""
    blocked = np.flatnonzero(timeline.blocker >= 0).astype(np.int64)
    blocker = timeline.blocker[blocked]
    reads = np.zeros(len(blocked), np.bool_)
    _reads_from(blocked, blocker, program.first_access, program.accesses, reads)
    lanes = int(timeline.lane.max(initial=0)) + 1
    data = np.array(
        [f"data of {ENGINES[min(lane, len(ENGINES) - 1)]}" for lane in range(lanes)], object
    )
    written = program.accesses[program.first_access[blocked], TENSOR]
    in_psum = program.space[written] == Space.PSUM
    free = np.where(in_psum, "a PSUM bank to be free", "a buffer to be free")
    causes = np.full(len(program), None, object)
    causes[blocked] = np.where(reads, data[timeline.lane[blocker]], free)
    return causes


@lean
def _reads_from(blocked: Any, blocker: Any, first_access: Any, accesses: Any, reads: Any) -> None:
    """Whether an instruction reads what its blocker wrote, rather than overwrites what it used."""
    for k in range(len(blocked)):
        i, p = blocked[k], blocker[k]
        for a in range(first_access[i], first_access[i + 1]):
            for b in range(first_access[p], first_access[p + 1]):
                if (
                    accesses[a, MODE] == READ
                    and accesses[b, MODE] != READ
                    and accesses[a, TENSOR] == accesses[b, TENSOR]
                    and accesses[a, ROW_LOW] < accesses[b, ROW_HIGH]
                    and accesses[b, ROW_LOW] < accesses[a, ROW_HIGH]
                    and accesses[a, BYTE_LOW] < accesses[b, BYTE_HIGH]
                    and accesses[b, BYTE_LOW] < accesses[a, BYTE_HIGH]
                ):
                    reads[k] = True


def _gaps(
    stream: int,
    timeline: Timeline,
    cost: Ints,
    causes: npt.NDArray[np.object_],
    device: Device,
) -> dict[str, int]:
    """Returns the gaps of one stream by cause, in picoseconds."""
    mine = np.flatnonzero(timeline.stream == stream)
    if not len(mine):
        return {}
    mine = mine[np.argsort(timeline.start[mine], kind="stable")]
    start, done, work = timeline.start[mine], timeline.done[mine], cost[mine]
    found: dict[str, int] = defaultdict(int)
    if stream == Engine.TENSOR:
        tail = picoseconds(device.tensor.matmul_tail_cycles / device.clock.tensor_ghz)
        begin, end = start + work[:, ISSUE], done - tail
    else:
        compute = work[:, KIND] != DMA
        table = np.where(compute, done - start - work[:, LATENCY], 0)
        begin, end = start, start + np.where(compute, work[:, ISSUE] + table, work[:, HOLD])
        found[TABLE] = int(table.sum())
    idle_since = np.concatenate(([0], end[:-1]))
    gap = np.maximum(begin - idle_since, 0)
    blocked = timeline.blocker[mine] >= 0
    until = begin if stream == Engine.TENSOR else np.minimum(timeline.ready[mine], start)
    waited = np.where(blocked, np.clip(until - idle_since, 0, gap), 0)
    for cause in set(causes[mine][blocked]):
        found[cause] += int(waited[causes[mine] == cause].sum())
    found[OPERAND if stream == Engine.TENSOR else PORT] += int((gap - waited).sum())
    found[FINISHED] = timeline.makespan - int(end.max())
    if stream == Engine.TENSOR:
        busy = int(timeline.busy[0])
        found[OPERAND] += max(timeline.makespan - busy - sum(found.values()), 0)
        nominal = work[:, LATENCY] * work[:, PARTS] * _share(work)
        found[RAMP] = max(busy - int(nominal.sum()), 0)
    return found


def _share(work: Ints) -> npt.NDArray[np.float64]:
    tiles = [int(tile).bit_count() / QUARTERS for tile in work[:, TILE]]
    return np.array(tiles, np.float64)


def bound_by(prediction: Prediction, stalls: dict[str, dict[str, float]]) -> str:
    """Returns a sentence: what the kernel's time is made of, and what that waited for.

    Args:
        prediction: Of the kernel.
        stalls: Of its timeline, from `stalls_us`.
    """
    total = prediction.latency_us
    if prediction.launch_us > total / 2:
        return f"The launch takes {prediction.launch_us:.1f} of {total:.1f} us."
    makespan = prediction.timeline.makespan / 1e6
    occupied = dict(prediction.busy_us)
    for queues in ("loads", "stores"):  # they may be full while the DMA engines are not
        if stalls[queues]:
            occupied[f"The queue of {queues}"] = makespan - sum(stalls[queues].values())
    engine = max(occupied, key=lambda name: occupied[name])
    share = 100 * occupied[engine] / total if total else 0.0
    names = {"DMA": ["loads", "stores"]}.get(engine, [engine.removeprefix("The queue of ")])
    waits = [
        (us, cause)
        for name in names
        for cause, us in stalls[name].items()
        if cause not in (FINISHED, RAMP, TABLE)
    ]
    longest, cause = max(waits, default=(0.0, ""))
    sentence = f"{engine} is busy {share:.0f} % of {total:.1f} us"
    return sentence + (f" and waits {longest:.1f} us for {cause}." if longest > 0 else ".")
