"""The schedule as its specification says it, in plain Python: what the compiled loops must equal.

Two accesses of one tensor are ordered when their rectangles overlap and one of them writes; two
matmuls are not, they accumulate. A tensor that takes over memory writes after everybody who used
that memory. Instructions then start in the order of time: at each step the earliest of all that
nothing holds back.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tuner.neuroncore.compiler.memory import MemoryPlan
from tuner.neuroncore.costs import COMPUTE, DMA, MATMUL, WHOLE_ARRAY, Cost
from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import (
    READ,
    DmaWork,
    ElementwiseWork,
    Engine,
    MatmulWork,
    Program,
    Space,
    Work,
)

QUARTERS = 16


@dataclass(frozen=True)
class Access:
    """One instruction reads or writes a rectangle of a tensor."""

    instruction: int
    tensor: int
    rows: tuple[int, int]
    bytes: tuple[int, int]
    writes: bool
    matmul: bool

    def before(self, later: Access) -> bool:
        """Whether the instruction of `later` must wait for this one's."""
        overlap = all(
            mine[0] < other[1] and other[0] < mine[1]
            for mine, other in ((self.rows, later.rows), (self.bytes, later.bytes))
        )
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
    matmul = isinstance(program.works[program.work_of[i]], MatmulWork)
    found = []
    for row in program.accesses[program.first_access[i] : program.first_access[i + 1]].tolist():
        tensor, mode, row_low, row_high, low, high = row
        found.append(Access(i, tensor, (row_low, row_high), (low, high), mode != READ, matmul))
    return found


def _tracked(program: Program) -> set[int]:
    """On-chip tensors, and those in HBM that the program both writes and reads."""
    accesses = [access for i in range(len(program)) for access in _accesses(program, i)]
    written = {access.tensor for access in accesses if access.writes}
    read = {access.tensor for access in accesses if not access.writes}
    on_chip = {t for t, space in enumerate(program.space) if space != Space.HBM}
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


@dataclass(frozen=True)
class Place:
    """Where an instruction is issued and where it completes."""

    stream: int
    lane: int


def engine(work: Work, policy: Policy) -> Engine:
    if isinstance(work, MatmulWork):
        return Engine.TENSOR
    if work.engine != Engine.ANY:
        return work.engine
    assert isinstance(work, ElementwiseWork)
    names = {"vector": Engine.VECTOR, "scalar": Engine.SCALAR, "gpsimd": Engine.GPSIMD}
    if work.opcode == "memset":
        return names[policy.memset_engine]
    if work.opcode == "tensor_copy" and work.operands[1].space == Space.PSUM:
        return names[policy.copy_engine]
    if work.opcode == "tensor_copy":
        return names[policy.move_engine]
    if work.opcode == "tensor_scalar" and work.table != "":
        return names[policy.scale_engine]
    return Engine.VECTOR


def places(program: Program, policy: Policy) -> list[Place]:
    """Returns the place of each instruction: engines, load queues, store queues, and the lanes of
    transfers that ScalarE and GpSimdE trigger.
    """
    loads = stores = 0
    queues = policy.load_queues + policy.store_queues
    found = []
    for i in range(len(program)):
        work = program.works[program.work_of[i]]
        e = engine(work, policy)
        if isinstance(work, DmaWork) and (work.dge, work.trigger) == ("hwdge", Engine.SCALAR):
            found.append(Place(int(Engine.SCALAR), 4 + queues))
        elif isinstance(work, DmaWork) and (work.dge, work.trigger) == ("swdge", Engine.GPSIMD):
            found.append(Place(int(Engine.GPSIMD), 5 + queues))
        elif e == Engine.LOAD:
            found.append(Place(4 + loads % policy.load_queues, 4 + loads % policy.load_queues))
            loads += 1
        elif e == Engine.STORE:
            queue = 4 + policy.load_queues + stores % policy.store_queues
            found.append(Place(queue, queue))
            stores += 1
        else:
            found.append(Place(int(e), int(e)))
    return found


def _ps(nanoseconds: float) -> int:
    return round(nanoseconds * 1000)


def shared(program: Program, plan: MemoryPlan, policy: Policy, device: Device) -> list[set[str]]:
    """Returns the ports that each instruction takes while its data moves."""
    found = []
    for i in range(len(program)):
        work = program.works[program.work_of[i]]
        taken: set[str] = set()
        if isinstance(work, ElementwiseWork):
            e = engine(work, policy)
            spaces = {operand.space for operand in work.operands}
            if e in (Engine.VECTOR, Engine.SCALAR) and Space.PSUM in spaces:
                if device.psum.vector_scalar_exclusive:
                    taken.add("PSUM")
                elif device.psum.same_bank_exclusive:
                    taken |= {f"bank {bank}" for bank in _banks(program, plan, device, i)}
            if e in (Engine.VECTOR, Engine.GPSIMD) and Space.SBUF in spaces:
                taken |= {"SBUF"} if device.sbuf.vector_gpsimd_exclusive else set()
        found.append(taken)
    return found


def _banks(program: Program, plan: MemoryPlan, device: Device, i: int) -> set[int]:
    size = device.psum.bank_bytes_per_partition
    return {
        int(plan.first_bank[a.tensor]) + byte // size
        for a in _accesses(program, i)
        if program.space[a.tensor] == Space.PSUM
        for byte in range(*a.bytes)
    }


def table_loads(program: Program, policy: Policy) -> list[bool]:
    """Whether an activation finds another function's table in ScalarE, in program order."""
    table, found = "", []
    for i in range(len(program)):
        work = program.works[program.work_of[i]]
        wants = ""
        if isinstance(work, ElementwiseWork) and engine(work, policy) == Engine.SCALAR:
            wants = work.table
        found.append(wants not in ("", table))
        table = wants or table
    return found


@dataclass
class Core:
    """The parts of a core that instructions share, and when each is free; in picoseconds."""

    device: Device
    tiled: bool
    ports: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    dma_engines: list[int] = field(init=False)
    ring: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    completed: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    load_end: list[int] = field(default_factory=lambda: [0] * QUARTERS)
    move_start: list[int] = field(default_factory=lambda: [0] * QUARTERS)
    move_end: list[int] = field(default_factory=lambda: [0] * QUARTERS)
    moves: list[tuple[int, int]] = field(default_factory=list)
    clock: int = 0
    ramp_began: float = float("-inf")
    busy: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        self.dma_engines = [0] * self.device.dma.engines

    def run(
        self, cost: Cost, at: int, place: Place, ports: set[str], loads_table: bool
    ) -> tuple[int, int, int]:
        """Runs an instruction that may start at `at`; returns its start, when its stream takes the
        next one, and when its result is there.
        """
        if cost.kind == COMPUTE:
            for port in ports:
                at = max(at, self.ports[port])
            for port in ports:
                self.ports[port] = at + cost.hold_ps
            table = _ps(self.device.scalar.table_load_ns) if loads_table else 0
            self.busy[Engine(place.stream).name] += cost.issue_ps + table
            return at, at + cost.issue_ps + table, at + cost.latency_ps + table
        if cost.kind == DMA:
            free, done = self._transfer(cost, at, place)
        else:
            free, done = self._matmul(cost, at)
        self.completed[place.lane] = max(self.completed[place.lane], done)
        return at, free, self.completed[place.lane]

    def _transfer(self, cost: Cost, at: int, place: Place) -> tuple[int, int]:
        dma = self.device.dma
        if place.stream < Engine.LOAD:
            self.busy[Engine(place.stream).name] += cost.hold_ps
        in_ring = max(at + cost.delay_ps, self.ring[place.lane])
        self.ring[place.lane] = in_ring + _ps(dma.issue_interval_ns)
        idlest = sorted(range(dma.engines), key=lambda n: (self.dma_engines[n], n))
        ends = []
        for n in idlest[: cost.parts]:
            begin = max(in_ring + cost.latency_ps, self.dma_engines[n])
            self.dma_engines[n] = begin + cost.issue_ps
            ends.append(self.dma_engines[n])
            self.busy["DMA"] += cost.issue_ps
        return at + cost.hold_ps, max(ends) + _ps(dma.done_ns)

    def _matmul(self, cost: Cost, at: int) -> tuple[int, int]:
        mine = [q for q in range(QUARTERS) if cost.tile >> q & 1]
        load_start = move_start = move_end = 0
        for _ in range(cost.parts):
            # One stationary operand waits in the shadow of the one in use.
            load_start = max([at, *(max(self.load_end[q], self.move_start[q]) for q in mine)])
            load_end = load_start + cost.issue_ps
            move_start = max([load_end, *(self.move_end[q] for q in mine)])
            move_end = move_start + self._at_clock(cost.latency_ps, move_start)
            self._active(move_start, move_end)
            for q in mine:
                self.load_end[q], self.move_start[q] = load_end, move_start
                self.move_end[q] = move_end
            self.busy["TENSOR"] += (move_end - move_start) * len(mine) // QUARTERS
        ghz = self.device.clock.tensor_ghz
        free = move_start
        if self.tiled and cost.tile != WHOLE_ARRAY:
            free = load_start + _ps(self.device.tensor.tile_issue_gap_cycles / ghz)
        return free, move_end + _ps(self.device.tensor.matmul_tail_cycles / ghz)

    def _active(self, begin: int, end: int) -> None:
        """TensorE is active where any part of it is."""
        if self.moves:
            begin = max(begin, self.moves[-1][1])
        if begin < end:
            self.moves.append((begin, end))

    def _at_clock(self, work: int, now: int) -> int:
        """How long work takes that begins now, as fast as TensorE's power ramp allows."""
        t = self.device.tensor
        if not t.clock_ramp:
            return work
        now = self.clock = max(now, self.clock)
        hold, rise, span = _ps(t.ramp_hold_ns), _ps(t.ramp_rise_ns), _ps(t.ramp_window_ns)
        active = sum(max(0, end - max(begin, now - span)) for begin, end in self.moves)
        if active < t.ramp_threshold * span and now - self.ramp_began > hold + rise:
            self.ramp_began = now
        since = now - self.ramp_began
        if since < hold:
            rate = t.ramp_start_fraction
        elif since < hold + rise:
            rate = t.ramp_start_fraction + (1 - t.ramp_start_fraction) * ((since - hold) / rise)
        else:
            return work
        return int(work / rate + 0.5)


@dataclass(frozen=True)
class Simulated:
    """Start and end of each instruction; busy time of the four engines and of a DMA engine."""

    start: list[int]
    done: list[int]
    ready: list[int]
    busy: list[int]


def simulate(
    program: Program, costs: list[Cost], plan: MemoryPlan, policy: Policy, device: Device
) -> Simulated:
    """Runs the program: of all instructions that nothing holds back, the earliest starts next."""
    place = places(program, policy)
    waits = waits_for(program, plan)
    ports, tables = shared(program, plan, policy, device), table_loads(program, policy)
    windows = {0: policy.tensor_window, 1: policy.vector_window, 2: policy.vector_window}
    pending: dict[int, list[int]] = defaultdict(list)
    for i, where in enumerate(place):
        pending[where.stream].append(i)
    core = Core(device, any(c.kind == MATMUL and c.tile != WHOLE_ARRAY for c in costs))
    free: dict[int, int] = defaultdict(int)
    start, done = [-1] * len(place), [-1] * len(place)
    ready = [0] * len(place)

    def candidates() -> list[tuple[int, int, int]]:
        found = []
        for stream, queue in pending.items():
            for i in queue[: windows.get(stream, 1)]:
                if all(done[p] >= 0 for p in waits[i]):
                    found.append((max(free[stream], ready[i]), stream, i))
        return found

    while any(pending.values()):
        at, stream, i = min(candidates())
        pending[stream].remove(i)
        cost = costs[program.work_of[i]]
        start[i], free[stream], done[i] = core.run(cost, at, place[i], ports[i], tables[i])
        for other, predecessors in enumerate(waits):
            if i in predecessors:
                same = place[i].lane == place[other].stream
                sync = device.sync
                signal = sync.same_engine_ns if same else sync.cross_engine_ns
                ready[other] = max(ready[other], done[i] + _ps(signal))
    engines = [core.busy[name] for name in ("TENSOR", "VECTOR", "SCALAR", "GPSIMD")]
    return Simulated(start, done, ready, [*engines, core.busy["DMA"] // device.dma.engines])
