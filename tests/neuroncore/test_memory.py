from __future__ import annotations

import inspect
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.neuroncore.programs import Builder, elementwise, programs, small
from tuner.neuroncore import Policy, device, policy
from tuner.neuroncore.memory import CapacityError, MemoryPlan, plan_memory
from tuner.neuroncore.program import Engine, Program, Space
from tuner.nki.recorder import trace

HBM, SBUF, PSUM = Space
COPY = elementwise(Engine.VECTOR, 16)


def plan(builder: Builder, sbuf: int = 4096, depth: int = 2) -> MemoryPlan:
    return plan_memory(builder.program(), small("trn2", sbuf), Policy("test", 2, 1, depth))


def heirs(found: MemoryPlan) -> dict[int, list[int]]:
    """The tensors that take over memory, each with those it takes it from."""
    lists = [found.bequeathers[a:b].tolist() for a, b in pairwise(found.first_heir)]
    return {t: sorted(those) for t, those in enumerate(lists) if those}


def test_too_much_sbuf_is_refused_with_numbers() -> None:
    b = Builder()
    x = b.tensor(SBUF, 3000, "mlp.py:10", "weights")
    y = b.tensor(SBUF, 1001, "mlp.py:11")
    z = b.tensor(SBUF, 96, "mlp.py:12", "bias")
    b.add(COPY, x, y, z)
    with pytest.raises(CapacityError) as caught:
        plan(b, 4096)
    assert str(caught.value) == (
        "out of memory in SBUF: 4100 bytes per partition asked, 4096 available; "
        "largest: weights 3000 (mlp.py:10), tensor 1004 (mlp.py:11), bias 96 (mlp.py:12)"
    )
    assert (caught.value.space, caught.value.asked_bytes, caught.value.available_bytes) == (
        SBUF,
        4100,
        4096,
    )
    assert plan(b, 4100).sbuf_peak_bytes == 4100


def test_too_much_psum_is_refused_in_whole_banks() -> None:
    b = Builder()
    for bank in range(9):
        b.tensor(PSUM, 4, f"mlp.py:{bank}")
    b.add(COPY, *range(3))
    b.add(COPY, *range(3, 6))
    b.add(COPY, *range(6, 9), 0)
    assert plan(b).psum_peak_bytes == 4 * 2048
    for bank in range(9):
        b.add(COPY, bank)
    message = r"PSUM: 18432 bytes per partition asked, 16384 available; largest: tensor 2048"
    with pytest.raises(CapacityError, match=message):
        plan(b)


def test_message_names_the_line_of_the_kernel() -> None:
    def kernel() -> object:
        out = nl.ndarray((1, 1), nl.float32, buffer=nl.shared_hbm)
        big = nl.ndarray((128, 60_000), nl.float32, name="big")
        nisa.memset(big, 0.0)
        nisa.dma_copy(out, big[0:1, 0:1])
        return out

    line = inspect.getsourcelines(kernel)[1] + 2
    program = trace(kernel, (), {}, device("trn2")).program
    with pytest.raises(CapacityError) as caught:
        plan_memory(program, device("trn2"), policy("nki"))
    assert str(caught.value) == (
        "out of memory in SBUF: 240000 bytes per partition asked, 212728 available; "
        f"largest: big 240000 (test_memory.py:{line})"
    )


def test_allocation_in_a_loop_rotates_over_two_buffers() -> None:
    b = Builder()
    for _ in range(5):
        t = b.tensor(SBUF, 100, "kernel.py:3")
        b.add(COPY, t, t)
    assert heirs(plan(b)) == {2: [0], 3: [1], 4: [2]}
    assert heirs(plan(b, depth=3)) == {3: [0], 4: [1]}


def test_rotation_counts_from_what_is_live_at_once() -> None:
    b = Builder()
    tiles = [b.tensor(SBUF, 100, "kernel.py:3") for _ in range(6)]
    for a, c in pairwise(tiles):
        b.add(COPY, c, a)
    assert heirs(plan(b)) == {4: [0], 5: [1]}


def test_rotation_needs_room() -> None:
    b = Builder()
    for _ in range(3):
        b.add(COPY, b.tensor(SBUF, 3000, "kernel.py:3"))
    assert heirs(plan(b, 4096)) == {1: [0], 2: [1]}


def test_allocations_outside_loops_keep_their_memory_while_there_is_more() -> None:
    b = Builder()
    for line in range(8):
        b.add(COPY, b.tensor(SBUF, 512, f"kernel.py:{line}"))
    assert heirs(plan(b, 4096)) == {}
    assert heirs(plan(b, 3584)) == {7: [0]}


def test_large_tensor_takes_over_several_small_ones() -> None:
    b = Builder()
    for line in range(4):
        b.add(COPY, b.tensor(SBUF, 1024, f"kernel.py:{line}"))
    b.add(COPY, b.tensor(SBUF, 2560, "kernel.py:9"))
    assert heirs(plan(b, 4096)) == {4: [0, 1, 2]}


def test_memory_is_taken_over_once() -> None:
    b = Builder()
    for _ in range(3):
        b.add(COPY, b.tensor(SBUF, 1024, "kernel.py:3"))
    b.add(COPY, b.tensor(SBUF, 4096, "kernel.py:9"))
    assert heirs(plan(b, 4096)) == {2: [0], 3: [1, 2]}


def test_untouched_tensors_take_no_memory() -> None:
    b = Builder()
    b.tensor(SBUF, 1 << 20)
    b.add(COPY, b.tensor(SBUF, 8))
    assert plan(b).sbuf_peak_bytes == 8


def live(program: Program, space: Space, unit: int) -> list[int]:
    """Bytes of the tensors of a space that are live at each instruction."""
    lives: dict[int, list[int]] = {}
    for i, row in enumerate(program.operands.tolist()):
        for r in row:
            if r >= 0:
                lives.setdefault(int(program.ranges[r, 0]), []).append(i)
    total: Counter[int] = Counter()
    for t, uses in lives.items():
        if program.tensors[t].space == space:
            for i in range(min(uses), max(uses) + 1):
                total[i] += -(-program.tensors[t].bytes // unit) * unit
    return [total[i] for i in range(len(program))]


@given(programs(), st.sampled_from([2048, 4096, 8192]), st.integers(1, 3))
def test_plan_fits_exactly_when_the_live_tensors_do(
    program: Program, sbuf: int, depth: int
) -> None:
    peak = max(live(program, SBUF, 4), default=0)
    core, rules = small("trn2", sbuf), Policy("test", 2, 1, depth)
    if peak > sbuf:
        with pytest.raises(CapacityError) as caught:
            plan_memory(program, core, rules)
        assert sbuf < caught.value.asked_bytes <= peak
        return
    found = plan_memory(program, core, rules)
    assert found.sbuf_peak_bytes == peak
    assert found.psum_peak_bytes == max(live(program, PSUM, 2048), default=0)
    uses = [
        [i for i, row in enumerate(program.operands) if t in program.ranges[row[row >= 0], 0]]
        for t in range(len(program.tensors))
    ]
    for heir, those in heirs(found).items():
        assert all(max(uses[other]) < min(uses[heir]) for other in those)
        assert {program.tensors[other].space for other in those} == {program.tensors[heir].space}
