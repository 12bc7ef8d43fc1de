from __future__ import annotations

from itertools import pairwise

import pytest

from tests.neuroncore.programs import Builder, elementwise, load, matmul, small, store
from tuner.neuroncore import Policy, policy
from tuner.neuroncore.dependences import dependences
from tuner.neuroncore.memory import plan_memory
from tuner.neuroncore.program import Engine, Space

HBM, SBUF, PSUM = Space
COPY = elementwise(Engine.VECTOR, 16)


def waits(builder: Builder, rules: Policy | None = None) -> list[list[int]]:
    """The instructions that each instruction waits for."""
    program = builder.program()
    plan = plan_memory(program, small("trn2", 8192), rules or policy("nki"))
    starts, predecessors = dependences(program, plan)
    return [sorted(predecessors[a:b].tolist()) for a, b in pairwise(starts)]


def test_order_of_reads_and_writes() -> None:
    b = Builder()
    x, y, z = (b.tensor(SBUF, 64) for _ in range(3))
    b.add(COPY, x)
    b.add(COPY, y, x)
    b.add(COPY, z, x)
    b.add(COPY, x)
    b.add(COPY, x)
    assert waits(b) == [[], [0], [0], [1, 2], [3]]


def test_reading_and_writing_in_place() -> None:
    b = Builder()
    x = b.tensor(SBUF, 64)
    for _ in range(3):
        b.add(COPY, x, x, x)
    assert waits(b) == [[], [0], [1]]


def test_disjoint_bytes_do_not_wait() -> None:
    b = Builder()
    x, y = b.tensor(SBUF, 64), b.tensor(SBUF, 64)
    b.add(COPY, (x, 0, 16))
    b.add(COPY, (x, 16, 32))
    b.add(COPY, y, (x, 15, 17))
    b.add(COPY, (x, 0, 15))
    assert waits(b) == [[], [], [0, 1], [0]]


def test_matmuls_accumulate_without_waiting_for_each_other() -> None:
    b = Builder()
    zeroed, out, t = b.tensor(PSUM, 2048), b.tensor(SBUF, 2048), b.tensor(SBUF, 64)
    b.add(COPY, zeroed)
    b.add(matmul(), zeroed, t)
    b.add(matmul(), zeroed, t)
    b.add(COPY, out, zeroed)
    b.add(matmul(), zeroed, t)
    b.add(matmul(), zeroed, t)
    # All of a group wait for what came before it: the memset, then the drain.
    assert waits(b) == [[], [0], [0], [1, 2], [3], [3]]


def test_accumulation_groups_are_kept_byte_by_byte() -> None:
    b = Builder()
    psum, out, t = b.tensor(PSUM, 2048), b.tensor(SBUF, 2048), b.tensor(SBUF, 64)
    b.add(matmul(), (psum, 0, 1024), t)
    b.add(matmul(), (psum, 512, 1536), t)
    b.add(COPY, out, (psum, 0, 512))
    b.add(matmul(), (psum, 0, 1536), t)
    b.add(COPY, out, (psum, 512, 1024))
    assert waits(b) == [[], [], [0], [2], [0, 1, 2, 3]]


def test_hbm_orders_only_tensors_both_written_and_read() -> None:
    b = Builder()
    x, out, through, t = (*(b.tensor(HBM, 4096) for _ in range(3)), b.tensor(SBUF, 64))
    b.add(store(), out, t)
    b.add(store(), out, t)
    b.add(store(), through, t)
    b.add(load(), b.tensor(SBUF, 64), through)
    b.add(load(), b.tensor(SBUF, 64), x)
    b.add(load(), b.tensor(SBUF, 64), x)
    assert waits(b) == [[], [], [], [2], [], []]


def allocating_loop(iterations: int) -> Builder:
    b = Builder()
    x, out = b.tensor(HBM, 4096), b.tensor(HBM, 4096)
    for _ in range(iterations):
        t = b.tensor(SBUF, 1024, "kernel.py:7")
        b.add(load(), t, x)
        b.add(store(), out, t)
    return b


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_reused_memory_waits_for_its_last_users(depth: int) -> None:
    found = waits(allocating_loop(5), Policy("test", 2, 1, depth))
    for i in range(5):
        before = 2 * (i - depth)
        assert found[2 * i] == ([before, before + 1] if before >= 0 else [])
        assert found[2 * i + 1] == [2 * i]


def test_one_buffer_outside_the_loop_is_a_true_dependence() -> None:
    b = Builder()
    x, out, t = b.tensor(HBM, 4096), b.tensor(HBM, 4096), b.tensor(SBUF, 1024)
    for _ in range(3):
        b.add(load(), t, x)
        b.add(store(), out, t)
    assert waits(b) == [[], [0], [1], [2], [3], [4]]


def test_dependences_of_an_allocating_loop_grow_with_its_length_only() -> None:
    b = allocating_loop(300)
    assert sum(map(len, waits(b))) < 3 * len(b.instructions)
