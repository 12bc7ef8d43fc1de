from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.backends import Status
from tuner.database import REMEASURED, Trial, best_trial
from tuner.job import trials as trials_module
from tuner.job.finals import incumbent_interval
from tuner.job.trials import Trials

CONFIGS = 6


def trial(
    number: int, status: Status, latency_us: float | None, width_us: float | None, again: bool
) -> Trial:
    latency_us = latency_us if status == Status.CORRECT else None
    interval = None if latency_us is None or width_us is None else (latency_us, width_us)
    told: dict[str, Any] = {
        "samples": 3,
        "spread_us": 1.0,
        "ci_us": interval and [interval[0] - interval[1], interval[0] + interval[1]],
    }
    if again:
        told = {**told, REMEASURED: {**told, "latency_us": 1.0}}
    return Trial(number, {"size": number, "fast": True}, status, latency_us, "", False, told, {}, 0)


def simple(number: int, latency_us: float | None, status: Status = Status.CORRECT) -> Trial:
    return trial(number, status, latency_us, None, again=False)


TRIAL = st.builds(
    trial,
    st.integers(0, CONFIGS - 1),
    st.sampled_from([Status.CORRECT, Status.CORRECT, Status.COMPILE, Status.TIMEOUT]),
    st.sampled_from([1.0, 2.0, 3.0, 4.0, None]),
    st.sampled_from([0.5, 2.0, None]),
    st.booleans(),
)


@given(st.lists(st.lists(TRIAL, max_size=4), max_size=8))
def test_best_failures_and_interval_are_those_of_all_trials(steps: list[list[Trial]]) -> None:
    known, expected = Trials(), dict[int, Trial]()
    for step in steps:
        known.learn(step)
        expected.update({each.number: each for each in step})
        assert list(known) == list(expected.values())
        assert known.best == best_trial(list(expected.values()))
        failed = (each.status for each in expected.values() if each.status != Status.CORRECT)
        assert known.failures == Counter(status.value for status in failed)
        for best_us in (1.0, 2.0, None):
            assert known.interval(best_us) == incumbent_interval(expected.values(), best_us)


def test_a_trial_is_found_by_its_config_whatever_the_order_of_its_parameters() -> None:
    known, one = Trials(), simple(3, 5.0)
    known.learn([one])
    assert known.of({"fast": True, "size": 3}) == one
    assert known.of({"fast": False, "size": 3}) is None
    assert len(known) == 1


def test_the_best_that_is_found_wrong_makes_way_for_the_next() -> None:
    known = Trials()
    known.learn([simple(0, 5.0), simple(1, 4.0), simple(2, 6.0)])
    known.learn([simple(1, None, Status.CORRECTNESS)])
    assert known.best == simple(0, 5.0)
    assert known.failures == {"correctness": 1}


def test_a_new_trial_is_compared_with_the_best_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counting(trials: list[Trial]) -> Trial | None:
        compared.append(len(trials))
        return best_trial(trials)

    monkeypatch.setattr(trials_module, "best_trial", counting)
    known = Trials()
    for number in range(50):
        known.learn([simple(number, 100.0 - number)])
    assert max(compared) == 2
