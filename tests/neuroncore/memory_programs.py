"""Builds programs that are about memory only, by hand and at random."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from dataclasses import replace as changed

import msgspec
import numpy as np
from hypothesis import strategies as st

from tuner.neuroncore import Device, Policy, device, policy
from tuner.neuroncore.program import (
    ACCUMULATED,
    READ,
    WRITTEN,
    ElementwiseWork,
    Engine,
    Program,
    Site,
    Space,
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

    def whole(self, tensor: int) -> Rectangle:
        _, rows, row_bytes, _ = self.tensors[tensor]
        return tensor, 0, rows, 0, row_bytes

    def program(self) -> Program:
        sites = list(dict.fromkeys(site for *_, site in self.tensors))
        count = len(self.instructions)
        accesses = [access for row in self.instructions for access in row]
        return Program(
            works=(WORK,),
            work_of=np.zeros(count, np.int32),
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


def _rectangles(draw: st.DrawFn, builder: Builder, count: int) -> list[Rectangle]:
    """Up to `count` rectangles of recent tensors, half of them whole tensors."""
    found = []
    for _ in range(draw(st.integers(0, count))):
        recent = max(0, len(builder.tensors) - 6)
        tensor = draw(st.integers(draw(st.sampled_from([0, recent])), len(builder.tensors) - 1))
        _, rows, row_bytes, _ = builder.tensors[tensor]
        if draw(st.booleans()):
            found.append(builder.whole(tensor))
            continue
        row, byte = draw(st.integers(0, rows - 1)), draw(st.integers(0, row_bytes - 1))
        last_row, last_byte = (
            draw(st.integers(row, rows - 1)),
            draw(st.integers(byte, row_bytes - 1)),
        )
        found.append((tensor, row, last_row + 1, byte, last_byte + 1))
    return found


@st.composite
def programs(draw: st.DrawFn, unit: int = 512, widest: int = 3) -> Program:
    """Small programs: a few sites that allocate again and again, tensors of up to three units in
    SBUF and up to `widest` banks in PSUM.
    """
    builder = Builder()
    kinds = [
        (space, draw(st.integers(1, 3)), f"kernel.py:{line}", draw(st.booleans()))
        for line, space in enumerate(draw(st.lists(st.sampled_from(Space), min_size=1, max_size=5)))
    ]
    for _ in range(draw(st.integers(1, 24))):
        if not builder.tensors or draw(st.booleans()):
            space, size, place, looped = draw(st.sampled_from(kinds))
            row_bytes = unit * size - draw(st.integers(0, 3))
            if space == Space.PSUM:
                row_bytes = BANK_BYTES * min(size, widest) - draw(st.integers(0, 100))
            builder.tensor(space, row_bytes, place, looped=looped, rows=draw(st.integers(1, 2)))
        writes, reads = _rectangles(draw, builder, 2), _rectangles(draw, builder, 2)
        if draw(st.integers(0, 4)):
            builder.add(writes, reads)
        else:
            builder.add([], reads, adds=writes)
    return builder.program()
