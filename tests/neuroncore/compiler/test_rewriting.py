from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.programs import Builder, elementwise, load, matmul, small, store
from tuner.neuroncore import Policy, policy
from tuner.neuroncore.compiler.memory import demand
from tuner.neuroncore.compiler.rewriting import rewrite
from tuner.neuroncore.program import (
    ACCUMULATED,
    READ,
    WRITTEN,
    DmaWork,
    Engine,
    Program,
    Space,
)

HBM, SBUF, PSUM = Space
PLAIN = policy("nki")
RENAMES, HOISTS = replace(PLAIN, renames=True), replace(PLAIN, hoists=True)
COPY = elementwise(Engine.VECTOR, 64)
SUM = elementwise(Engine.VECTOR, 64, SBUF, SBUF, SBUF, opcode="tensor_tensor")


def rewritten(builder: Builder, rules: Policy, sbuf: int = 1 << 16) -> Program:
    return rewrite(builder.program(), small("trn2", sbuf), rules)


def rows(program: Program) -> list[list[list[int]]]:
    """The accesses of each instruction."""
    found: list[list[int]] = program.accesses.tolist()
    return [found[a:b] for a, b in pairwise(program.first_access.tolist())]


def listing(program: Program) -> list[str]:
    """The tensors that each instruction accesses."""
    return [" ".join(str(row[0]) for row in accesses) for accesses in rows(program)]


@dataclass
class Symbols:
    """Numbers for values: the same number for what is computed in the same way."""

    table: dict[object, int] = field(default_factory=dict)

    def of(self, *key: object) -> int:
        return self.table.setdefault(key, len(self.table))


@dataclass
class Replay:
    """Runs a program on symbols, byte by byte; says what each instruction reads and what it writes
    to HBM.
    """

    program: Program
    symbols: Symbols
    cells: dict[tuple[int, int, int], int] = field(default_factory=dict)

    def places(self, row: list[int]) -> Iterator[tuple[int, int, int]]:
        tensor, _, top, bottom, low, high = row
        return ((tensor, r, b) for r in range(top, bottom) for b in range(low, high))

    def value(self, place: tuple[int, int, int]) -> int:
        """What nobody wrote is an argument in HBM, and the same garbage everywhere else."""
        if place in self.cells:
            return self.cells[place]
        in_hbm = self.program.space[place[0]] == HBM
        return self.symbols.of(*(place if in_hbm else ("garbage",)))

    def read(self, row: list[int]) -> tuple[int, ...]:
        return tuple(self.value(place) for place in self.places(row))

    def run(self) -> tuple[list[object], list[object]]:
        reads, to_hbm = list[object](), list[object]()
        for i, accesses in enumerate(rows(self.program)):
            work = self.program.works[self.program.work_of[i]]
            line = -1 if isinstance(work, DmaWork) else int(self.program.line_of[i])
            inputs = tuple(self.read(row) for row in accesses if row[1] == READ)
            reads.append((inputs, [self.read(row) for row in accesses if row[1] == ACCUMULATED]))
            for number, row in enumerate(accesses):
                if row[1] == READ:
                    continue
                for n, place in enumerate(self.places(row)):
                    before = self.value(place) if row[1] == ACCUMULATED else -1
                    self.cells[place] = self.symbols.of(work, line, number, n, inputs, before)
                if self.program.space[row[0]] == HBM:
                    to_hbm.append((row, self.read(row)))
        return reads, to_hbm


def check_shape(program: Program) -> None:
    """The arrays fit together."""
    count, tensors = len(program), len(program.space)
    assert len(program.line_of) == count == len(program.first_access) - 1
    assert program.first_access[0] == 0
    assert program.first_access[-1] == len(program.accesses)
    assert len(program.rows) == len(program.row_bytes) == len(program.site) == tensors
    assert program.accesses[:, 0].max(initial=-1) < tensors


# Renaming


def test_a_whole_overwrite_in_a_loop_makes_a_new_tensor() -> None:
    b = Builder()
    x, tile = b.tensor(HBM, 64), b.tensor(SBUF, 64, "kernel.py:5", "tile")
    for _ in range(3):
        b.add(load(), tile, x)
        b.add(store(), x, tile)
    found = rewritten(b, RENAMES)
    assert listing(found) == ["1 0", "0 1", "2 0", "0 2", "3 0", "0 3"]
    assert found.space.tolist() == [HBM, SBUF, SBUF, SBUF]
    assert found.row_bytes.tolist() == [64] * 4
    assert found.rows.tolist() == [128] * 4
    assert found.site.tolist() == [0, 1, 1, 1]
    check_shape(found)
    assert rewritten(b, PLAIN).space.tolist() == [HBM, SBUF]


def test_tiles_in_psum_are_renamed_too() -> None:
    b = Builder()
    sums, a = b.tensor(PSUM, 64, "kernel.py:5"), b.tensor(SBUF, 64)
    for _ in range(2):
        b.add(matmul(), sums, a, a, accumulates=False)
        b.add(matmul(), sums, a, a, accumulates=True)
    assert listing(rewritten(b, RENAMES)) == ["0 1 1", "0 1 1", "2 1 1", "2 1 1"]


@pytest.mark.parametrize("why", ["outside", "hbm", "bytes", "rows", "reads", "adds", "once"])
def test_what_is_not_renamed(why: str) -> None:
    b = Builder()
    space = HBM if why == "hbm" else SBUF
    tile = b.tensor(space, 64, "" if why == "outside" else "kernel.py:5")
    other = b.tensor(SBUF, 64)
    parts = {"bytes": (tile, 0, 128, 0, 63), "rows": (tile, 0, 127, 0, 64)}
    part = parts.get(why, (tile, 0, 128, 0, 64))
    b.add(COPY, tile, other)
    b.add(COPY, other, tile)
    if why == "reads":
        b.add(SUM, tile, other, (tile, 5, 6))
    elif why != "once":
        b.add(COPY, part, other, accumulates=why == "adds")
    program = b.program()
    found = rewrite(program, small("trn2", 4096), RENAMES)
    assert found is program


@st.composite
def bodies(draw: st.DrawFn) -> Program:
    """A few passes over the same body: tiles of the loop and of outside, copies and sums of parts
    and of all, sources in HBM that may be written in between; parts may differ by pass.
    """
    random = Random(draw(st.integers(0, 1 << 32)))
    b = Builder()
    outer = [b.tensor(HBM, 6, rows=2) for _ in range(random.randint(1, 3))]
    outer += [b.tensor(space, 3, rows=2) for space in (SBUF, PSUM)]
    shapes = [(random.choice([SBUF, SBUF, SBUF, PSUM]), random.randint(1, 6)) for _ in range(4)]
    shapes = shapes[: random.randint(1, 4)]
    steps = [random.randrange(1 << 32) for _ in range(random.randint(1, 7))]
    chain = random.randrange(1 << 32)
    order = [random.random() for _ in shapes]
    alike = random.random()
    tidy = random.random() < 0.7  # mostly loads and what is computed from them
    steps = steps[:-1][: random.randint(0, 3)] if tidy else steps
    turns = random.randint(1, 4)
    for turn in range(turns):
        tiles = dict[int, int]()
        for n in sorted(range(len(shapes)), key=lambda n: order[n]):
            tiles[n] = b.tensor(shapes[n][0], shapes[n][1], f"kernel.py:{n}", rows=2)
        mine = [tiles[n] for n in sorted(tiles)]
        if tidy:
            _add_chain(b, Random(chain), mine, outer)
        for seed in steps:
            same = Random(seed)
            changes = same.random() > alike
            _add_step(b, Random(seed + turn * changes), mine, outer)
    program = b.program()
    lines = [random.randrange(2) for _ in range(len(program) // turns)]
    program.line_of[:] = lines * turns
    return replace(program, lines=("kernel.py:1", "kernel.py:2"))


def _add_chain(b: Builder, random: Random, mine: list[int], outer: list[int]) -> None:
    """Adds for each tile what fills it: a load, or what is computed from the tiles before; stores
    some of them.
    """
    for n, tile in enumerate(mine):
        kind = random.choice(["load", "copy", "sum", "two"]) if n else "load"
        if kind == "load":
            b.add(load(), tile, outer[0])
        elif kind == "copy":
            b.add(COPY, tile, mine[random.randrange(n)])
        elif kind == "sum":
            other = random.choice([mine[random.randrange(n)], random.choice(outer)])
            b.add(SUM, tile, mine[n - 1], other)
        else:
            b.add_modes(SUM, [(WRITTEN, tile), (WRITTEN, mine[n - 1]), (READ, mine[0])])
        if random.random() < 0.4:
            b.add(store(), random.choice(outer[-3:] if random.random() < 0.2 else outer[1:]), tile)


def _add_step(b: Builder, random: Random, mine: list[int], outer: list[int]) -> None:
    """Adds one instruction."""

    def some(tensors: list[int]) -> tuple[int, int, int, int, int]:
        tensor = random.choice(tensors)
        _, height, size, _ = b.tensors[tensor]
        if random.random() < 0.7:
            return tensor, 0, height, 0, size
        top, low = random.randrange(height), random.randrange(size)
        return tensor, top, random.randint(top + 1, height), low, random.randint(low + 1, size)

    in_hbm = [t for t in outer if b.tensors[t][0] == HBM]
    on_chip = [t for t in outer if b.tensors[t][0] != HBM]
    kind = random.choice(["load", "load", "load", "store", "copy", "copy", "sum", "two", "add"])
    inside = mine * 3 + on_chip
    if kind == "load":
        b.add(load(), some(mine), some(in_hbm))
    elif kind == "store":
        b.add(store(), some(in_hbm), some(inside))
    elif kind == "copy":
        b.add(COPY, some(inside), some(inside))
    elif kind == "sum":
        b.add(SUM, some(inside), some(inside), some(inside))
    elif kind == "add":
        b.add(matmul(), some(inside), some(inside), accumulates=True)
    else:
        modes = (WRITTEN, random.choice([WRITTEN, ACCUMULATED]), READ)
        b.add_modes(SUM, [(mode, some(inside)) for mode in modes])


@settings(max_examples=300)
@given(bodies())
def test_renaming_changes_no_value(program: Program) -> None:
    symbols = Symbols()
    found = rewrite(program, small("trn2", 64), RENAMES)
    check_shape(found)
    assert Replay(found, symbols).run() == Replay(program, symbols).run()
    assert found.accesses[:, 1:].tolist() == program.accesses[:, 1:].tolist()
    looped = [site.looped for site in program.sites]
    for t in range(len(program.space), len(found.space)):
        assert looped[found.site[t]]
        assert found.space[t] != HBM


# Hoisting


def passes(b: Builder, times: int = 3) -> Iterator[int]:
    """Passes of a loop in which a tile of 64 bytes is loaded alike from tensor 0."""
    x = b.tensor(HBM, 64)
    for _ in range(times):
        tile = b.tensor(SBUF, 64, "kernel.py:5")
        b.add(load(), tile, x)
        yield tile


def test_a_load_alike_in_every_pass_is_done_once() -> None:
    b = Builder()
    out = b.tensor(HBM, 64)
    x = b.tensor(HBM, 64)
    for _ in range(3):
        tile = b.tensor(SBUF, 64, "kernel.py:5")
        b.add(load(), tile, x)
        b.add(store(), out, tile)
    found = rewritten(b, HOISTS)
    assert listing(found) == ["2 1", "0 2", "0 2", "0 2"]
    check_shape(found)
    program = b.program()
    assert rewrite(program, small("trn2", 1 << 16), PLAIN) is program


def test_what_is_computed_from_it_alone_is_kept_too() -> None:
    b = Builder()
    out, bias = b.tensor(HBM, 64), b.tensor(SBUF, 64)
    for tile in passes(b):
        half, sums = b.tensor(SBUF, 64, "kernel.py:6"), b.tensor(SBUF, 64, "kernel.py:7")
        b.add(COPY, half, tile)
        b.add(SUM, sums, half, bias)
        b.add(store(), out, sums)
        b.add(COPY, bias, half)  # another sum in the next pass; nobody needs the last one
    found = rewritten(b, HOISTS)
    loads = [i for i, w in enumerate(found.work_of) if found.works[w] == load()]
    assert (len(b.program()), len(found), loads) == (15, 10, [0])


def test_what_passes_through_psum_is_kept_in_sbuf() -> None:
    b = Builder()
    out = b.tensor(HBM, 64)
    for tile in passes(b):
        sums, turned = b.tensor(PSUM, 64, "kernel.py:6"), b.tensor(SBUF, 64, "kernel.py:7")
        b.add(matmul(), sums, tile, tile, accumulates=False)
        b.add(COPY, turned, sums)
        b.add(store(), out, turned)
    found = rewritten(b, HOISTS)
    assert listing(found) == ["2 1", "3 2 2", "4 3", "0 4", "0 4", "0 4"]


def test_computation_that_loads_nothing_stays() -> None:
    b = Builder()
    out, bias = b.tensor(HBM, 64), b.tensor(SBUF, 64)
    for _ in range(3):
        zeros, tile = b.tensor(SBUF, 64, "kernel.py:5"), b.tensor(SBUF, 64, "kernel.py:6")
        b.add(elementwise(Engine.GPSIMD, 64, SBUF, opcode="memset"), zeros)
        b.add(SUM, tile, zeros, bias)
        b.add(store(), out, tile)
    program = b.program()
    assert rewrite(program, small("trn2", 1 << 16), HOISTS) is program


def test_loads_of_other_parts_stay() -> None:
    b = Builder()
    x, out = b.tensor(HBM, 64), b.tensor(HBM, 64)
    for turn in range(3):
        tile = b.tensor(SBUF, 32, "kernel.py:5")
        b.add(load(), tile, (x, turn * 16, turn * 16 + 32))
        b.add(store(), out, tile)
    assert len(rewritten(b, HOISTS)) == 6


def test_a_source_written_in_between_is_loaded_again() -> None:
    b = Builder()
    spare = b.tensor(SBUF, 64)
    for tile in passes(b, 4):
        b.add(store(), b.tensor(HBM, 64), tile)
        if tile == 4:  # the second of four
            b.add(store(), 1, spare)
    found = rewritten(b, HOISTS)
    assert [line for line in listing(found) if line.endswith(" 1")] == ["2 1", "6 1"]


def test_a_tile_changed_after_it_was_read_is_loaded_again() -> None:
    for changes in (False, True):
        b = Builder()
        out, spare = b.tensor(HBM, 64), b.tensor(SBUF, 64)
        for tile in passes(b):
            b.add(store(), out, tile)
            if changes:
                b.add(COPY, (tile, 0, 1), spare)
                b.add(store(), out, tile)
        found = rewritten(b, HOISTS)
        loads = [line for line in listing(found) if line.endswith(" 2")]
        assert len(loads) == (3 if changes else 1)


def test_tiles_of_outside_the_loop_stay() -> None:
    b = Builder()
    x, out = b.tensor(HBM, 64), b.tensor(HBM, 64)
    for _ in range(2):
        tile = b.tensor(SBUF, 64)
        b.add(load(), tile, x)
        b.add(store(), out, tile)
    program = b.program()
    assert rewrite(program, small("trn2", 1 << 16), HOISTS) is program


def test_what_finds_no_room_is_loaded_again() -> None:
    for sbuf, loads in ((159, 6), (160, 4), (223, 4), (224, 2)):
        b = Builder()
        x, out = b.tensor(HBM, 96), b.tensor(HBM, 96)
        for _ in range(3):
            first, second = b.tensor(SBUF, 96, "kernel.py:5"), b.tensor(SBUF, 64, "kernel.py:6")
            other = b.tensor(SBUF, 64, "kernel.py:7")
            b.add(load(96), first, x)
            b.add(store(), out, first)
            b.add(load(64), second, (x, 0, 64))
            b.add(store(), out, second)
            b.add(COPY, other, out)
        found = rewritten(b, HOISTS, sbuf)
        works = [found.works[w] for w in found.work_of]
        assert sum(isinstance(w, DmaWork) and w.engine == Engine.LOAD for w in works) == loads, sbuf


def test_room_is_counted_in_whole_words() -> None:
    b = Builder()
    x, out = b.tensor(HBM, 2), b.tensor(HBM, 2)
    for _ in range(2):
        for place in ("kernel.py:5", "kernel.py:6"):
            tile = b.tensor(SBUF, 2, place)
            b.add(load() if place.endswith("5") else load(64), tile, x)
            b.add(store(), out, tile)
    assert demand(rewritten(b, HOISTS, 8), small("trn2", 8)).peak_bytes[SBUF] == 8
    assert demand(rewritten(b, HOISTS, 4), small("trn2", 4)).peak_bytes[SBUF] == 4


def test_the_one_that_is_complete_first_is_kept() -> None:
    b = Builder()
    x, out = b.tensor(HBM, 64), b.tensor(HBM, 64)
    second, first = b.tensor(SBUF, 64, "kernel.py:5"), b.tensor(SBUF, 64, "kernel.py:6")
    for tile in (first, second):
        b.add(load(), tile, x)
        b.add(store(), out, tile)
    assert listing(rewritten(b, HOISTS)) == ["3 0", "1 3", "1 3"]


def test_other_lines_of_the_kernel_compute_other_things() -> None:
    b = Builder()
    x, out = b.tensor(HBM, 64), b.tensor(HBM, 64)
    for _ in range(2):
        tile = b.tensor(SBUF, 64, "kernel.py:5")
        total, product = b.tensor(SBUF, 64, "kernel.py:6"), b.tensor(SBUF, 64, "kernel.py:7")
        b.add(load(), tile, x)
        b.add(SUM, total, tile, tile)  # which sum or product it is, works do not say
        b.add(SUM, product, tile, tile)
        b.add(store(), out, total)
        b.add(store(), out, product)
    program = replace(b.program(), lines=tuple("abcde"))
    program.line_of[:] = [0, 1, 2, 3, 4] * 2
    found = rewrite(program, small("trn2", 1 << 16), HOISTS)
    assert listing(found) == ["2 0", "3 2 2", "4 2 2", "1 3", "1 4", "1 3", "1 4"]


def test_two_arguments_written_alike_in_part_differ() -> None:
    b = Builder()
    keys, values, out = (b.tensor(HBM, 64) for _ in range(3))
    spare = b.tensor(SBUF, 8)
    for cache in (keys, values):
        b.add(store(), (cache, 0, 8), spare)
    for cache in (keys, values):
        tile = b.tensor(SBUF, 64, "kernel.py:5")
        b.add(load(), tile, cache)
        b.add(store(), out, tile)
    assert len(rewritten(b, HOISTS)) == 6


@pytest.mark.parametrize("varies", [False, True])
def test_what_one_instruction_writes_goes_together(varies: bool) -> None:
    b = Builder()
    out, spare = b.tensor(HBM, 64), b.tensor(SBUF, 64)
    for tile in passes(b):
        half, sums = b.tensor(SBUF, 64, "kernel.py:6"), b.tensor(SBUF, 4, "kernel.py:7")
        if varies:
            b.add(COPY, (sums, 0, 2), spare)
        b.add_modes(SUM, [(WRITTEN, half), (WRITTEN, (sums, 2, 4)), (READ, tile)])
        b.add(store(), out, half)
        b.add(store(), out, sums)
        b.add(COPY, spare, sums)  # differs by pass, and nobody needs the last one
    both = sum(row.count(" ") == 2 for row in listing(rewritten(b, HOISTS)))
    assert both == (3 if varies else 1)


@settings(max_examples=500)
@given(bodies(), st.sampled_from([4, 12, 20, 1000]))
def test_hoisting_changes_nothing_that_is_stored(program: Program, sbuf: int) -> None:
    symbols, core = Symbols(), small("trn2", sbuf)
    found = rewrite(program, core, HOISTS)
    check_shape(found)
    _, before = Replay(program, symbols).run()
    _, after = Replay(found, symbols).run()
    assert after == before
    asked = int(demand(program, core).peak_bytes[SBUF])
    assert demand(found, core).peak_bytes[SBUF] <= max(asked, sbuf)
    assert len(found) <= len(program)
    assert rewrite(program, core, PLAIN) is program


@settings(max_examples=200)
@given(bodies())
def test_renaming_and_hoisting_together_change_nothing_that_is_stored(program: Program) -> None:
    symbols = Symbols()
    found = rewrite(program, small("trn2", 1000), replace(RENAMES, hoists=True))
    assert Replay(found, symbols).run()[1] == Replay(program, symbols).run()[1]
