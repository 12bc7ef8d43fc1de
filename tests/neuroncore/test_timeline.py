"""Small programs whose times can be worked out by hand."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest

from tests.neuroncore.programs import Builder, elementwise, load, matmul, small, store
from tuner.neuroncore import policy
from tuner.neuroncore.program import Engine, Space

HBM, SBUF, PSUM = Space
VECTOR, SCALAR, GPSIMD = Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD

FULL_MATMUL = 215_000  # 516 cycles of 2.4 GHz
HALF_MATMUL = 2 * FULL_MATMUL


@pytest.mark.parametrize(("second", "signal_ps"), [(SCALAR, 25_000), (VECTOR, 30_000)])
def test_reader_waits_for_writer_and_semaphore(second: Engine, signal_ps: int) -> None:
    b = Builder()
    x, y, z = (b.tensor(SBUF, 2048) for _ in range(3))
    b.add(elementwise(VECTOR, 512), y, x)
    b.add(elementwise(second, 512), z, y)
    times = b.run("trn2")
    assert times.done[0] == round((256 + 146) / 0.96 * 1000)
    assert times.start[1] == times.done[0] + signal_ps


def test_dependent_activations_of_trn1_start_189_ns_apart() -> None:
    b = Builder()
    x = b.tensor(SBUF, 4)
    for _ in range(3):
        b.add(elementwise(SCALAR, 1, opcode="activation"), x, x)
    first, second, third = b.run("trn1").start.tolist()
    assert second - first == third - second == pytest.approx(189_000, abs=500)


def test_independent_work_starts_at_the_issue_interval() -> None:
    b = Builder()
    work = elementwise(VECTOR, 512)
    for _ in range(3):
        b.add(work, b.tensor(SBUF, 2048), b.tensor(SBUF, 2048))
    issue = round((256 + 69) / 0.96 * 1000)
    times = b.run("trn2")
    assert times.start.tolist() == [0, issue, 2 * issue]
    assert times.busy.tolist() == [0, 3 * issue, 0, 0, 0]


def test_load_has_a_fixed_latency() -> None:
    b = Builder()
    x, t, out = b.tensor(HBM, 1 << 17), b.tensor(SBUF, 1024), b.tensor(PSUM, 2048)
    b.add(load(), t, x)
    b.add(matmul(), out, t)
    times = b.run("trn2")
    serve = round(8 * (6.5 + 1024 / 23.5) * 1000)
    assert times.done[0] == 860_000 + serve + 340_000
    assert times.start[1] == times.done[0] + 25_000
    assert times.busy[4] == serve


@pytest.mark.parametrize(("queues", "expected"), [(1, [0, 600, 1200]), (2, [0, 0, 600])])
def test_loads_of_a_queue_start_at_the_issue_interval(queues: int, expected: list[int]) -> None:
    b = Builder()
    x = b.tensor(HBM, 1 << 17)
    for _ in range(3):
        b.add(load(8, 256), b.tensor(SBUF, 256), x)
    times = b.run("trn2", dataclasses.replace(policy("nki"), load_queues=queues))
    assert (times.start // 1000).tolist() == expected


def test_transfers_share_the_dma_engines() -> None:
    b = Builder()
    x = b.tensor(HBM, 1 << 20)
    for rows in (128, 64, 64):
        b.add(load(rows, 8192), b.tensor(SBUF, 8192), x)
    done = b.run("trn2", dataclasses.replace(policy("nki"), load_queues=3)).done
    serve = round(8 * (6.5 + 8192 / 23.5) * 1000)
    assert done[1] == done[2] == done[0] + serve  # 64 rows take 8 engines each, after the first


def test_store_that_waits_does_not_hold_back_later_loads() -> None:
    b = Builder()
    x, out, t = b.tensor(HBM, 1 << 17), b.tensor(HBM, 1 << 17), b.tensor(SBUF, 2048)
    b.add(elementwise(SCALAR, 50_000), t, b.tensor(SBUF, 2048))
    b.add(store(), out, t)
    b.add(load(), b.tensor(SBUF, 1024), x)
    times = b.run("trn2")
    assert times.start[1] == times.done[0] + 25_000
    assert times.start[2] == 0
    assert times.done[2] < times.start[1]


def test_stationary_load_hides_behind_the_matmul_before() -> None:
    b = Builder()
    t = b.tensor(SBUF, 1024)
    for _ in range(4):
        b.add(matmul(), b.tensor(PSUM, 2048), t)
    times = b.run("trn1")
    stationary, moving = round(32 / 2.8 * 1000), round(516 / 2.8 / 0.877 * 1000)
    tail = round(398 / 2.8 * 1000)
    assert times.done.tolist() == [stationary + n * moving + tail for n in range(1, 5)]
    assert times.start.tolist() == [0, *(stationary + n * moving for n in range(3))]
    assert times.busy[0] == 4 * moving


def test_tiny_matmuls_wait_for_their_stationary_loads() -> None:
    b = Builder()
    t = b.tensor(SBUF, 1024)
    for _ in range(4):
        b.add(matmul(1, 1), b.tensor(PSUM, 2048), t)
    stationary = round(32 / 2.8 * 1000)
    done = b.run("trn1").done
    assert (done[1:] - done[:-1]).tolist() == [stationary] * 3


@pytest.mark.parametrize("accumulators", [1, 2])
def test_matmul_waits_for_the_drain_of_its_accumulator(accumulators: int) -> None:
    b = Builder()
    t = b.tensor(SBUF, 1024)
    banks = [b.tensor(PSUM, 2048) for _ in range(accumulators)]
    for n in range(2):
        b.add(matmul(), banks[n % accumulators], t)
        b.add(matmul(), banks[n % accumulators], t)
        b.add(elementwise(VECTOR, 512, SBUF, PSUM), b.tensor(SBUF, 2048), banks[n % accumulators])
    times = b.run("trn1")
    drained = times.done[2] + 25_000
    assert times.start[2] == times.done[1] + 25_000
    assert (times.start[3] == drained) == (accumulators == 1)
    assert times.start[3] <= drained


@pytest.mark.parametrize(("name", "waits"), [("trn1", True), ("trn2", False)])
def test_vector_and_scalar_engine_exclude_each_other_in_psum(name: str, waits: bool) -> None:
    b = Builder()
    b.add(elementwise(VECTOR, 512, SBUF, PSUM), b.tensor(SBUF, 2048), b.tensor(PSUM, 2048))
    b.add(elementwise(SCALAR, 512, SBUF, PSUM), b.tensor(SBUF, 2048), b.tensor(PSUM, 2048))
    b.add(elementwise(GPSIMD, 512), b.tensor(SBUF, 2048), b.tensor(SBUF, 2048))
    moving = round(512 / 1.12 * 1000)  # without the fixed part
    assert b.run(name).start.tolist() == [0, moving if waits else 0, 0]


def test_psum_port_does_not_hold_back_work_in_sbuf() -> None:
    b = Builder()
    b.add(elementwise(VECTOR, 512, SBUF, PSUM), b.tensor(SBUF, 2048), b.tensor(PSUM, 2048))
    b.add(elementwise(SCALAR, 512), b.tensor(SBUF, 2048), b.tensor(SBUF, 2048))
    assert b.run("trn1").start.tolist() == [0, 0]


def burst(builder: Builder, count: int, *reads: int) -> int:
    """Matmuls that accumulate back to back, the first reads `reads` too; returns where."""
    operand, psum = builder.tensor(SBUF, 1024), builder.tensor(PSUM, 2048)
    for n in range(count):
        builder.add(matmul(), psum, operand, *(reads if n == 0 else ()))
    return psum


def taken(starts: list[int]) -> list[int]:
    """How long each matmul but the last two moved: one is issued when the one before moves."""
    return [after - before for before, after in pairwise(starts[1:])]


def test_clock_ramps_up_over_six_microseconds() -> None:
    b = Builder()
    burst(b, 40)
    times = b.run("trn2")
    moving = (times.start[1:] - times.start[1]).tolist()
    steps = taken(times.start.tolist())
    for since, step in zip(moving, steps, strict=False):
        rate = 0.5 + 0.5 * min(max(since - 3_000_000, 0) / 3_000_000, 1)
        assert step == pytest.approx(FULL_MATMUL / rate, abs=1)
    assert steps[:7] == [HALF_MATMUL] * 7
    assert steps[-1] == FULL_MATMUL
    assert times.busy[0] - 40 * FULL_MATMUL == pytest.approx(2_250_000, abs=150_000)


@pytest.mark.parametrize(("elements", "factor"), [(512, 1), (5_000, 2)])
def test_clock_falls_back_after_idling(elements: int, factor: int) -> None:
    b = Builder()
    psum = burst(b, 40)
    between = b.tensor(SBUF, 2048)
    b.add(elementwise(SCALAR, elements, SBUF, PSUM), between, psum)
    burst(b, 3, between)
    assert taken(b.run("trn2").start.tolist()[-3:]) == [factor * FULL_MATMUL]


def test_trn1_has_no_clock_ramp() -> None:
    b = Builder()
    burst(b, 8)
    assert taken(b.run("trn1").start.tolist()) == [round(516 / 2.8 / 0.877 * 1000)] * 6


def test_empty_program_takes_no_time() -> None:
    times = Builder().run(small("trn2", 4096))
    assert times.makespan == 0
    assert times.busy.tolist() == [0] * 5
