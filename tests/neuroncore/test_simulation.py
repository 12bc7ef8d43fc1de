from __future__ import annotations

import pytest

from tests.neuroncore.programs import Builder, elementwise, load, matmul, small, store
from tuner.neuroncore import device, policy
from tuner.neuroncore.compiler.memory import CapacityError, plan_memory
from tuner.neuroncore.program import Engine, Space
from tuner.neuroncore.simulation import Prediction, predict, sensitivity_us, simulate

HBM, SBUF, PSUM = Space


def round_trip(name: str) -> Prediction:
    b = Builder()
    x, t, y, out = (
        b.tensor(space, size)
        for space, size in [(HBM, 1 << 17), (SBUF, 1024), (SBUF, 2048), (HBM, 1 << 18)]
    )
    b.add(load(128, 1024), t, x)
    b.add(elementwise(Engine.SCALAR, 512), y, t)
    b.add(store(128, 1024), out, y)
    program, core, rules = b.program(), device(name), policy("nki")
    found = predict(program, plan_memory(program, core, rules), core, rules)
    assert simulate(program, core, rules).latency_us == found.latency_us
    return found


def test_launch_and_run_add_up() -> None:
    found = round_trip("trn2")
    dma_ns = 860 + 8 * (6.5 + 1024 / 23.5) + 340
    copy_ns = (512 + 352) / 1.2
    assert found.launch_us == 11
    assert found.latency_us == pytest.approx(11 + (2 * dma_ns + copy_ns + 2 * 25) / 1000, abs=1e-5)
    assert found.latency_us == found.launch_us + found.timeline.makespan / 1e6
    assert found.busy_us == {
        "TensorE": 0,
        "VectorE": 0,
        "ScalarE": 0.48,
        "GpSimdE": 0,
        "DMA": pytest.approx(2 * 8 * (6.5 + 1024 / 23.5) / 1000, abs=1e-5),
    }


def test_trn1_launches_in_15_us() -> None:
    assert round_trip("trn1").launch_us == 15


def test_start_is_the_policy_s_where_it_says_so() -> None:
    program, core = Builder().program(), device("trn2")
    times = {name: simulate(program, core, policy(name)).latency_us for name in ("nki", "beta1")}
    assert times == {"nki": 11, "beta1": 80}


def test_busy_cores_slow_transfers_down() -> None:
    b = Builder()
    b.add(load(128, 1 << 14), b.tensor(SBUF, 1 << 14), b.tensor(HBM, 1 << 14))
    alone, together = (
        simulate(b.program(), device("trn2"), policy("nki"), busy).latency_us for busy in (1, 8)
    )
    assert alone < together


def test_programs_that_do_not_fit_are_spilled_or_refused() -> None:
    b = Builder()
    x, out = b.tensor(HBM, 1 << 12), b.tensor(HBM, 1 << 12)
    tiles = [b.tensor(SBUF, 3000) for _ in range(3)]
    for t in tiles:
        b.add(elementwise(Engine.VECTOR, 750), t, t)
    for t in tiles:
        b.add(store(128, 3000), (out, 0, 3000), t)
    b.add(load(), (tiles[0], 0, 1024), (x, 0, 1024))
    core = small("trn1", 8192)
    with pytest.raises(CapacityError):
        simulate(b.program(), core, policy("nki"))
    assert simulate(b.program(), core, policy("beta1")).busy_us["DMA"] > 0


def bursts(pause: int) -> tuple[float, float, float]:
    """Sixteen matmuls, a drain of so many elements, and again: least, told, greatest latency."""
    b = Builder()
    psum, t = b.tensor(PSUM, 2048), b.tensor(SBUF, 2048)
    for _ in range(30):
        for _ in range(16):
            b.add(matmul(), psum, t)
        b.add(elementwise(Engine.VECTOR, pause, SBUF, PSUM), b.tensor(SBUF, 2048), psum)
    program, core, rules = b.program(), device("trn2"), policy("nki")
    plan = plan_memory(program, core, rules)
    low, high = sensitivity_us(program, plan, core, rules)
    return low, predict(program, plan, core, rules).latency_us, high


def test_doubt_about_the_clock_is_told() -> None:
    low, told, high = bursts(100)
    assert low == told == high
    low, told, high = bursts(1000)
    assert low <= told <= high
    assert high > 1.2 * low


def test_no_doubt_without_a_ramp() -> None:
    program, core, rules = Builder().program(), device("trn1"), policy("nki")
    assert sensitivity_us(program, plan_memory(program, core, rules), core, rules) == (15, 15)
