from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest

from tests.neuroncore.programs import Builder, elementwise, load, matmul, small, store
from tuner.neuroncore import Policy, policy
from tuner.neuroncore.compiler.memory import plan_memory
from tuner.neuroncore.program import ACCUMULATED, READ, WRITTEN, Engine, Space
from tuner.neuroncore.schedule.dependences import dependences
from tuner.neuroncore.schedule.queues import queues

HBM, SBUF, PSUM = Space
COPY = elementwise(Engine.VECTOR, 16)


def windowed(depth: int = 2) -> Policy:
    """A policy with windows on all engines: nothing is implied by the order of a stream."""
    return dataclasses.replace(
        policy("nki"), tensor_window=4, vector_window=4, rotation_depth=depth, buffers_min=1
    )


def waits(builder: Builder, rules: Policy | None = None) -> list[list[int]]:
    """The instructions that each instruction waits for."""
    rules = rules or windowed()
    program = builder.program()
    plan = plan_memory(program, small("trn2", 8192), rules)
    starts, predecessors = dependences(program, plan, queues(program, rules))
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
    found = waits(allocating_loop(5), windowed(depth))
    for i in range(5):
        before = 2 * (i - depth)
        assert found[2 * i] == ([before + 1] if before >= 0 else [])  # it waited for the load
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


def test_what_an_in_order_stream_waited_for_is_not_named_again() -> None:
    b = Builder()
    x, y, out = b.tensor(SBUF, 64), b.tensor(SBUF, 64), b.tensor(HBM, 4096)
    for _ in range(2):
        b.add(load(), x, b.tensor(HBM, 4096))
    b.add(COPY, y, x)
    b.add(COPY, b.tensor(SBUF, 64), x)
    b.add(COPY, b.tensor(SBUF, 64), (x, 0, 16), y)
    b.add(store(), out, x)
    b.add(load(), x, b.tensor(HBM, 4096))
    assert waits(b) == [[], [0], [1], [1], [1, 2], [1], [2, 3, 4, 5]]
    assert waits(b, policy("nki")) == [[], [0], [1], [], [2], [1], [4, 5]]


def test_rows_count_as_bytes_do() -> None:
    b = Builder()
    x, t = b.tensor(PSUM, 2048), b.tensor(SBUF, 64)
    b.add(COPY, (x, 0, 64, 0, 512))
    b.add(COPY, (x, 64, 128, 0, 512))
    b.add(COPY, (x, 0, 128, 512, 1024))
    b.add(COPY, t, (x, 32, 33, 0, 1024))
    b.add(COPY, (x, 33, 65, 100, 101))
    assert waits(b) == [[], [], [], [0, 2], [0, 1]]


@pytest.mark.parametrize("parts", [3, 7, 8, 9, 100])
def test_parts_of_any_size_are_told_apart(parts: int) -> None:
    b = Builder()
    x, t = b.tensor(SBUF, 7 * parts), b.tensor(SBUF, 64)
    for n in range(parts):
        b.add(COPY, (x, 7 * n, 7 * n + 7))
    for n in range(parts):
        b.add(COPY, (t, 0, 64), (x, 7 * n, 7 * n + 7))
    found = waits(b)
    assert found[parts] == [0]
    assert all(found[parts + n] == [n, parts + n - 1] for n in range(1, parts))


def test_two_groups_in_one_bank_are_apart_where_their_bytes_are() -> None:
    b = Builder()
    bank, t, out = b.tensor(PSUM, 2048), b.tensor(SBUF, 64), b.tensor(SBUF, 64)
    left, right = (bank, 0, 1024), (bank, 1024, 2048)
    b.add(COPY, bank)
    for half in (left, right, left, right):
        b.add(matmul(), half, t)
    b.add(COPY, out, left)
    b.add(matmul(), left, t)
    b.add(matmul(), right, t)
    assert waits(b) == [[], [0], [0], [0], [0], [1, 3], [5], [0]]


def test_the_first_write_of_a_group_may_overwrite() -> None:
    b = Builder()
    bank, t, out = b.tensor(PSUM, 2048), b.tensor(SBUF, 64), b.tensor(SBUF, 64)
    for _ in range(2):
        b.add(matmul(), bank, t, accumulates=False)
        b.add(matmul(), bank, t)
        b.add(COPY, out, bank)
    assert waits(b) == [[], [], [0, 1], [2], [2], [2, 3, 4]]


def test_every_part_of_inherited_memory_waits_for_its_former_users() -> None:
    b = Builder()
    first = b.tensor(SBUF, 4096, "kernel.py:1")
    b.add(load(), first, b.tensor(HBM, 4096))
    b.add(matmul(), b.tensor(PSUM, 2048), first)
    heir = b.tensor(SBUF, 8192, "kernel.py:2")
    b.add(COPY, (heir, 0, 4096))
    b.add(COPY, (heir, 4096, 8192))
    b.add(COPY, (heir, 4096, 8192))
    assert waits(b) == [[], [0], [1], [1], [3]]
    assert waits(b, policy("nki")) == [[], [0], [1], [], [3]]


def test_an_instruction_may_write_several_operands() -> None:
    b = Builder()
    x, y, z = (b.tensor(SBUF, 64) for _ in range(3))
    b.add_modes(COPY, [(WRITTEN, x), (WRITTEN, y), (READ, z)])
    b.add(COPY, z, y)
    b.add_modes(COPY, [(WRITTEN, x), (ACCUMULATED, y)])  # only matmuls accumulate
    assert waits(b) == [[], [0], [0, 1]]
