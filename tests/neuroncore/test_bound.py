from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.programs import Builder, load, matmul, programs, small
from tests.neuroncore.test_reference import planned, policies
from tuner.neuroncore import Policy, device, policy
from tuner.neuroncore.bound import lower_bound_us
from tuner.neuroncore.program import Program, Space
from tuner.neuroncore.simulation import predict


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trn1", "trn2", "trn3"])
@settings(max_examples=60, deadline=None)
@given(program=programs(), rules=policies(), cores=st.integers(1, 2))
def test_no_prediction_beats_it(name: str, program: Program, rules: Policy, cores: int) -> None:
    core = small(name, 20480)
    plan = planned(program, core, rules)
    if plan is None:
        return
    bound = lower_bound_us(program.works, program.counts(), core, rules, cores)
    assert bound <= predict(program, plan, core, rules, cores).latency_us + 1e-9


def test_matmuls_back_to_back_come_close() -> None:
    core, rules = device("trn1"), policy("beta1:2.20")
    bound = lower_bound_us([matmul()], [1000], core, rules)
    assert bound == pytest.approx(15 + 1000 * 516 / 2.8 / 0.877 / 1000, abs=1e-3)


def test_short_transfers_are_bound_by_their_queues() -> None:
    core, rules = device("trn2"), policy("nki")
    bound = lower_bound_us([load(1, 4)], [1001], core, rules)
    assert bound == pytest.approx(11 + 500 * 0.6 + 1.2)
    b = Builder()
    x = b.tensor(Space.HBM, 4)
    for _ in range(11):
        b.add(load(1, 4), b.tensor(Space.SBUF, 4), x)
    found = b.run("trn2").makespan / 1e6
    assert lower_bound_us([load(1, 4)], [11], core, rules) == pytest.approx(11 + found, abs=0.02)


def test_busy_cores_share_hbm() -> None:
    core, rules = device("trn2"), policy("nki")
    alone, together = (
        lower_bound_us([load(128, 1 << 16)], [100], core, rules, busy) for busy in (1, 8)
    )
    assert (together - 11) / (alone - 11) == pytest.approx(376 / 358, abs=1e-3)


def test_what_may_be_hoisted_does_not_count() -> None:
    core, rules = device("trn1"), policy("beta1")
    transpose = matmul()._replace(transpose=True)
    assert lower_bound_us([load(), transpose], [100, 100], core, rules) == 80
    assert lower_bound_us([matmul(), transpose], [9, 100], core, rules) == lower_bound_us(
        [matmul()], [9], core, rules
    )


def test_nothing_takes_the_start_alone() -> None:
    assert lower_bound_us([], [], device("trn2"), policy("nki:guide")) == 0
