"""The schedule as its specification says it, in plain Python: what the compiled loops must equal.

Two accesses of one tensor are ordered when their byte ranges overlap and one of them writes; two
matmuls are not, they accumulate. A tensor that takes over memory writes after everybody who used
that memory. Instructions then start in the order of time, from one heap.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field

from tuner.neuroncore.costs import COMPUTE, DMA, Cost
from tuner.neuroncore.device import Device
from tuner.neuroncore.memory import MemoryPlan
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import Engine, Program, Space, engine


@dataclass(frozen=True)
class Access:
    """One instruction reads or writes bytes low..high-1 of a tensor."""

    instruction: int
    tensor: int
    low: int
    high: int
    writes: bool
    matmul: bool

    def before(self, later: Access) -> bool:
        """Whether the instruction of `later` must wait for this one's."""
        overlap = self.low < later.high and later.low < self.high
        accumulate = self.writes and self.matmul and later.writes and later.matmul
        return overlap and (self.writes or later.writes) and not accumulate


def waits_for(program: Program, plan: MemoryPlan) -> list[set[int]]:
    """Returns for each instruction those it waits for (some of them only through others)."""
    users: dict[int, list[Access]] = defaultdict(list)
    tracked = _tracked(program)
    waits: list[set[int]] = []
    for i in range(len(program)):
        mine = [access for access in _accesses(program, i) if access.tensor in tracked]
        found: set[int] = set()
        for access in mine:
            found |= {u.instruction for u in users[access.tensor] if u.before(access)}
            if access.writes:
                for ancestor in _ancestors(plan, access.tensor):
                    found |= {u.instruction for u in users[ancestor]}
        for access in mine:
            users[access.tensor].append(access)
        waits.append(found)
    return waits


def _accesses(program: Program, i: int) -> list[Access]:
    matmul = engine(program.works[program.work_of[i]]) == Engine.TENSOR
    found = []
    for column, r in enumerate(program.operands[i].tolist()):
        if r >= 0:
            tensor, low, high = program.ranges[r].tolist()
            found.append(Access(i, tensor, low, high, column == 0, matmul))
    return found


def _tracked(program: Program) -> set[int]:
    """On-chip tensors, and those in HBM that the program both writes and reads."""
    accesses = [access for i in range(len(program)) for access in _accesses(program, i)]
    written = {access.tensor for access in accesses if access.writes}
    read = {access.tensor for access in accesses if not access.writes}
    on_chip = {t for t, info in enumerate(program.tensors) if info.space != Space.HBM}
    return on_chip | (written & read)


def _ancestors(plan: MemoryPlan, tensor: int) -> set[int]:
    """Whose memory the tensor has, directly or through others."""
    found: set[int] = set()
    open_ends = [tensor]
    while open_ends:
        t = open_ends.pop()
        for other in plan.bequeathers[plan.first_heir[t] : plan.first_heir[t + 1]].tolist():
            if other not in found:
                found.add(other)
                open_ends.append(other)
    return found


def lanes(program: Program, policy: Policy) -> list[int]:
    """Returns the in-order stream of each instruction: engines, load queues, store queues."""
    loads = stores = 0
    found = []
    for i in range(len(program)):
        e = engine(program.works[program.work_of[i]])
        if e == Engine.LOAD:
            found.append(4 + loads % policy.load_queues)
            loads += 1
        elif e == Engine.STORE:
            found.append(4 + policy.load_queues + stores % policy.store_queues)
            stores += 1
        else:
            found.append(int(e))
    return found


def _ps(nanoseconds: float) -> int:
    return round(nanoseconds * 1000)


@dataclass
class Core:
    """The parts of a core that instructions share, and when each is free; in picoseconds."""

    device: Device
    psum_port: int = 0
    dma_engines: list[int] = field(init=False)
    load_end: int = 0
    move_start: int = 0
    move_end: int = 0
    moves: list[tuple[int, int]] = field(default_factory=list)
    ramp_began: float = float("-inf")
    busy: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        self.dma_engines = [0] * self.device.dma.engines

    def run(self, cost: Cost, at: int, e: Engine) -> tuple[int, int, int]:
        """Runs an instruction that may start at `at`; returns its start, when its lane takes the
        next one, and when its result is there.
        """
        if cost.kind == COMPUTE:
            return self._compute(cost, at, e)
        return self._transfer(cost, at) if cost.kind == DMA else self._matmul(cost, at)

    def _compute(self, cost: Cost, at: int, e: Engine) -> tuple[int, int, int]:
        if self.device.psum.vector_scalar_exclusive and cost.psum_ps:
            at = max(at, self.psum_port)
            self.psum_port = at + cost.psum_ps
        self.busy[e.name] += cost.issue_ps
        return at, at + cost.issue_ps, at + cost.latency_ps

    def _transfer(self, cost: Cost, at: int) -> tuple[int, int, int]:
        dma = self.device.dma
        idlest = sorted(range(dma.engines), key=lambda n: (self.dma_engines[n], n))
        ends = []
        for n in idlest[: cost.parts]:
            begin = max(at + _ps(dma.start_ns), self.dma_engines[n])
            self.dma_engines[n] = begin + cost.issue_ps
            ends.append(self.dma_engines[n])
            self.busy["DMA"] += cost.issue_ps
        return at, at + _ps(dma.issue_interval_ns), max(ends) + _ps(dma.done_ns)

    def _matmul(self, cost: Cost, at: int) -> tuple[int, int, int]:
        for _ in range(cost.parts):
            # One stationary operand waits in the shadow of the one in use.
            load_start = max(at, self.load_end, self.move_start)
            self.load_end = load_start + cost.issue_ps
            self.move_start = max(self.load_end, self.move_end)
            self.move_end = self.move_start + self._at_clock(cost.latency_ps, self.move_start)
            self.moves.append((self.move_start, self.move_end))
            self.busy["TENSOR"] += self.move_end - self.move_start
        tail = _ps(self.device.tensor.matmul_tail_cycles / self.device.clock.tensor_ghz)
        return at, self.move_start, self.move_end + tail

    def _at_clock(self, work: int, now: int) -> int:
        """How long work takes that begins now, as fast as TensorE's power ramp allows."""
        t = self.device.tensor
        if not t.clock_ramp:
            return work
        hold, rise, span = _ps(t.ramp_hold_ns), _ps(t.ramp_rise_ns), _ps(t.ramp_window_ns)
        active = sum(max(0, end - max(begin, now - span)) for begin, end in self.moves)
        if active < t.ramp_threshold * span and now - self.ramp_began > hold + rise:
            self.ramp_began = now
        since = now - self.ramp_began
        if since < hold:
            rate = t.ramp_start_fraction
        elif since < hold + rise:
            rate = t.ramp_start_fraction + (1 - t.ramp_start_fraction) * (since - hold) / rise
        else:
            rate = 1.0
        return int(work / rate + 0.5)


@dataclass(frozen=True)
class Simulated:
    """Start and end of each instruction; busy time of the four engines and of a DMA engine."""

    start: list[int]
    done: list[int]
    busy: list[int]


def simulate(
    program: Program, costs: list[Cost], plan: MemoryPlan, policy: Policy, device: Device
) -> Simulated:
    """Runs the program: of all instructions that nothing holds back, the earliest starts next."""
    lane = lanes(program, policy)
    waits = waits_for(program, plan)
    waiting_on_me: list[list[int]] = [[] for _ in lane]
    next_in_lane: dict[int, int] = {}
    last_in_lane: dict[int, int] = {}
    held_by = [len(predecessors) for predecessors in waits]
    for i, predecessors in enumerate(waits):
        for p in predecessors:
            waiting_on_me[p].append(i)
        if lane[i] in last_in_lane:
            next_in_lane[last_in_lane[lane[i]]] = i
            held_by[i] += 1
        last_in_lane[lane[i]] = i
    core = Core(device)
    earliest = [0] * len(lane)
    start, done = [-1] * len(lane), [-1] * len(lane)
    heap = [(0, lane[i], i) for i, count in enumerate(held_by) if count == 0]
    heapq.heapify(heap)

    def release(i: int, at: int) -> None:
        earliest[i] = max(earliest[i], at)
        held_by[i] -= 1
        if held_by[i] == 0:
            heapq.heappush(heap, (earliest[i], lane[i], i))

    while heap:
        at, _, i = heapq.heappop(heap)
        work = program.work_of[i]
        start[i], lane_free, done[i] = core.run(costs[work], at, engine(program.works[work]))
        if i in next_in_lane:
            release(next_in_lane[i], lane_free)
        for other in waiting_on_me[i]:
            sync = device.sync
            signal = sync.same_engine_ns if lane[other] == lane[i] else sync.cross_engine_ns
            release(other, done[i] + _ps(signal))
    engines = [core.busy[name] for name in ("TENSOR", "VECTOR", "SCALAR", "GPSIMD")]
    return Simulated(start, done, [*engines, core.busy["DMA"] // device.dma.engines])
