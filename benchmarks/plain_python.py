"""The schedule in plain Python: what the simulator's compiled loops are compared with.

Lists, dicts, a heap, no numpy in the loops. For in-order queues and whole-array matmuls only; the
full rules in plain Python are in tests/neuroncore/reference.py.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from tuner.neuroncore import Device, Policy
from tuner.neuroncore.compiler.memory import MemoryPlan
from tuner.neuroncore.costs import COMPUTE, DMA, Cost
from tuner.neuroncore.program import READ, MatmulWork, Program, Space
from tuner.neuroncore.schedule.ports import LOADS_TABLE, PORTS, ports
from tuner.neuroncore.schedule.queues import engines_of, queues
from tuner.neuroncore.schedule.timeline import Parameters, parameters

__all__ = ["makespan_ps"]


def makespan_ps(
    program: Program, costs: Sequence[Cost], plan: MemoryPlan, policy: Policy, device: Device
) -> int:
    """Returns when the last instruction is done, in picoseconds."""
    lanes = queues(program, policy).lane.tolist()
    marks = ports(program, plan, device, engines_of(program, policy)).tolist()
    waits = _waits(program, plan, lanes)
    work_of = program.work_of.tolist()
    own = [costs[work] for work in work_of]
    return _run(lanes, marks, waits, own, parameters(device))


Access = tuple[int, int, int, int, int, bool, bool]
"""First row, end of rows, first byte, end of bytes, instruction, writes, is a matmul's."""


def _waits(program: Program, plan: MemoryPlan, lanes: list[int]) -> list[set[int]]:
    """Returns for each instruction those it waits for.

    A tensor's accesses are kept in a list; one that a later write covers is forgotten, and so is a
    read or a sum that the same lane repeats: on a lane everything is done in order.
    """
    bounds = program.first_access.tolist()
    accesses = program.accesses.tolist()
    matmul = [isinstance(work, MatmulWork) for work in program.works]
    works, tracked = program.work_of.tolist(), _tracked(program, accesses)
    known: dict[int, list[Access]] = {}
    inherited: dict[int, set[int]] = {}
    waits: list[set[int]] = []
    for i, (begin, end) in enumerate(pairwise(bounds)):
        found: set[int] = set()
        mine = [access for access in accesses[begin:end] if access[0] in tracked]
        for tensor, mode, top, bottom, low, high in mine:
            if tensor not in known:
                known[tensor] = []
                inherited[tensor] = _inherited(plan, known, inherited, tensor)
            if mode != READ:
                found |= inherited[tensor]
            sums = matmul[works[i]] and mode != READ
            for t, b, first, h, j, writes, of_matmul in known[tensor]:
                if (
                    (writes or mode != READ)
                    and top < b
                    and t < bottom
                    and low < h
                    and first < high
                    and not (sums and writes and of_matmul)
                ):
                    found.add(j)
        for tensor, mode, *place in mine:
            access = (*place, i, mode != READ, matmul[works[i]])
            known[tensor] = _with(known[tensor], access, lanes)
        waits.append(found)
    return waits


def _with(before: list[Access], new: Access, lanes: list[int]) -> list[Access]:
    """Adds an access to a tensor's list and drops those it makes superfluous."""
    top, bottom, low, high, i, writes, of_matmul = new
    kept = []
    for old in before:
        t, b, first, h, j, wrote, summed = old
        covered = top <= t and b <= bottom and low <= first and h <= high
        again = lanes[i] == lanes[j] and wrote == writes
        if not (covered and (again or (writes and not (of_matmul and summed and wrote)))):
            kept.append(old)
    kept.append(new)
    return kept


def _inherited(
    plan: MemoryPlan, known: dict[int, list[Access]], inherited: dict[int, set[int]], tensor: int
) -> set[int]:
    """Everybody who used the memory before."""
    users: set[int] = set()
    for other in plan.bequeathers[plan.first_heir[tensor] : plan.first_heir[tensor + 1]].tolist():
        users |= {access[4] for access in known[other]} or inherited[other]
    return users


def _tracked(program: Program, accesses: list[list[int]]) -> set[int]:
    written = {access[0] for access in accesses if access[1] != READ}
    read = {access[0] for access in accesses if access[1] == READ}
    on_chip = {t for t, space in enumerate(program.space.tolist()) if space != Space.HBM}
    return on_chip | (written & read)


def _run(
    lanes: list[int], marks: list[int], waits: list[set[int]], costs: list[Cost], p: Parameters
) -> int:
    """Starts the instructions in the order of time."""
    queued: dict[int, deque[int]] = {}
    for i, lane in enumerate(lanes):
        queued.setdefault(lane, deque()).append(i)
    waiting: list[list[int]] = [[] for _ in lanes]
    held = [len(others) for others in waits]
    for i, others in enumerate(waits):
        for other in others:
            waiting[other].append(i)
    known, done = [0] * len(lanes), [0] * len(lanes)
    free, core = dict.fromkeys(queued, 0), _Core(p)
    heap: list[tuple[int, int]] = []

    def offer(lane: int) -> None:
        if queued[lane] and not held[queued[lane][0]]:
            heapq.heappush(heap, (max(free[lane], known[queued[lane][0]]), lane))

    for lane in queued:
        offer(lane)
    while heap:
        at, lane = heapq.heappop(heap)
        i = queued[lane].popleft()
        free[lane], done[i] = core.run(at, lane, marks[i], costs[i])
        for other in waiting[i]:
            signal = p.same_engine_ps if lanes[other] == lane else p.cross_engine_ps
            known[other] = max(known[other], done[i] + signal)
            held[other] -= 1
            if not held[other] and lanes[other] != lane and queued[lanes[other]][0] == other:
                offer(lanes[other])
        offer(lane)
    return max(done, default=0)


class _Core:
    """When the parts of a core are free."""

    def __init__(self, p: Parameters) -> None:
        self.p = p
        self.dma = [0] * p.dma_engines
        self.ports = [0] * PORTS
        self.last: dict[int, int] = {}
        self.ring: dict[int, int] = {}
        self.loaded = self.move_start = self.move_end = 0
        self.active: deque[list[int]] = deque()
        self.ramp_began = -(1 << 60)

    def run(self, at: int, lane: int, mark: int, cost: Cost) -> tuple[int, int]:
        """Returns when the lane is free again, and when the result is there."""
        if cost.kind == COMPUTE:
            used = [b for b in range(PORTS) if mark >> b & 1]
            at = max([at, *[self.ports[b] for b in used]])
            for b in used:
                self.ports[b] = at + cost.hold_ps
            table = self.p.table_load_ps if mark & LOADS_TABLE else 0
            return at + cost.issue_ps + table, at + cost.latency_ps + table
        free, done = (
            self._transfer(at, lane, cost) if cost.kind == DMA else self._multiply(at, cost)
        )
        self.last[lane] = max(self.last.get(lane, 0), done)
        return free, self.last[lane]

    def _transfer(self, at: int, lane: int, cost: Cost) -> tuple[int, int]:
        go = max(at + cost.delay_ps, self.ring.get(lane, 0))
        self.ring[lane] = go + self.p.dma_issue_ps
        go += cost.latency_ps
        idlest = range(len(self.dma))
        if cost.parts < len(self.dma):
            idlest = sorted(idlest, key=lambda e: (self.dma[e], e))[: cost.parts]  # type: ignore[assignment]
        end = 0
        for e in idlest:
            self.dma[e] = max(go, self.dma[e]) + cost.issue_ps
            end = max(end, self.dma[e])
        return at + cost.hold_ps, end + self.p.dma_done_ps

    def _multiply(self, at: int, cost: Cost) -> tuple[int, int]:
        for _ in range(cost.parts):
            self.loaded = max(at, self.loaded, self.move_start) + cost.issue_ps
            self.move_start = max(self.loaded, self.move_end)
            taken = self._stretched(cost.latency_ps) if self.p.ramp else cost.latency_ps
            self.move_end = self.move_start + taken
            self.active.append([self.move_start, self.move_end])
        return self.move_start, self.move_end + self.p.matmul_tail_ps

    def _stretched(self, work: int) -> int:
        p, now = self.p, self.move_start
        since = now - p.ramp_window_ps
        while self.active and self.active[0][1] < since:
            self.active.popleft()
        active = sum(end - max(begin, since) for begin, end in self.active)
        rising = now - self.ramp_began
        if (
            active < p.ramp_threshold * p.ramp_window_ps
            and rising > p.ramp_hold_ps + p.ramp_rise_ps
        ):
            self.ramp_began, rising = now, 0
        if rising >= p.ramp_hold_ps + p.ramp_rise_ps:
            return work
        share = max(0, rising - p.ramp_hold_ps) / p.ramp_rise_ps
        return int(work / (p.ramp_start_fraction + (1 - p.ramp_start_fraction) * share) + 0.5)
