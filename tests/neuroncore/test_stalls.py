"""Every gap of an engine has a cause."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.neuroncore.programs import Builder, elementwise, load, matmul, programs, small
from tests.neuroncore.test_reference import planned, policies
from tuner.neuroncore import Policy, device, policy
from tuner.neuroncore.compiler.memory import plan_memory
from tuner.neuroncore.costs import WHOLE_ARRAY, cost
from tuner.neuroncore.program import Engine, Program, Space
from tuner.neuroncore.simulation import ENGINES, predict, run
from tuner.neuroncore.stalls import FINISHED, PORT, RAMP, TABLE, bound_by, stalls_us

HBM, SBUF, PSUM = Space


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trn1", "trn2"])
@settings(max_examples=60, deadline=None)
@given(program=programs(), rules=policies())
def test_busy_and_waiting_add_up(name: str, program: Program, rules: Policy) -> None:
    core = small(name, 20480)
    plan = planned(program, core, rules)
    if plan is None:
        return
    result = run(program, plan, core, rules)
    waits = stalls_us(program, result, core, rules)
    tiles = {cost(work, core, rules).tile for work in program.works}
    for lane, engine in enumerate(ENGINES[:4]):
        assert all(us > 0 for us in waits[engine].values())
        idle = sum(us for cause, us in waits[engine].items() if cause not in (RAMP, TABLE))
        if waits[engine] and (lane > 0 or tiles <= {WHOLE_ARRAY}):
            assert idle + result.busy[lane] / 1e6 == pytest.approx(result.makespan / 1e6)


@settings(max_examples=60, deadline=None)
@given(program=programs(), rules=policies())
def test_blocker_is_what_set_the_start(program: Program, rules: Policy) -> None:
    plan = planned(program, small("trn2", 20480), rules)
    if plan is None:
        return
    result = run(program, plan, small("trn2", 20480), rules)
    for i, p in enumerate(result.blocker.tolist()):
        if p >= 0:
            signal = 30_000 if result.lane[p] == result.stream[i] else 25_000
            assert result.ready[i] == result.done[p] + signal
            assert result.start[i] >= result.ready[i]


def pipeline(buffers: bool) -> tuple[dict[str, dict[str, float]], str]:
    """Loads, a matmul and a slow drain each pass; one PSUM tile or a new one each time."""
    b = Builder()
    x, psum = b.tensor(HBM, 1 << 17), b.tensor(PSUM, 2048)
    for _ in range(12):
        t, out = b.tensor(SBUF, 1024, "a.py:1"), b.tensor(SBUF, 2048, "a.py:2")
        into = b.tensor(PSUM, 2048, "a.py:3") if buffers else psum
        b.add(load(8, 256), t, x)
        b.add(matmul(), into, t)
        b.add(elementwise(Engine.VECTOR, 5000, SBUF, PSUM), out, into)
    program, core, rules = b.program(), device("trn2"), policy("nki")
    found = predict(program, plan_memory(program, core, rules), core, rules)
    waits = stalls_us(program, found.timeline, core, rules)
    return waits, bound_by(found, waits)


def test_causes_are_named() -> None:
    waits, sentence = pipeline(buffers=False)
    assert max(waits["TensorE"], key=lambda cause: waits["TensorE"][cause]) == (
        "a PSUM bank to be free"
    )
    assert waits["TensorE"]["data of DMA"] > 0
    assert waits["VectorE"].keys() == {"data of TensorE", FINISHED}
    assert sentence.startswith("VectorE is busy ")
    assert sentence.endswith(" us for data of TensorE.")
    more, _ = pipeline(buffers=True)
    assert more["VectorE"]["data of TensorE"] < waits["VectorE"]["data of TensorE"]


def test_a_port_is_named() -> None:
    b = Builder()
    for engine in (Engine.VECTOR, Engine.SCALAR):
        b.add(elementwise(engine, 512, SBUF, PSUM), b.tensor(SBUF, 2048), b.tensor(PSUM, 2048))
    program, core, rules = b.program(), device("trn1"), policy("beta1:2.20")
    result = run(program, plan_memory(program, core, rules), core, rules)
    assert PORT in stalls_us(program, result, core, rules)["ScalarE"]


def test_full_queues_and_the_launch_bound_kernels_too() -> None:
    def sentence(transfers: int) -> str:
        b = Builder()
        x = b.tensor(HBM, 4)
        for _ in range(transfers):
            b.add(load(1, 4), b.tensor(SBUF, 4), x)
        program, core, rules = b.program(), device("trn2"), policy("nki")
        found = predict(program, plan_memory(program, core, rules), core, rules)
        return bound_by(found, stalls_us(program, found.timeline, core, rules))

    assert sentence(2) == "The launch takes 11.0 of 12.2 us."
    assert sentence(400).startswith("The queue of loads is busy 9")
