from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.memory_programs import Builder, programs, rules, small
from tuner.neuroncore import device
from tuner.neuroncore.memory import CapacityError, demand, plan_memory
from tuner.neuroncore.program import (
    ACCUMULATED,
    READ,
    TENSOR,
    WRITTEN,
    DmaWork,
    Engine,
    Program,
    Space,
)
from tuner.neuroncore.spilling import Spilled, spill

HBM, SBUF, PSUM = Space
SPILL = rules("spill")


def spilled(builder: Builder, sbuf: int) -> Spilled:
    return spill(builder.program(), small(sbuf), SPILL)


def is_transfer(program: Program, i: int) -> bool:
    line: str = program.lines[program.line_of[i]]
    return line.startswith("spill of ")


def rows(program: Program, i: int) -> list[list[int]]:
    found: list[list[int]] = program.accesses[
        program.first_access[i] : program.first_access[i + 1]
    ].tolist()
    return found


def listing(program: Program) -> list[str]:
    """Each instruction: "store 3>5", "load 5>6", or what the kernel's own touches."""
    lines = []
    for i in range(len(program)):
        touched = [row[TENSOR] for row in rows(program, i)]
        work = program.works[program.work_of[i]]
        if is_transfer(program, i):
            assert isinstance(work, DmaWork)
            lines.append(f"{work.engine.name.lower()} {touched[1]}>{touched[0]}")
        else:
            lines.append(" ".join(map(str, touched)))
    return lines


def test_program_that_fits_comes_back_as_it_is() -> None:
    b = Builder()
    b.add([b.tensor(SBUF, 64), b.tensor(SBUF, 64)])
    program = b.program()
    found = spill(program, small(128), SPILL)
    assert found.program is program
    assert (found.saved_bytes, found.reloaded_bytes) == (0, 0)
    for on_overflow in ("error", "ignore"):
        assert spill(program, small(100), rules(on_overflow)).program is program


def test_contents_needed_last_go_to_hbm_and_back() -> None:
    b = Builder()
    x, y, z = (b.tensor(SBUF, 64, f"mlp.py:{line}") for line in range(3))
    b.add([x])
    b.add([y])
    b.add([z])
    b.add(reads=[y])
    b.add(reads=[x])
    found = spilled(b, 128)
    assert listing(found.program) == ["0", "1", "store 0>3", "2", "1", "load 3>4", "4"]
    assert (found.saved_bytes, found.reloaded_bytes) == (128 * 64, 128 * 64)
    program = found.program
    assert program.space.tolist() == [SBUF, SBUF, SBUF, HBM, SBUF]
    assert program.rows.tolist() == [128] * 5
    assert program.row_bytes.tolist() == [64] * 5
    assert [program.sites[s].place for s in program.site] == [
        "mlp.py:0",
        "mlp.py:1",
        "mlp.py:2",
        "mlp.py:0",
        "mlp.py:0",
    ]
    assert program.lines[program.line_of[2]] == "spill of mlp.py:0"
    assert program.works[program.work_of[2]] == DmaWork(
        Engine.STORE, 128, 1, 64, rows_contiguous=False, written_bytes=128 * 64
    )
    assert program.works[program.work_of[5]] == DmaWork(
        Engine.LOAD, 128, 1, 64, rows_contiguous=False, read_bytes=128 * 64
    )
    assert rows(program, 2) == [[3, WRITTEN, 0, 128, 0, 64], [0, READ, 0, 128, 0, 64]]
    assert plan_memory(program, small(128), SPILL).sbuf_peak_bytes == 128


def test_contents_are_stored_once_until_they_change() -> None:
    b = Builder()
    x, y = b.tensor(SBUF, 64), b.tensor(SBUF, 64)
    b.add([x])
    b.add([y])
    b.add(reads=[x])
    b.add(reads=[y])
    b.add(reads=[x])
    b.add(reads=[y])
    b.add([(x, 0, 1, 0, 1)])
    b.add(reads=[y])
    b.add(reads=[x])
    found = spilled(b, 64)
    stores = [line for line in listing(found.program) if line.startswith("store")]
    assert stores == ["store 0>2", "store 1>3", "store 8>9"]
    assert found.saved_bytes == 3 * 128 * 64
    assert found.reloaded_bytes == 7 * 128 * 64


def test_what_is_overwritten_or_not_needed_again_is_neither_stored_nor_loaded() -> None:
    b = Builder()
    x, y, z = (b.tensor(SBUF, 64) for _ in range(3))
    b.add([x])
    b.add([y])
    b.add([z])
    b.add([x])
    b.add(reads=[x, y])
    found = spilled(b, 128)
    assert listing(found.program) == ["0", "1", "2", "3", "3 1"]
    assert found.program.space.tolist() == [SBUF] * 4
    assert (found.saved_bytes, found.reloaded_bytes) == (0, 0)


def test_reading_and_partial_writes_need_the_old_contents() -> None:
    for change in ("reads", "part", "adds"):
        b = Builder()
        x, y = b.tensor(SBUF, 64), b.tensor(SBUF, 64)
        b.add([x])
        b.add([y])
        if change == "reads":
            b.add([x], [x])
        elif change == "part":
            b.add([(x, 0, 128, 0, 63)])
        else:
            b.add(adds=[x])
        assert "load 2>3" in listing(spilled(b, 64).program), change


def test_operands_of_the_instruction_stay() -> None:
    b = Builder()
    x, y, z = (b.tensor(SBUF, 64) for _ in range(3))
    b.add([x])
    b.add([y])
    b.add([z], [x])
    b.add(reads=[y])
    b.add(reads=[x])
    assert listing(spilled(b, 128).program) == [
        "0",
        "1",
        "store 1>3",
        "2 0",
        "load 3>4",
        "4",
        "0",
    ]


def test_operands_that_do_not_fit_by_themselves_are_refused() -> None:
    b = Builder()
    b.add([b.tensor(SBUF, 64, "mlp.py:1")])
    b.add([b.tensor(SBUF, 64, "mlp.py:2", "big"), b.tensor(SBUF, 30, "mlp.py:3")], [])
    b.add(reads=[0])
    with pytest.raises(CapacityError) as caught:
        spilled(b, 92)
    assert str(caught.value) == (
        "out of memory in SBUF: 96 bytes per partition asked, 92 available; "
        "largest: big 64 (mlp.py:2), tensor 32 (mlp.py:3)"
    )


def test_psum_is_never_spilled() -> None:
    b = Builder()
    for tile in [b.tensor(PSUM, 2048) for _ in range(9)] * 2:
        b.add([tile], [tile])
    program = b.program()
    assert spill(program, small(), SPILL).program is program


def test_excess_result_tiles_spill_once_a_pass() -> None:
    """AWS kernel optimisation guide, fully optimised fp32 kernel: 64 result tiles of 2 KiB a
    partition, 104 KiB of operands, 207.7 KiB usable: about 13 tiles go out and back a pass.
    """
    b = Builder()
    tiles = [b.tensor(SBUF, 2048, "matmul.py:1") for _ in range(64)]
    for _ in range(5):
        blocks = [b.tensor(SBUF, kib << 10, f"matmul.py:{kib}") for kib in (32, 64, 8)]
        b.add(blocks)
        for tile in tiles:
            b.add([tile], [tile, *blocks])
    found = spill(b.program(), device("trn2"), SPILL)
    tile_bytes = 128 * 2048
    assert found.saved_bytes == found.reloaded_bytes == 4 * 13 * tile_bytes


@dataclass
class Memory:
    """Which instruction wrote each byte of each tensor last."""

    program: Program

    def __post_init__(self) -> None:
        shapes = zip(self.program.rows, self.program.row_bytes, strict=True)
        self.writer = [np.full(shape, -1) for shape in shapes]

    def read(self, row: list[int]) -> list[Any]:
        tensor, _, *box = row
        found: list[Any] = self.writer[tensor][box[0] : box[1], box[2] : box[3]].tolist()
        return found

    def write(self, row: list[int], values: npt.NDArray[np.int64] | int) -> None:
        tensor, _, *box = row
        self.writer[tensor][box[0] : box[1], box[2] : box[3]] = values


def readings(program: Program) -> list[list[Any]]:
    """What the kernel's own instructions read, in order; transfers only copy."""
    memory, found = Memory(program), list[list[Any]]()
    for i in range(len(program)):
        accesses = rows(program, i)
        if is_transfer(program, i):
            (into, *_), (source, *_) = accesses
            memory.writer[into][:] = memory.writer[source]
            continue
        found.append([memory.read(row) for row in accesses if row[1] in (READ, ACCUMULATED)])
        for row in accesses:
            if row[1] != READ:
                memory.write(row, len(found))
    return found


def rooms(program: Program) -> list[int]:
    """Bytes per partition that each tensor takes in SBUF."""
    in_sbuf = (program.space == SBUF).tolist()
    return [
        -(-size // 4) * 4 * here
        for size, here in zip(program.row_bytes.tolist(), in_sbuf, strict=True)
    ]


def expected(program: Program, capacity: int) -> list[tuple[int, str, int]]:
    """The transfers (before instruction, kind, tensor), the slow and obvious way."""
    touched = [rows(program, i) for i in range(len(program))]
    size = rooms(program)

    def overwrites(i: int, t: int) -> bool:
        mine = [row for row in touched[i] if row[TENSOR] == t]
        whole = [t, WRITTEN, 0, int(program.rows[t]), 0, int(program.row_bytes[t])]
        return whole in mine and all(row[1] == WRITTEN for row in mine)

    def needed(t: int, since: int) -> int | None:
        """Next instruction that needs the contents; None: no more accesses."""
        for i in range(since, len(program)):
            if any(row[TENSOR] == t for row in touched[i]):
                return len(program) if overwrites(i, t) else i
        return None

    resident, outside, stored = set[int](), set[int](), set[int]()
    found = []
    for i in range(len(program)):
        operands = {row[TENSOR] for row in touched[i] if program.space[row[TENSOR]] == SBUF}
        while sum(size[t] for t in resident | operands) > capacity:
            when = {t: needed(t, i) or -1 for t in resident - operands}
            victim = max(when, key=lambda t: (when[t], t))
            resident.remove(victim)
            outside.add(victim)
            if when[victim] < len(program) and victim not in stored:
                found.append((i, "store", victim))
                stored.add(victim)
        in_order = dict.fromkeys(row[TENSOR] for row in touched[i] if row[TENSOR] in operands)
        for t in in_order:
            if t in outside and not overwrites(i, t):
                found.append((i, "load", t))
        outside -= operands
        stored -= {row[TENSOR] for row in touched[i] if row[1] != READ}
        resident = {t for t in resident | operands if needed(t, i + 1) is not None}
    return found


def inserted(program: Program, before: Program) -> list[tuple[int, str, int]]:
    """The transfers of a spilled program, as `expected`."""
    found, own = [], 0
    number = dict[int, int]()  # of new tensors: the one of the kernel's that they continue
    pending = list[tuple[int, str, int]]()
    for i in range(len(program)):
        if is_transfer(program, i):
            (into, *_), (source, *_) = rows(program, i)
            number.setdefault(into, number.get(source, source))
            kind = "store" if program.space[into] == HBM else "load"
            pending.append((own, kind, number[into]))
            continue
        for row, original in zip(rows(program, i), rows(before, own), strict=True):
            assert row[1:] == original[1:]
            number.setdefault(row[TENSOR], original[TENSOR])
            assert number[row[TENSOR]] == original[TENSOR]
        assert program.works[program.work_of[i]] == before.works[before.work_of[own]]
        assert program.lines[program.line_of[i]] == before.lines[before.line_of[own]]
        found += pending
        pending.clear()
        own += 1
    assert (own, pending) == (len(before), [])
    return found


@settings(max_examples=300)
@given(programs(unit=8), st.sampled_from([-0.1, 0, 0, 0.2, 0.5, 0.8, 1]))
def test_spilling_equals_the_obvious_one_and_changes_no_value(
    program: Program, share: float
) -> None:
    """`share`: 0 is just enough memory for the largest instruction, 1 for all without spilling."""
    size = rooms(program)
    operands = [{row[TENSOR] for row in rows(program, i)} for i in range(len(program))]
    asked = [sum(size[t] for t in those) for those in operands]
    peak = int(demand(program, small()).peak_bytes[SBUF])
    capacity = max(4, int(max(asked) + share * (peak - max(asked))))
    core = small(capacity, banks=1000)
    too_large = [bytes_ for bytes_ in asked if bytes_ > capacity]
    if too_large:
        with pytest.raises(CapacityError, match=f"SBUF: {too_large[0]} bytes"):
            spill(program, core, SPILL)
        return
    found = spill(program, core, SPILL)
    assert inserted(found.program, program) == expected(program, capacity)
    assert readings(found.program) == readings(program)
    assert plan_memory(found.program, core, SPILL).sbuf_peak_bytes <= capacity
    assert found.program.hbm_written_bytes == found.saved_bytes
    assert found.program.hbm_read_bytes == found.reloaded_bytes
    modes: dict[int, list[int]] = {}
    for row in (row for i in range(len(found.program)) for row in rows(found.program, i)):
        modes.setdefault(row[TENSOR], []).append(row[1])
    for t in range(len(program.space), len(found.program.space)):
        if found.program.space[t] == HBM:  # stored once, loaded at least once
            assert modes[t] == [WRITTEN, READ, *[READ] * (len(modes[t]) - 2)]


def test_order_of_arrays_is_that_of_the_interface() -> None:
    b = Builder()
    for tile in [b.tensor(SBUF, 64) for _ in range(4)] * 3:
        b.add([tile], [tile])
    before, after = b.program(), spilled(b, 128).program
    for name in ("work_of", "line_of", "first_access", "accesses", "space", "rows", "row_bytes"):
        old, new = getattr(before, name), getattr(after, name)
        assert (old.dtype, old.flags.c_contiguous) == (new.dtype, new.flags.c_contiguous), name
    assert len(after) == len(after.line_of) == len(after.first_access) - 1
    assert [b - a for a, b in pairwise(after.first_access)] == [2] * len(after)
