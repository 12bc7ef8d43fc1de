"""Builds programs that are about memory only, by hand and at random."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from dataclasses import replace as changed
from random import Random

import msgspec
import numpy as np
from hypothesis import strategies as st

from tuner.neuroncore import Device, Policy, device, policy
from tuner.neuroncore.program import (
    ACCUMULATED,
    READ,
    WRITTEN,
    DmaWork,
    ElementwiseWork,
    Engine,
    Program,
    Site,
    Space,
    Work,
)

WORK = ElementwiseWork("tensor_copy", Engine.VECTOR, 1, ())
BANK_BYTES = 2048

Rectangle = tuple[int, int, int, int, int]
"""Tensor, first row, one past the last, first byte, one past the last."""


def small(sbuf_bytes: int = 4096, banks: int = 8) -> Device:
    """A device with little memory."""
    full = device("trn2")
    sbuf = msgspec.structs.replace(full.sbuf, usable_bytes_per_partition=sbuf_bytes)
    psum = msgspec.structs.replace(
        full.psum, bytes_per_partition=banks * BANK_BYTES, bank_bytes_per_partition=BANK_BYTES
    )
    return msgspec.structs.replace(full, sbuf=sbuf, psum=psum)


def rules(on_overflow: str = "error", depth: int = 2, buffers_min: int = 1) -> Policy:
    return changed(
        policy("nki"), on_overflow=on_overflow, rotation_depth=depth, buffers_min=buffers_min
    )


@dataclass
class Builder:
    """Collects tensors and instructions into a program."""

    tensors: list[tuple[Space, int, int, Site]] = field(default_factory=list)
    instructions: list[list[tuple[int, int, int, int, int, int]]] = field(default_factory=list)
    loads: dict[int, Work] = field(default_factory=dict)

    def tensor(
        self,
        space: Space,
        row_bytes: int,
        place: str = "kernel.py:3",
        name: str = "",
        looped: bool = True,
        rows: int = 128,
    ) -> int:
        self.tensors.append((space, rows, row_bytes, Site(name, place, looped)))
        return len(self.tensors) - 1

    def add(
        self,
        writes: Iterable[int | Rectangle] = (),
        reads: Iterable[int | Rectangle] = (),
        adds: Iterable[int | Rectangle] = (),
    ) -> None:
        """Appends an instruction; a number stands for all of a tensor."""
        accesses = []
        for mode, those in ((WRITTEN, writes), (ACCUMULATED, adds), (READ, reads)):
            for one in those:
                tensor, *rest = self.whole(one) if isinstance(one, int) else one
                accesses.append((tensor, mode, *rest))
        self.instructions.append(accesses)  # type: ignore[arg-type]

    def load(self, tile: int | Rectangle, source: int | Rectangle) -> None:
        """Appends a load from HBM."""
        _, rows, row_bytes, _ = self.tensors[tile if isinstance(tile, int) else tile[0]]
        self.loads[len(self.instructions)] = DmaWork(
            Engine.LOAD, rows, 1, row_bytes, False, read_bytes=rows * row_bytes
        )
        self.add([tile], [source])

    def whole(self, tensor: int) -> Rectangle:
        _, rows, row_bytes, _ = self.tensors[tensor]
        return tensor, 0, rows, 0, row_bytes

    def program(self) -> Program:
        sites = list(dict.fromkeys(site for *_, site in self.tensors))
        count = len(self.instructions)
        accesses = [access for row in self.instructions for access in row]
        works = list(dict.fromkeys([WORK, *self.loads.values()]))
        return Program(
            works=tuple(works),
            work_of=np.array(
                [works.index(self.loads.get(i, WORK)) for i in range(count)], np.int32
            ),
            lines=("kernel.py:1", "kernel.py:2"),
            line_of=np.arange(count, dtype=np.int32) % 2,
            first_access=np.cumsum([0, *map(len, self.instructions)], dtype=np.int64),
            accesses=np.array(accesses, np.int32).reshape(-1, 6),
            sites=tuple(sites),
            space=np.array([space for space, *_ in self.tensors], np.int8),
            rows=np.array([rows for _, rows, *_ in self.tensors], np.int32),
            row_bytes=np.array([row_bytes for _, _, row_bytes, _ in self.tensors], np.int64),
            site=np.array([sites.index(site) for *_, site in self.tensors], np.int32),
        )


def _rectangle(random: Random, builder: Builder, recent: float) -> Rectangle:
    """A rectangle of some tensor; one of the last five with a probability of `recent`."""
    count = len(builder.tensors)
    tensor = random.randrange(max(0, count - 5) if random.random() < recent else 0, count)
    return builder.whole(tensor) if random.random() < 0.6 else _part(random, builder, tensor)


def _part(random: Random, builder: Builder, tensor: int) -> Rectangle:
    _, rows, row_bytes, _ = builder.tensors[tensor]
    row, byte = random.randrange(rows), random.randrange(row_bytes)
    return tensor, row, random.randint(row + 1, rows), byte, random.randint(byte + 1, row_bytes)


@st.composite
def programs(draw: st.DrawFn, unit: int = 512, widest: int = 3, loading: bool = False) -> Program:
    """Small programs: a few sites that allocate again and again, tensors of up to three units in
    SBUF and up to `widest` banks in PSUM; some of them mostly load from what is never written.
    """
    spaces = [Space.SBUF, Space.PSUM, *draw(st.lists(st.sampled_from(Space), max_size=3))]
    steps = draw(st.sampled_from([1, 2, 4, 8, 12, 20, 30, 30, 40, 40, 60]))
    # Drawing every choice by itself makes nearly all programs too small to run out of memory.
    random = Random(draw(st.integers(0, 1 << 32)))
    sites = [
        (f"kernel.py:{line}", space, random.random() < 0.7) for line, space in enumerate(spaces)
    ]
    density, recent = random.uniform(0.2, 1), random.random()
    builder = Builder()
    share = random.choice([0, 0.3, 0.7]) if loading else 0
    sources = [builder.tensor(Space.HBM, 20, "argument", looped=False) for _ in range(2 * loading)]
    for _ in range(steps):
        if not builder.tensors or random.random() < density:
            place, space, looped = random.choice(sites)
            row_bytes = unit * random.randint(1, 3) - random.randint(0, 3)
            if space == Space.PSUM:
                row_bytes = BANK_BYTES * random.randint(1, widest) - random.randint(0, 100)
            builder.tensor(space, row_bytes, place, looped=looped, rows=random.randint(1, 2))
        tiles = [t for t, (space, *_) in enumerate(builder.tensors) if space != Space.HBM]
        if tiles and random.random() < share:
            tile = random.choice(tiles)
            to = builder.whole(tile) if random.random() < 0.9 else _part(random, builder, tile)
            builder.load(to, _part(random, builder, random.choice(sources)))
            continue
        first = [_rectangle(random, builder, recent) for _ in range(random.randint(0, 2))]
        reads = [_rectangle(random, builder, recent) for _ in range(random.randint(0, 2))]
        if share:  # sources stay as they are, mostly
            first = [one for one in first if one[0] not in sources or random.random() < 0.05]
        if random.random() < 0.8:
            builder.add(first, reads)
        else:
            builder.add([], reads, adds=first)
    return builder.program()
