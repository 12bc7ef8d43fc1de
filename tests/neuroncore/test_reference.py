"""The compiled schedule equals the plain-Python one, to the picosecond."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.neuroncore.programs import programs, small
from tests.neuroncore.reference import lanes, simulate, waits_for
from tuner.neuroncore import Policy
from tuner.neuroncore.costs import cost
from tuner.neuroncore.dependences import dependences
from tuner.neuroncore.memory import plan_memory
from tuner.neuroncore.program import Program
from tuner.neuroncore.timeline import parameters, queues, timeline

policies = st.builds(
    Policy, st.just("test"), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)
)


@pytest.mark.parametrize("name", ["trn1", "trn2"])
@settings(max_examples=250)
@given(program=programs(), rules=policies, sbuf=st.sampled_from([8192, 9216, 20480]))
def test_agrees_with_reference(name: str, program: Program, rules: Policy, sbuf: int) -> None:
    device = small(name, sbuf)
    plan = plan_memory(program, device, rules)
    costs = [cost(work, device) for work in program.works]

    links = dependences(program, plan)
    result = timeline(program, costs, *links, rules, parameters(device))

    expected = simulate(program, costs, plan, rules, device)
    assert queues(program, rules).tolist() == lanes(program, rules)
    assert result.start.tolist() == expected.start
    assert result.done.tolist() == expected.done
    assert result.busy.tolist() == expected.busy
    assert result.makespan == max(expected.done, default=0)


@settings(max_examples=120)
@given(program=programs(), rules=policies, sbuf=st.sampled_from([8192, 9216, 20480]))
def test_waits_are_the_reference_s_without_the_implied(
    program: Program, rules: Policy, sbuf: int
) -> None:
    plan = plan_memory(program, small("trn2", sbuf), rules)
    starts, predecessors = dependences(program, plan)

    reached: list[set[int]] = []
    for i, expected in enumerate(waits_for(program, plan)):
        direct = predecessors[starts[i] : starts[i + 1]].tolist()
        assert len(direct) == len(set(direct))
        assert set(direct) <= expected
        reached.append(set(direct).union(*(reached[p] for p in direct)))
        assert expected <= reached[i]
