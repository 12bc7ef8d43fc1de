"""Builds programs for tests, by hand and at random."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
from hypothesis import strategies as st

from tuner.neuroncore import Device, Policy, device, policy
from tuner.neuroncore.costs import cost
from tuner.neuroncore.dependences import dependences
from tuner.neuroncore.memory import plan_memory
from tuner.neuroncore.program import (
    MAX_OPERANDS,
    DmaWork,
    ElementwiseWork,
    Engine,
    MatmulWork,
    Operand,
    Program,
    Space,
    TensorInfo,
    Work,
)
from tuner.neuroncore.timeline import Timeline, parameters, timeline

Bytes = tuple[int, int, int]
"""Tensor, first byte, one past the last."""


@dataclass
class Builder:
    """Collects tensors and instructions into a program."""

    tensors: list[TensorInfo] = field(default_factory=list)
    instructions: list[tuple[Work, tuple[Bytes, ...]]] = field(default_factory=list)

    def tensor(self, space: Space, size: int, site: str = "", name: str = "") -> int:
        """Allocates a tensor; its site is its own unless given."""
        number = len(self.tensors)
        self.tensors.append(TensorInfo(space, size, name, site or f"kernel.py:{number}"))
        return number

    def whole(self, tensor: int) -> Bytes:
        return tensor, 0, self.tensors[tensor].bytes

    def add(self, work: Work, *operands: int | Bytes) -> int:
        """Appends an instruction: the operand written, then those read (an int: all of it)."""
        spans = tuple(self.whole(o) if isinstance(o, int) else o for o in operands)
        self.instructions.append((work, spans))
        return len(self.instructions) - 1

    def program(self) -> Program:
        works = list(dict.fromkeys(work for work, _ in self.instructions))
        ranges = list(dict.fromkeys(span for _, spans in self.instructions for span in spans))
        operands = np.full((len(self.instructions), MAX_OPERANDS), -1, np.int32)
        for i, (_, spans) in enumerate(self.instructions):
            operands[i, : len(spans)] = [ranges.index(span) for span in spans]
        return Program(
            works=tuple(works),
            work_of=np.array([works.index(work) for work, _ in self.instructions], np.int32),
            tensors=tuple(self.tensors),
            ranges=np.array(ranges, np.int64).reshape(-1, 3),
            operands=operands,
            flops=0,
            hbm_read_bytes=0,
            hbm_written_bytes=0,
        )

    def run(self, core: str | Device, rules: Policy | None = None) -> Timeline:
        """Plans the program's memory and simulates it."""
        on = device(core) if isinstance(core, str) else core
        rules = rules or policy("nki")
        program = self.program()
        plan = plan_memory(program, on, rules)
        costs = [cost(work, on) for work in program.works]
        return timeline(program, costs, *dependences(program, plan), rules, parameters(on))


def load(rows: int = 128, run_bytes: int = 1024) -> DmaWork:
    return DmaWork(Engine.LOAD, rows, 1, run_bytes, False)


def store(rows: int = 128, run_bytes: int = 1024) -> DmaWork:
    return DmaWork(Engine.STORE, rows, 1, run_bytes, False)


def matmul(stationary: int = 128, moving: int = 512, fp32: bool = False) -> MatmulWork:
    return MatmulWork(128, stationary, moving, fp32)


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
_COMPUTE = (Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD)


@st.composite
def _spans(draw: st.DrawFn, builder: Builder, space: Space, among: list[int]) -> Bytes:
    """Bytes of one of the tensors in `space`: often all, else some eighths of it."""
    tensor = draw(st.sampled_from([t for t in among if builder.tensors[t].space == space]))
    low, high = sorted(draw(st.tuples(st.integers(0, 8), st.integers(0, 8))))
    eighth = builder.tensors[tensor].bytes // 8
    return (tensor, low * eighth, high * eighth) if low < high else builder.whole(tensor)


@st.composite
def _instructions(draw: st.DrawFn, builder: Builder, among: list[int]) -> None:
    """Adds one instruction (matmuls: up to nine) on tensors of `among`."""
    hbm, sbuf, psum = (_spans(builder, space, among) for space in Space)
    kind = draw(st.sampled_from(["load", "store", "matmul", "matmul", "compute", "compute"]))
    if kind in ("load", "store"):
        rows = draw(st.sampled_from([1, 8, 9, 60, 128]))
        size = draw(st.sampled_from([4, 300, 2048, 8192]))
        contiguous = draw(st.booleans())
        side = Engine.LOAD if kind == "load" else Engine.STORE
        work = DmaWork(side, rows, draw(st.integers(1, 3)), size, contiguous)
        ends = (draw(hbm), draw(sbuf))
        builder.add(work, *(reversed(ends) if kind == "load" else ends))
    elif kind == "matmul":
        shape = draw(st.sampled_from([(1, 1), (128, 1), (64, 200), (128, 512)]))
        accumulator = draw(psum)
        for _ in range(draw(st.sampled_from([1, 1, 2, 4, 9]))):
            builder.add(matmul(*shape, fp32=draw(st.booleans())), accumulator, draw(sbuf))
    else:
        spaces = draw(st.lists(st.sampled_from([Space.SBUF, Space.PSUM]), min_size=1, max_size=4))
        work_on = elementwise(draw(st.sampled_from(_COMPUTE)), draw(_ELEMENTS), *spaces)
        builder.add(work_on, *(draw(sbuf if s == Space.SBUF else psum) for s in spaces))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Small programs: some tensors from outside all loops, one or two loops that allocate."""
    builder = Builder()
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
                draw(_instructions(builder, inside * 2 + outside))
    return builder.program()
