from __future__ import annotations

import pytest

from tests.neuroncore.programs import Builder, elementwise, load, store
from tuner.neuroncore import device, policy
from tuner.neuroncore.memory import plan_memory
from tuner.neuroncore.program import Engine, Space
from tuner.neuroncore.simulation import Prediction, predict

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
    return predict(program, plan_memory(program, core, rules), core, rules)


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
