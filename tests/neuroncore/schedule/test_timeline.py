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
    moving = round(512 / 1.12 * 1000)  # without the fixed part
    assert b.run(name).start.tolist() == [0, moving if waits else 0]


@pytest.mark.parametrize("same", [True, False])
def test_vector_and_scalar_engine_of_trn2_exclude_each_other_on_a_bank(same: bool) -> None:
    b = Builder()
    banks = b.tensor(PSUM, 4096)
    b.add(elementwise(VECTOR, 480, SBUF, PSUM), b.tensor(SBUF, 2048), (banks, 0, 2048))
    other = (banks, 2040, 2056) if same else (banks, 2048, 4096)
    b.add(elementwise(SCALAR, 512, SBUF, PSUM), b.tensor(SBUF, 2048), other)
    assert b.run("trn2").start.tolist() == [0, 500_000 if same else 0]


@pytest.mark.parametrize(("name", "waits"), [("trn1", True), ("trn2", False)])
def test_vector_and_gpsimd_engine_exclude_each_other_in_sbuf(name: str, waits: bool) -> None:
    b = Builder()
    for engine in (VECTOR, GPSIMD, SCALAR):
        b.add(elementwise(engine, 560), b.tensor(SBUF, 2240), b.tensor(SBUF, 2240))
    assert b.run(name).start.tolist() == [0, 500_000 if waits else 0, 0]


def test_psum_port_does_not_hold_back_work_in_sbuf() -> None:
    b = Builder()
    b.add(elementwise(VECTOR, 512, SBUF, PSUM), b.tensor(SBUF, 2048), b.tensor(PSUM, 2048))
    b.add(elementwise(SCALAR, 512), b.tensor(SBUF, 2048), b.tensor(SBUF, 2048))
    assert b.run("trn1").start.tolist() == [0, 0]


def test_another_activation_function_loads_its_table() -> None:
    b = Builder()
    plain = elementwise(SCALAR, 512, opcode="activation")
    for table in ("exp", "exp", "", "exp", "tanh", "exp"):
        b.add(plain._replace(table=table), b.tensor(SBUF, 2048), b.tensor(SBUF, 2048))
    times = b.run("trn2")
    issue, load_table = 480_000, 1_280_000
    steps = [after - before for before, after in pairwise(times.start.tolist())]
    assert steps == [issue + load_table, issue, issue, issue, issue + load_table]
    assert times.busy[2] == 6 * issue + 3 * load_table


@pytest.mark.parametrize("window", [1, 2, 3])
def test_within_a_window_what_can_start_does(window: int) -> None:
    b = Builder()
    slow, x, t = b.tensor(SBUF, 2048), b.tensor(HBM, 1 << 17), b.tensor(SBUF, 2048)
    b.add(load(), slow, x)
    for source in (slow, slow, t):
        b.add(elementwise(VECTOR, 512), b.tensor(SBUF, 2048), source)
    start = b.run("trn2", dataclasses.replace(policy("nki"), vector_window=window)).start
    assert (start[3] == 0) == (window == 3)
    assert start[1] < start[2]


def accumulation(one_bank: bool, window: int) -> list[int]:
    """Starts of two tiles' matmuls, each tile drained; the operand of the first comes late."""
    b = Builder()
    x, t, late = b.tensor(HBM, 1 << 17), b.tensor(SBUF, 1024), b.tensor(SBUF, 1024)
    banks = [b.tensor(PSUM, 2048)]
    banks.append(banks[0] if one_bank else b.tensor(PSUM, 2048))
    b.add(load(), late, x)
    b.add(matmul(), banks[0], late)
    b.add(matmul(), banks[0], t)
    b.add(elementwise(SCALAR, 512, SBUF, PSUM), b.tensor(SBUF, 2048), banks[0])
    b.add(matmul(), banks[1], t)
    b.add(matmul(), banks[1], t)
    b.add(elementwise(SCALAR, 512, SBUF, PSUM), b.tensor(SBUF, 2048), banks[1])
    rules = dataclasses.replace(policy("nki"), tensor_window=window)
    times = b.run("trn1", rules)
    assert times.start[3] >= max(times.done[1], times.done[2]) + 25_000
    assert not one_bank or min(times.start[4], times.start[5]) >= times.done[3] + 25_000
    return [int(at) for at in times.start]


def test_windows_keep_accumulation_groups_apart() -> None:
    arrives = accumulation(one_bank=True, window=1)[1]
    assert accumulation(one_bank=True, window=4)[2] < arrives  # the same sum in another order
    assert accumulation(one_bank=True, window=4)[4] > arrives  # not before the drain
    assert accumulation(one_bank=False, window=1)[4] > arrives
    assert accumulation(one_bank=False, window=4)[4] < arrives  # the other bank is free


def test_tiles_of_the_array_work_at_the_same_time() -> None:
    b = Builder()
    t = b.tensor(SBUF, 1024)
    for n in range(8):
        work = matmul(128, 512)._replace(contraction=32, tile=(32 * (n % 4), 32, 0, 128))
        b.add(work, b.tensor(PSUM, 2048), t)
    times = b.run("trn1")
    moving, gap = round(516 / 2.8 / 0.877 * 1000), round(16 / 2.8 * 1000)
    starts = times.start.tolist()
    assert starts[:5] == [0, gap, 2 * gap, 3 * gap, 4 * gap]
    assert times.done[3] - times.done[0] == 3 * gap
    assert [times.done[n + 4] - times.done[n] for n in range(4)] == [moving] * 4
    assert times.busy[0] == 8 * (moving // 4)


def test_calls_on_the_same_tile_do_not_overlap() -> None:
    b = Builder()
    t = b.tensor(SBUF, 1024)
    for tile in ((0, 64, 0, 128), (0, 128, 0, 64)):  # they share a quarter
        b.add(matmul()._replace(tile=tile), b.tensor(PSUM, 2048), t)
    done = b.run("trn1").done.tolist()
    assert done[1] - done[0] == round(516 / 2.8 / 0.877 * 1000)


@pytest.mark.parametrize(("dge", "engine", "ns"), [("hwdge", SCALAR, 514), ("swdge", GPSIMD, 600)])
def test_engines_that_trigger_transfers_are_busy_with_it(dge: str, engine: Engine, ns: int) -> None:
    b = Builder()
    work = load(8, 256)._replace(dge=dge, trigger=engine)
    for _ in range(3):
        b.add(work, b.tensor(SBUF, 256), b.tensor(HBM, 4096))
    b.add(elementwise(engine, 512), b.tensor(SBUF, 2048), b.tensor(SBUF, 2048))
    times = b.run("trn2")
    assert times.start.tolist() == [0, ns * 1000, 2 * ns * 1000, 3 * ns * 1000]
    assert times.stream.tolist() == [engine] * 4
    serve = round(8 * (6.5 + 256 / 23.5) * 1000)
    latency = 1_200_000 + serve + (870_000 if dge == "swdge" else 0)
    # The ring takes one each 600 ns.
    assert times.done[:3].tolist() == [latency + n * 600_000 for n in range(3)]


def test_transfers_of_a_queue_complete_in_order() -> None:
    b = Builder()
    x = b.tensor(HBM, 1 << 20)
    b.add(load(8, 1 << 15), b.tensor(SBUF, 1 << 15), x)
    b.add(load(8, 256), b.tensor(SBUF, 256), x)
    together = b.run("trn2", dataclasses.replace(policy("nki"), load_queues=1))
    apart = b.run("trn2", dataclasses.replace(policy("nki"), load_queues=2))
    assert together.done[0] == together.done[1]
    assert apart.done[1] < apart.done[0]


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
