"""Why engines stood still: every gap of a timeline by its cause, and what bounds the kernel."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import lean
from tuner.neuroncore.costs import (
    COMPUTE,
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
from tuner.neuroncore.schedule.timeline import Timeline
from tuner.neuroncore.simulation import ENGINES, Prediction

__all__ = ["Waits", "bound_by", "rest_cause", "stalls_us", "waits"]

Ints = npt.NDArray[np.int64]

BUFFER, BANK, OPERAND, PORT, RAMP, TABLE, FINISHED = (
    "a buffer to be free",
    "a PSUM bank to be free",
    "loads of stationary operands",
    "a memory port that another engine holds",
    "the clock ramp",
    "loads of activation tables",
    "nothing: it has finished",
)


class Waits(NamedTuple):
    """What each instruction took of its stream, and what the stream waited for before it.

    A stream works on one instruction after another: from `begin` to `end`, for TensorE while the
    moving operand passes, for a DMA queue until it takes the next transfer.

    Attributes:
        begin: Shape (instructions,), in picoseconds.
        end: Shape (instructions,), never before `begin`.
        gap: Shape (instructions,): how long the stream stood still before `begin`.
        waited: Shape (instructions,): the part of the gap that passed for `cause`; the rest for
            `rest_cause` of the stream.
        cause: Shape (instructions,): index into `causes`; -1 where nothing but the stream held
            the instruction up.
        causes: What may be waited for.
        table: Shape (instructions,): the part of the work that loads an activation table.
    """

    begin: Ints
    end: Ints
    gap: Ints
    waited: Ints
    cause: npt.NDArray[np.int64]
    causes: tuple[str, ...]
    table: Ints


def waits(
    program: Program, timeline: Timeline, device: Device, policy: Policy, cores_busy: int = 1
) -> Waits:
    """Returns what every instruction waited for; arguments as of `stalls_us`."""
    work = _costs_of(program, device, policy, cores_busy)
    start, done, stream = timeline.start, timeline.done, timeline.stream
    compute = work[:, KIND] == COMPUTE
    table = np.where(compute, done - start - work[:, LATENCY], 0)
    taken = np.where(compute, work[:, ISSUE] + table, work[:, HOLD])
    tensor = stream == Engine.TENSOR
    tail = picoseconds(device.tensor.matmul_tail_cycles / device.clock.tensor_ghz)
    begin = np.where(tensor, start + work[:, ISSUE], start)
    end = np.where(tensor, done - tail, start + taken)
    idle_since = _idle_since(stream, start, end)
    gap = np.maximum(begin - idle_since, 0)
    until = np.where(tensor, begin, np.minimum(timeline.ready, start))
    blocked = timeline.blocker >= 0
    waited = np.where(blocked, np.clip(until - idle_since, 0, gap), 0)
    begin = np.maximum(begin, idle_since)
    cause, causes = _causes(program, timeline)
    return Waits(begin, np.maximum(begin, end), gap, waited, cause, causes, table)


def rest_cause(stream: int) -> str:
    """Returns what a stream waits for where no instruction made it wait."""
    return OPERAND if stream == Engine.TENSOR else PORT


def _costs_of(program: Program, device: Device, policy: Policy, cores_busy: int) -> Ints:
    """Returns the columns of `Cost` for every instruction."""
    table = np.array(costs(program, device, policy, cores_busy), np.int64)
    return table.reshape(-1, len(Cost._fields))[program.work_of]


def _idle_since(stream: npt.NDArray[np.int8], start: Ints, end: Ints) -> Ints:
    """Returns when each instruction's stream was through with all before it."""
    since = np.zeros(len(stream), np.int64)
    for number in np.unique(stream):
        mine = np.flatnonzero(stream == number)
        mine = mine[np.argsort(start[mine], kind="stable")]
        since[mine[1:]] = np.maximum.accumulate(end[mine])[:-1]
    return since


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
    found = waits(program, timeline, device, policy, cores_busy)
    work = _costs_of(program, device, policy, cores_busy)
    loads = range(Engine.LOAD, Engine.LOAD + policy.load_queues)
    stores = range(loads.stop, loads.stop + policy.store_queues)
    groups = [(name, [stream]) for stream, name in enumerate(ENGINES[:4])]
    groups += [("loads", [*loads]), ("stores", [*stores])]
    result = {}
    for name, streams in groups:
        total: dict[str, float] = defaultdict(float)
        for stream in streams:
            for cause, ps in _by_cause(stream, timeline, found, work).items():
                total[cause] += ps / 1e6 / len(streams)
        result[name] = {k: total[k] for k in sorted(total, key=lambda k: -total[k]) if total[k] > 0}
    return result


def _by_cause(stream: int, timeline: Timeline, found: Waits, work: Ints) -> dict[str, int]:
    """Returns the gaps of one stream by cause, in picoseconds."""
    mine = np.flatnonzero(timeline.stream == stream)
    if not len(mine):
        return {}
    waited = np.zeros(len(found.causes), np.int64)
    caused = mine[found.cause[mine] >= 0]
    np.add.at(waited, found.cause[caused], found.waited[caused])
    total = defaultdict(int, zip(found.causes, waited.tolist(), strict=True))
    total[TABLE] = int(found.table[mine].sum())
    total[rest_cause(stream)] += int((found.gap[mine] - found.waited[mine]).sum())
    total[FINISHED] = timeline.makespan - int(found.end[mine].max())
    if stream == Engine.TENSOR:
        busy, mine_of = int(timeline.busy[0]), work[mine]
        total[OPERAND] += max(timeline.makespan - busy - sum(total.values()), 0)
        nominal = mine_of[:, LATENCY] * mine_of[:, PARTS] * _share(mine_of)
        total[RAMP] = max(busy - int(nominal.sum()), 0)
    return total


def _causes(program: Program, timeline: Timeline) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Returns what each instruction waited for, -1 where nothing but its stream, and the names."""
    blocked = np.flatnonzero(timeline.blocker >= 0).astype(np.int64)
    blocker = timeline.blocker[blocked]
    reads = np.zeros(len(blocked), np.bool_)
    _reads_from(blocked, blocker, program.first_access, program.accesses, reads)
    data = np.minimum(timeline.lane[blocker], len(ENGINES) - 1)
    written = program.accesses[program.first_access[blocked], TENSOR]
    free = len(ENGINES) + (program.space[written] == Space.PSUM)
    cause = np.full(len(program), -1, np.int64)
    cause[blocked] = np.where(reads, data, free)
    return cause, (*(f"data of {name}" for name in ENGINES), BUFFER, BANK)


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
