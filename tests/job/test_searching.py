from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.search.studies import block_space, smooth
from tuner.backends import Candidate, Measurement, Status
from tuner.database import Trial
from tuner.job.searching import AHEAD, Searching
from tuner.job.stopping import Stopping
from tuner.job.trials import Trials
from tuner.runtime.rules import Config
from tuner.search import Search

CAPACITY, DEEP = 3, 6


class Memory:
    """Keeps trials nowhere else."""

    def __init__(self) -> None:
        self.known = Trials()

    def elapsed_s(self) -> float:
        return 0.0

    def trial(self, config: Config) -> Trial | None:
        return self.known.of(config)

    def candidate(self, number: int, config: Config, best_us: float | None) -> Candidate:
        return Candidate(number, config, limit_us=best_us)

    def check(self, number: int, trial: Trial) -> Candidate | None:
        return None

    def keep(self, done: Sequence[tuple[Config, Measurement]]) -> None:
        self.known.learn(
            Trial(len(self.known), c, m.status, m.latency_us, "", False, {}, {}, 0.0)
            for c, m in done
        )

    def keep_check(self, trial: Trial, checked: Measurement) -> Trial:
        return trial


class SlowFirst:
    """Answers one at a time, the first of all only when nothing else is in flight."""

    capacity, capacity_ahead = CAPACITY, DEEP

    def __init__(self) -> None:
        self.waiting: list[Candidate] = []
        self.most = self.answered = 0
        self.limits: list[float | None] = []
        self.before_first: int | None = None

    def submit(self, candidate: Candidate) -> None:
        self.waiting.append(candidate)
        self.limits.append(candidate.limit_us)
        self.most = max(self.most, len(self.waiting))

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        slow = len(self.waiting) > 1 and self.waiting[0].number == 0
        done = self.waiting.pop(1 if slow else 0)
        if done.number == 0:
            self.before_first = self.answered
        self.answered += 1
        return [Measurement(done.number, Status.CORRECT, "simulated", smooth(done.config))]

    def close(self) -> None:
        self.waiting.clear()


def searched(sampler: str, executor: Any, **rules: Any) -> list[Config]:
    keeper = Memory()
    search = Search(block_space(), sampler, seed=3)
    Searching(
        search, Stopping(**{"trials": 60, **rules}), executor, keeper, threading.Event()
    ).run()
    return [trial.config for trial in keeper.known]


def test_workers_do_not_idle_for_a_slow_trial_where_nothing_depends_on_it() -> None:
    executor = SlowFirst()
    assert len(searched("random", executor)) == 60
    assert executor.before_first == AHEAD * DEEP - 1
    assert executor.most == DEEP


@pytest.mark.parametrize(
    ("sampler", "rules", "in_flight"),
    [
        ("anneal", {}, CAPACITY),
        ("random", {"patience": 50}, DEEP),
        ("random", {"target_us": 1}, DEEP),
    ],
)
def test_where_something_depends_on_results_the_window_is_what_is_in_flight(
    sampler: str, rules: dict[str, Any], in_flight: int
) -> None:
    executor = SlowFirst()
    assert len(searched(sampler, executor, **rules)) == 60
    assert executor.before_first == in_flight - 1
    assert executor.most == in_flight


@pytest.mark.parametrize("sampler", ["random", "anneal"])
def test_the_order_of_answers_changes_neither_proposals_nor_limits(sampler: str) -> None:
    class InOrder(SlowFirst):
        def wait(self, timeout_s: float | None = None) -> list[Measurement]:
            done = [
                Measurement(each.number, Status.CORRECT, "simulated", smooth(each.config))
                for each in self.waiting
            ]
            self.waiting.clear()
            return done

    late, prompt = SlowFirst(), InOrder()
    configs = [frozenset(config.items()) for config in searched(sampler, late)]
    assert set(configs) == {frozenset(config.items()) for config in searched(sampler, prompt)}
    assert late.limits == prompt.limits
