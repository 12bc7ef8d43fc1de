"""Builds programs for tests, by hand and at random."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
from hypothesis import strategies as st

from tuner.neuroncore import Device, Policy, device, policy
from tuner.neuroncore.compiler.memory import plan_memory
from tuner.neuroncore.program import (
    ACCUMULATED,
    READ,
    WRITTEN,
    DmaWork,
    ElementwiseWork,
    Engine,
    MatmulWork,
    Operand,
    Program,
    Site,
    Space,
    Work,
)
from tuner.neuroncore.schedule.timeline import Timeline
from tuner.neuroncore.simulation import run

PARTITIONS = 128

Bytes = tuple[int, int, int]
"""Tensor, first byte, one past the last; of all rows."""

Rectangle = tuple[int, int, int, int, int]
"""Tensor, first row, one past the last, first byte, one past the last."""


@dataclass
class Builder:
    """Collects tensors and instructions into a program."""

    tensors: list[tuple[Space, int, int, int]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    instructions: list[tuple[Work, tuple[tuple[int, ...], ...]]] = field(default_factory=list)

    def tensor(
        self, space: Space, size: int, site: str = "", name: str = "", rows: int = PARTITIONS
    ) -> int:
        """Allocates a tensor; with a site it is inside a loop, else outside all of them."""
        number = len(self.tensors)
        place = Site(name, site or f"kernel.py:{number}", bool(site))
        if place not in self.sites:
            self.sites.append(place)
        self.tensors.append((space, rows, size, self.sites.index(place)))
        return number

    def rectangle(self, operand: int | Bytes | Rectangle) -> Rectangle:
        if isinstance(operand, int):
            return operand, 0, self.tensors[operand][1], 0, self.tensors[operand][2]
        if len(operand) == 3:
            return operand[0], 0, self.tensors[operand[0]][1], operand[1], operand[2]
        return operand

    def add(
        self, work: Work, *operands: int | Bytes | Rectangle, accumulates: bool | None = None
    ) -> int:
        """Appends an instruction: the operand written, then those read (an int: all of it).

        A matmul accumulates unless told otherwise.
        """
        if accumulates is None:
            accumulates = isinstance(work, MatmulWork)
        modes = [ACCUMULATED if accumulates else WRITTEN, *[READ] * (len(operands) - 1)]
        return self.add_modes(work, list(zip(modes, operands, strict=True)))

    def add_modes(self, work: Work, accesses: list[tuple[int, int | Bytes | Rectangle]]) -> int:
        """Appends an instruction with any accesses, each with its mode."""
        rows = []
        for mode, operand in accesses:
            tensor, *bounds = self.rectangle(operand)
            rows.append((tensor, mode, *bounds))
        self.instructions.append((work, tuple(rows)))
        return len(self.instructions) - 1

    def program(self) -> Program:
        works = list(dict.fromkeys(work for work, _ in self.instructions))
        number = {work: n for n, work in enumerate(works)}
        accesses = [row for _, rows in self.instructions for row in rows]
        lengths = [0, *(len(rows) for _, rows in self.instructions)]
        columns = np.array(self.tensors, np.int64).reshape(-1, 4)
        return Program(
            works=tuple(works),
            work_of=np.array([number[work] for work, _ in self.instructions], np.int32),
            lines=("kernel.py:1",),
            line_of=np.zeros(len(self.instructions), np.int32),
            first_access=np.cumsum(lengths, dtype=np.int64),
            accesses=np.array(accesses, np.int32).reshape(-1, 6),
            sites=tuple(self.sites),
            space=columns[:, 0].astype(np.int8),
            rows=columns[:, 1].astype(np.int32),
            row_bytes=columns[:, 2].copy(),
            site=columns[:, 3].astype(np.int32),
        )

    def run(self, core: str | Device, rules: Policy | None = None) -> Timeline:
        """Plans the program's memory and simulates it."""
        on = device(core) if isinstance(core, str) else core
        rules = rules or policy("nki")
        program = self.program()
        return run(program, plan_memory(program, on, rules), on, rules)


def load(rows: int = 128, run_bytes: int = 1024) -> DmaWork:
    return DmaWork(Engine.LOAD, rows, 1, run_bytes, False)


def store(rows: int = 128, run_bytes: int = 1024) -> DmaWork:
    return DmaWork(Engine.STORE, rows, 1, run_bytes, False)


def matmul(stationary: int = 128, moving: int = 512, fp32: bool = False) -> MatmulWork:
    return MatmulWork(128, stationary, moving, 4 if fp32 else 2)


def elementwise(
    engine: Engine, elements: int, *spaces: Space, opcode: str = "tensor_copy", itemsize: int = 4
) -> ElementwiseWork:
    """Work on contiguous operands; `spaces` of the written one first (SBUF to SBUF if left out)."""
    operands = spaces or (Space.SBUF, Space.SBUF)
    return ElementwiseWork(
        opcode, engine, elements, tuple(Operand(space, itemsize, 1) for space in operands)
    )


def small(name: str, sbuf_bytes: int) -> Device:
    """A device with little SBUF, so that tensors soon take over each other's memory."""
    full = device(name)
    sbuf = msgspec.structs.replace(full.sbuf, usable_bytes_per_partition=sbuf_bytes)
    return msgspec.structs.replace(full, sbuf=sbuf)


_ELEMENTS = st.sampled_from([1, 40, 512, 3000])
_COMPUTE = (Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD, Engine.ANY)
_OPCODES = ("tensor_copy", "tensor_tensor", "memset", "activation", "tensor_scalar")
_TILES = [(0, 128, 0, 128)] * 4 + [(0, 64, 0, 128), (64, 64, 0, 128), (32, 32, 64, 64)]
_CUTS = {PARTITIONS: [0, 1, 32, 64, 96, PARTITIONS]}


@st.composite
def _rectangles(draw: st.DrawFn, builder: Builder, space: Space, among: list[int]) -> Rectangle:
    """A rectangle of one of the tensors in `space`: often all of it, else bytes, else rows too."""
    tensor = draw(st.sampled_from([t for t in among if builder.tensors[t][0] == space]))
    _, _, _, low, high = builder.rectangle(tensor)
    top, bottom = 0, PARTITIONS
    part = draw(st.sampled_from(["all", "bytes", "bytes", "both", "odd"]))
    if part in ("bytes", "both"):
        eighths = draw(st.tuples(st.integers(0, 8), st.integers(0, 8)))
        if eighths[0] != eighths[1]:
            low, high = (n * high // 8 for n in sorted(eighths))
    if part == "odd":
        low, high = sorted(draw(st.sets(st.integers(0, high), min_size=2, max_size=2)))
    if part in ("both", "odd"):
        cuts = st.sampled_from(_CUTS[PARTITIONS])
        top, bottom = sorted(draw(st.sets(cuts, min_size=2, max_size=2)))
    return tensor, top, bottom, low, high


@st.composite
def _transfers(draw: st.DrawFn, kind: str) -> DmaWork:
    return DmaWork(
        Engine.LOAD if kind == "load" else Engine.STORE,
        draw(st.sampled_from([1, 8, 9, 60, 128])),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([4, 300, 2048, 8192])),
        draw(st.booleans()),
        draw(st.sampled_from(["", "", "hbm", "sbuf"])),
        draw(st.sampled_from(["unknown", "unknown", "none", "hwdge", "swdge"])),
        draw(st.sampled_from([None, Engine.SCALAR, Engine.GPSIMD])),
    )


@st.composite
def _instructions(draw: st.DrawFn, builder: Builder, among: list[int], tiled: bool) -> None:
    """Adds one instruction (matmuls: up to nine) on tensors of `among`."""
    hbm, sbuf, psum = (_rectangles(builder, space, among) for space in Space)
    kind = draw(st.sampled_from(["load", "store", "matmul", "matmul", "compute", "compute"]))
    if kind in ("load", "store"):
        ends = (draw(hbm), draw(sbuf))
        builder.add(draw(_transfers(kind)), *(reversed(ends) if kind == "load" else ends))
    elif kind == "matmul":
        shape = draw(st.sampled_from([(1, 1), (128, 1), (64, 200), (128, 512)]))
        accumulator = draw(psum)
        for _ in range(draw(st.sampled_from([1, 1, 2, 4, 9]))):
            work = matmul(*shape, fp32=draw(st.booleans()))
            work = work._replace(tile=draw(st.sampled_from(_TILES)) if tiled else work.tile)
            builder.add(work, accumulator, draw(sbuf), accumulates=draw(st.booleans()))
    else:
        spaces = draw(st.lists(st.sampled_from([Space.SBUF, Space.PSUM]), min_size=2, max_size=4))
        opcode = draw(st.sampled_from(_OPCODES))
        work_on = elementwise(
            draw(st.sampled_from(_COMPUTE)), draw(_ELEMENTS), *spaces, opcode=opcode
        )
        if opcode == "activation":
            work_on = work_on._replace(table=draw(st.sampled_from(["", "exp", "tanh"])))
        if opcode == "tensor_scalar":
            work_on = work_on._replace(table=draw(st.sampled_from(["", "copy"])))
        modes = [WRITTEN, draw(st.sampled_from([READ, READ, WRITTEN])), READ, READ]
        wanted = [draw(sbuf if s == Space.SBUF else psum) for s in spaces]
        builder.add_modes(work_on, list(zip(modes, wanted, strict=False)))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Small programs: some tensors from outside all loops, one or two loops that allocate."""
    builder = Builder()
    tiled = draw(st.sampled_from([False, False, True]))
    outside = [builder.tensor(Space.HBM, 4096) for _ in range(draw(st.integers(1, 3)))]
    outside += [builder.tensor(Space.SBUF, 256 * draw(st.integers(1, 4))) for _ in range(2)]
    outside += [builder.tensor(Space.PSUM, 2048) for _ in range(draw(st.integers(1, 2)))]
    for loop in range(draw(st.integers(1, 2))):
        for _ in range(draw(st.integers(0, 6))):
            inside = []
            for line, space in enumerate((Space.SBUF, Space.SBUF, Space.PSUM)):
                if draw(st.booleans()):
                    size = 1024 * draw(st.integers(1, 3))
                    inside.append(builder.tensor(space, size, f"kernel.py:{loop}{line}"))
            for _ in range(draw(st.integers(1, 4))):
                draw(_instructions(builder, inside * 2 + outside, tiled))
    return builder.program()
