"""The compiled schedule equals the plain-Python one, to the picosecond."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.programs import programs, small
from tests.neuroncore.reference import places, simulate, waits_for
from tuner.neuroncore import Policy, policy
from tuner.neuroncore.compiler.memory import CapacityError, MemoryPlan, plan_memory
from tuner.neuroncore.costs import costs
from tuner.neuroncore.device import Device
from tuner.neuroncore.program import Program
from tuner.neuroncore.schedule.dependences import dependences
from tuner.neuroncore.schedule.queues import queues
from tuner.neuroncore.simulation import run

ENGINES = ["vector", "scalar"]
NAMES = ["nki", "nki:guide", "beta1", "beta1:2.20"]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A policy as shipped, or with other queues, windows and buffers."""
    rules = policy(draw(st.sampled_from(NAMES)))
    if draw(st.booleans()):
        return rules
    return dataclasses.replace(
        rules,
        load_queues=draw(st.integers(1, 3)),
        store_queues=draw(st.integers(1, 2)),
        rotation_depth=draw(st.integers(1, 3)),
        tensor_window=draw(st.sampled_from([1, 1, 2, 5])),
        vector_window=draw(st.sampled_from([1, 1, 2, 5])),
        copy_engine=draw(st.sampled_from(ENGINES)),
        move_engine=draw(st.sampled_from([*ENGINES, "gpsimd"])),
        scale_engine=draw(st.sampled_from([*ENGINES, "gpsimd"])),
        memset_engine=draw(st.sampled_from([*ENGINES, "gpsimd"])),
    )


def planned(program: Program, device: Device, rules: Policy) -> MemoryPlan | None:
    try:
        return plan_memory(program, device, rules)
    except CapacityError:
        return None


@pytest.mark.parametrize("name", ["trn1", "trn2", "trn3"])
@settings(max_examples=100, deadline=None)
@given(program=programs(), rules=policies(), sbuf=st.sampled_from([8192, 9216, 20480]))
def test_agrees_with_reference(name: str, program: Program, rules: Policy, sbuf: int) -> None:
    device = small(name, sbuf)
    plan = planned(program, device, rules)
    if plan is None:
        return
    result = run(program, plan, device, rules)
    expected = simulate(program, costs(program, device, rules), plan, rules, device)
    assert result.lane.tolist() == [place.lane for place in places(program, rules)]
    assert result.start.tolist() == expected.start
    assert result.done.tolist() == expected.done
    assert result.busy.tolist() == expected.busy
    assert result.makespan == max(expected.done, default=0)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(program=programs(), rules=policies(), sbuf=st.sampled_from([8192, 9216, 20480]))
def test_waits_are_the_reference_s_without_the_implied(
    program: Program, rules: Policy, sbuf: int
) -> None:
    plan = planned(program, small("trn2", sbuf), rules)
    if plan is None:
        return
    starts, predecessors = dependences(program, plan, queues(program, rules))
    for i, expected in enumerate(waits_for(program, plan)):
        direct = predecessors[starts[i] : starts[i + 1]].tolist()
        assert len(direct) == len(set(direct))
        assert set(direct) <= expected
