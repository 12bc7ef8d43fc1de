from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.compiler.memory_programs import Builder, programs, rules, small
from tuner.neuroncore import device
from tuner.neuroncore.compiler.memory import CapacityError, demand, plan_memory
from tuner.neuroncore.compiler.spilling import Spilled, spill
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
        elif isinstance(work, DmaWork):
            lines.append(f"own {touched[1]}>{touched[0]}")
        else:
            lines.append(" ".join(map(str, touched)))
    return lines


def test_program_that_fits_comes_back_as_it_is() -> None:
    b = Builder()
    b.add([b.tensor(SBUF, 64), b.tensor(SBUF, 64)])
    program = b.program()
    found = spill(program, small(128), SPILL)
    assert found.program is program
    assert (found.saved_bytes, found.reloaded_bytes, found.reread_bytes) == (0, 0, 0)
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


def test_what_was_loaded_is_read_again_and_not_stored() -> None:
    b = Builder()
    x, weights = b.tensor(HBM, 256, "argument", rows=300), b.tensor(SBUF, 64, "mlp.py:1")
    b.load(weights, (x, 100, 228, 64, 128))
    b.add(reads=[weights])
    other = b.tensor(SBUF, 64, "mlp.py:2")
    b.add([other])
    b.add(reads=[other])
    b.add(reads=[weights])
    found = spilled(b, 64)
    assert listing(found.program) == ["own 0>1", "1", "2", "2", "load 0>3", "3"]
    assert (found.saved_bytes, found.reloaded_bytes, found.reread_bytes) == (0, 0, 128 * 64)
    program = found.program
    assert program.works[program.work_of[4]] == program.works[program.work_of[0]]
    assert program.lines[program.line_of[4]] == "spill of mlp.py:1"
    assert rows(program, 4) == [[3, WRITTEN, 0, 128, 0, 64], [0, READ, 100, 228, 64, 128]]
    assert program.space.tolist() == [HBM, SBUF, SBUF, SBUF]


def test_what_was_loaded_and_not_used_is_read_late() -> None:
    b = Builder()
    x, weights = b.tensor(HBM, 64, "argument"), b.tensor(SBUF, 64)
    b.load(weights, x)
    other = b.tensor(SBUF, 64)
    b.add([other], [other])
    b.add(reads=[weights])
    found = spilled(b, 64)
    assert listing(found.program) == ["2 2", "load 0>3", "3"]
    assert (found.saved_bytes, found.reloaded_bytes, found.reread_bytes) == (0, 0, 128 * 64)


@pytest.mark.parametrize("why", ["source", "tile", "part", "first"])
def test_what_is_no_plain_copy_is_stored(why: str) -> None:
    """The source is written, by whomever and whenever; the tile is; only a part is loaded, first or
    last.
    """
    b = Builder()
    x, tile, other = b.tensor(HBM, 64, "argument"), b.tensor(SBUF, 64), b.tensor(SBUF, 64)
    if why == "first":
        b.add([tile])
    b.load((tile, 0, 128, 0, 63) if why in ("part", "first") else tile, x)
    if why == "tile":
        b.add([(tile, 5, 6, 0, 1)])
    b.add(reads=[tile])
    b.add([other], [other])
    b.add(reads=[tile])
    if why == "source":
        b.add([(x, 0, 1, 0, 1)])
    found = spilled(b, 64)
    assert (found.saved_bytes, found.reread_bytes) == (128 * 64, 0)
    assert "store 1>3" in listing(found.program)


def test_a_tile_loaded_again_after_a_change_is_read_again() -> None:
    b = Builder()
    x, tile, other = b.tensor(HBM, 64, "argument"), b.tensor(SBUF, 64), b.tensor(SBUF, 64)
    b.add([tile])
    b.add(reads=[tile])
    b.load(tile, x)
    b.add(reads=[tile])
    b.add([other], [other])
    b.add(reads=[tile])
    found = spilled(b, 64)
    assert (found.saved_bytes, found.reread_bytes) == (0, 128 * 64)


def test_of_what_can_be_read_again_the_longest_unused_goes() -> None:
    """Of the three tiles the third is needed last; the first was used longest ago."""
    b = Builder()
    x = b.tensor(HBM, 64, "argument")
    tiles = [b.tensor(SBUF, 64) for _ in range(3)]
    for tile in tiles:
        b.load(tile, x)
        b.add(reads=[tile])
    b.add([b.tensor(SBUF, 64)])
    for tile in tiles:
        b.add(reads=[4, tile])
    found = listing(spilled(b, 192).program)[6:]
    assert found == ["4", "load 0>5", "4 5", "load 0>6", "4 6", "4 3"]


def test_what_must_be_stored_goes_when_it_is_needed_last() -> None:
    b = Builder()
    x = b.tensor(HBM, 64, "argument")
    loaded, computed, other = (b.tensor(SBUF, 64) for _ in range(3))
    b.load(loaded, x)
    b.add([computed], [loaded])
    b.add([other])
    b.add(reads=[loaded])
    b.add(reads=[other])
    b.add(reads=[computed])
    found = listing(spilled(b, 128).program)
    assert found == ["own 0>1", "2 1", "store 2>4", "3", "1", "3", "load 4>5", "5"]


@dataclass
class Memory:
    """Which instruction wrote each byte of each tensor last."""

    program: Program

    def __post_init__(self) -> None:
        shapes = zip(self.program.rows, self.program.row_bytes, strict=True)
        self.writer = [np.full(shape, -1) for shape in shapes]
        self.stored = set[int]()

    def read(self, row: list[int]) -> list[Any]:
        tensor, _, *box = row
        found: list[Any] = self.writer[tensor][box[0] : box[1], box[2] : box[3]].tolist()
        return found

    def write(self, row: list[int], values: npt.NDArray[np.int64] | int) -> None:
        tensor, _, *box = row
        self.writer[tensor][box[0] : box[1], box[2] : box[3]] = values


def plain_loads(program: Program) -> set[int]:
    """The program's own instructions that only copy from what nobody writes, to all of a tile."""
    touched = [rows(program, i) for i in range(len(program))]
    written = {row[TENSOR] for accesses in touched for row in accesses if row[1] != READ}
    found = set()
    for i, accesses in enumerate(touched):
        work = program.works[program.work_of[i]]
        if not isinstance(work, DmaWork) or work.engine != Engine.LOAD or len(accesses) != 2:
            continue
        (t, *to), (source, *_) = accesses
        all_of_it = [WRITTEN, 0, int(program.rows[t]), 0, int(program.row_bytes[t])]
        if to == all_of_it and program.space[source] == HBM and source not in written:
            found.add(i)
    return found


def readings(
    program: Program, own: list[int], copies: set[int], sources: dict[Any, int]
) -> list[list[Any]]:
    """What the kernel's own instructions read, in order; transfers only copy.

    `own` numbers them; those of `copies`, and what reads the same again, write the number that
    `sources` has for what they read.
    """
    memory, found = Memory(program), list[list[Any]]()
    numbers = iter(own)
    for i in range(len(program)):
        accesses = rows(program, i)
        number = -1 if is_transfer(program, i) else next(numbers)
        again = number < 0 and program.works[program.work_of[i]].engine == Engine.LOAD
        if number < 0 and not (again and accesses[1][TENSOR] not in memory.stored):
            (into, *_), (source, *_) = accesses
            if program.space[into] == HBM:
                memory.stored.add(into)
                contents = set(memory.writer[source].ravel().tolist())
                assert len(contents) > 1 or not contents & set(sources.values())
            memory.writer[into][:] = memory.writer[source]
            continue
        if number < 0 or number in copies:
            source_row = (tuple(accesses[1]), program.works[program.work_of[i]])
            memory.write(accesses[0], sources.setdefault(source_row, -2 - len(sources)))
            continue
        found.append([memory.read(row) for row in accesses if row[1] in (READ, ACCUMULATED)])
        for row in accesses:
            if row[1] != READ:
                memory.write(row, number)
    return found


def rooms(program: Program) -> list[int]:
    """Bytes per partition that each tensor takes in SBUF."""
    in_sbuf = (program.space == SBUF).tolist()
    return [
        -(-size // 4) * 4 * here
        for size, here in zip(program.row_bytes.tolist(), in_sbuf, strict=True)
    ]


Transfers = list[tuple[int, str, int]]


def expected(program: Program, capacity: int) -> tuple[Transfers, set[int]]:
    """The transfers (before instruction, kind, tensor) and the loads that are dropped, the slow and
    obvious way.
    """
    touched = [rows(program, i) for i in range(len(program))]
    size, plain, never = rooms(program), plain_loads(program), len(program)

    def overwrites(i: int, t: int) -> bool:
        mine = [row for row in touched[i] if row[TENSOR] == t]
        whole = [t, WRITTEN, 0, int(program.rows[t]), 0, int(program.row_bytes[t])]
        return whole in mine and all(row[1] == WRITTEN for row in mine)

    def needed(t: int, since: int) -> int | None:
        """Next instruction that needs the contents; None: no more accesses."""
        for i in range(since, len(program)):
            if any(row[TENSOR] == t for row in touched[i]):
                return never if overwrites(i, t) else i
        return None

    resident, outside, stored = set[int](), set[int](), set[int]()
    loaded_by, unread, used = dict[int, int](), set[int](), dict[int, int]()
    found, late = Transfers(), set[int]()
    for i in range(len(program)):
        operands = {row[TENSOR] for row in touched[i] if program.space[row[TENSOR]] == SBUF}
        while sum(size[t] for t in resident | operands) > capacity:
            when = {t: needed(t, i) or -1 for t in resident - operands}
            victim = max(when, key=lambda t: (when[t], t))
            if victim in loaded_by and when[victim] != never:
                victim = min(loaded_by.keys() & when.keys(), key=lambda t: (used[t], t))
            resident.remove(victim)
            outside.add(victim)
            if when[victim] == never:
                continue
            if victim in loaded_by:
                late |= {loaded_by[victim]} & unread
            elif victim not in stored:
                found.append((i, "store", victim))
                stored.add(victim)
        in_order = dict.fromkeys(row[TENSOR] for row in touched[i] if row[TENSOR] in operands)
        for t in in_order:
            if t in outside and not overwrites(i, t):
                found.append((i, "read" if t in loaded_by else "load", t))
        outside -= operands
        for t, mode, *_ in touched[i]:
            if mode == READ and t in loaded_by:
                unread.discard(loaded_by[t])
            if mode != READ:
                stored.discard(t)
                loaded_by.pop(t, None)
                if i in plain and t in operands:
                    loaded_by[t] = i
                    unread.add(i)
        used |= dict.fromkeys(operands, i)
        resident = {t for t in resident | operands if needed(t, i + 1) is not None}
    return found, late


def inserted(program: Program, before: Program, kept: list[int]) -> Transfers:
    """The transfers of a spilled program, each before an instruction that is there still; `kept`
    numbers the program's own.
    """
    found, own = Transfers(), iter(kept)
    number = dict[int, int]()  # of new tensors: the one of the kernel's that they continue
    pending = list[tuple[str, int, list[list[int]], int]]()
    loads = {i: rows(before, i)[0][TENSOR] for i in plain_loads(before)}
    for i in range(len(program)):
        accesses, work = rows(program, i), program.works[program.work_of[i]]
        if is_transfer(program, i):
            pending.append(("", i, accesses, int(program.work_of[i])))
            continue
        at = next(own)
        original = rows(before, at)
        assert len(accesses) == len(original)
        for row, mine in zip(accesses, original, strict=True):
            assert row[1:] == mine[1:]
        continued = {r[TENSOR]: o[TENSOR] for r, o in zip(accesses, original, strict=True)}
        for _, _, ((into, *_), (source, *box)), how in pending:
            if program.space[into] == HBM:
                number.setdefault(into, number.get(source, source))
                found.append((at, "store", number[into]))
            elif source >= len(before.space):
                assert number.setdefault(into, number[source]) == number[source]
                found.append((at, "load", number[source]))
            else:
                number[into] = continued[into]
                origin = max(n for n, t in loads.items() if n < at and t == number[into])
                assert rows(before, origin)[1] == [source, *box]
                assert program.works[how] == before.works[before.work_of[origin]]
                found.append((at, "read", number[into]))
        pending.clear()
        for new, old in continued.items():
            assert number.setdefault(new, old) == old
        assert work == before.works[before.work_of[at]]
        assert program.lines[program.line_of[i]] == before.lines[before.line_of[at]]
    assert (next(own, None), pending) == (None, [])
    return found


@settings(max_examples=300)
@given(programs(unit=8, loading=True), st.sampled_from([-0.1, 0, 0, 0.2, 0.5, 0.8, 1]))
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
    transfers, late = expected(program, capacity)
    kept = [i for i in range(len(program)) if i not in late]
    before = [(min(k for k in kept if k >= at), kind, t) for at, kind, t in transfers]
    assert inserted(found.program, program, kept) == before
    plain = plain_loads(program)
    assert late <= plain
    sources = dict[Any, int]()
    read = readings(program, [*range(len(program))], plain, sources)
    assert readings(found.program, kept, plain, sources) == read
    assert plan_memory(found.program, core, SPILL).sbuf_peak_bytes <= capacity
    assert found.program.hbm_written_bytes == found.saved_bytes
    own_bytes = program.hbm_read_bytes - sum(
        program.works[program.work_of[i]].read_bytes for i in late
    )
    assert found.program.hbm_read_bytes == (own_bytes + found.reloaded_bytes + found.reread_bytes)
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
