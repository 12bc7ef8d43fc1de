from __future__ import annotations

import itertools
import math
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.small_kernel import CONFIGS, write_space
from tests.job.jobs import Late, Tune, keys, stored
from tuner.backends import Candidate, Status
from tuner.database import REMEASURED
from tuner.execution import SerialExecutor
from tuner.job import run
from tuner.job.stopping import Stopping, doubt, exhausting_s, next_best, unseen_share


def ended_at(times: list[float | None], **rules: Any) -> tuple[int, str]:
    """How many results a search takes, and what ends it."""
    stopping = Stopping(trials=len(times), **rules)
    for time_us in times:
        if not (stopping.asks(0.0) and stopping.begins(0.0)):
            break
        stopping.tell(time_us)
    stopping.asks(0.0)
    return stopping.told, stopping.rule


@pytest.mark.parametrize(
    ("times", "rules", "ended"),
    [
        ([5.0, 4.0, 3.0], {}, (3, "trials")),
        ([5.0, 4.0, 3.0, 2.0], {"target_us": 4.0}, (2, "target")),
        ([5.0, 4.0, 3.0, 2.0], {"target_us": 1.9}, (4, "trials")),
        ([5.0, 6.0, 7.0, 2.0], {"patience": 2}, (3, "patience")),
        ([5.0, 6.0, 4.0, 7.0, 8.0, 1.0], {"patience": 2}, (5, "patience")),
        ([5.0, None, None, 2.0], {"patience": 2}, (3, "patience")),
        ([None, None, None, 5.0], {"patience": 2}, (4, "trials")),
        ([100.0, 99.95, 99.92, 1.0], {"patience": 2}, (3, "patience")),
        ([100.0, 99.95, 99.89, 99.85, 1.0], {"patience": 2}, (5, "trials")),
        ([5.0, 6.0, 4.0], {"patience": 2, "target_us": 4.0}, (3, "target")),
        ([5.0, 6.0, 7.0], {"patience": 2}, (3, "patience")),
    ],
)
def test_each_rule_ends_a_search_at_its_trial(
    times: list[float | None], rules: dict[str, Any], ended: tuple[int, str]
) -> None:
    assert ended_at(times, **rules) == ended


def test_the_first_config_is_begun_whatever_the_time() -> None:
    stopping = Stopping(trials=9, max_s=1.0)
    assert stopping.asks(2.0)
    assert stopping.begins(2.0)
    assert not stopping.asks(2.0)
    assert stopping.rule == "time"


def test_a_target_that_is_reached_last_is_what_ended_it() -> None:
    stopping = Stopping(trials=1, target_us=3.0)
    assert stopping.asks(0.0)
    assert stopping.begins(0.0)
    assert not stopping.asks(0.0)
    stopping.tell(2.0)
    assert stopping.rule == "target"


class Model:
    """A search whose model gives a chance."""

    def __init__(self, chance: float | None, best_us: float | None = 5.0) -> None:
        self.chance = chance
        self.best_us = best_us

    def chance_of_better(self, margin: float) -> float | None:
        assert margin == 0.01
        return self.chance


def told(chance: float | None, sampler: str, **more: Any) -> tuple[float | None, str]:
    settings = {"drawn": 30, "untried": 100, "rule": "trials", **more}
    return doubt(Model(chance), sampler, **settings)  # type: ignore[arg-type]


def test_the_model_says_what_may_be_missed() -> None:
    assert told(0.1234, "gp") == (
        0.1234,
        "the sampler's model gives a 12 % chance that an untried config is more than 1 % faster",
    )
    assert "gives a 2.5 % chance" in told(0.025, "gp", rule="patience")[1]


def test_a_model_that_knows_no_time_is_not_asked() -> None:
    settings = {"drawn": 0, "untried": 9, "rule": "interrupted"}
    assert doubt(Model(0.5, None), "gp", **settings) == (None, "")  # type: ignore[arg-type]


def test_random_configs_bound_what_may_be_missed() -> None:
    assert told(None, "random") == (
        None,
        "the next random config is faster with a chance of at most 3.2 %; with 95 % confidence at "
        "most 9.5 % of all configs are",
    )


@pytest.mark.parametrize(
    ("sampler", "more"),
    [
        ("anneal", {}),
        ("tpe", {}),
        ("random", {"drawn": 0}),
        ("random", {"drawn": -2}),
        ("random", {"rule": "target"}),
    ],
)
def test_nothing_is_said_where_nothing_is_known(sampler: str, more: dict[str, Any]) -> None:
    assert told(None, sampler, **more) == (None, "")


def test_nothing_is_missed_when_all_is_tried() -> None:
    assert told(0.5, "gp", untried=0) == (0.0, "no config is untried")


@pytest.mark.parametrize("drawn", [1, 2, 3])
def test_the_next_of_random_configs_is_seldom_the_best(drawn: int) -> None:
    """Counted over every order of six configs."""
    orders = list(itertools.permutations(range(6)))
    better = sum(order[drawn] < min(order[:drawn]) for order in orders)
    assert better / len(orders) <= next_best(drawn) + 1e-12


@given(st.integers(1, 300), st.integers(1, 500))
def test_the_stated_share_is_missed_in_one_of_twenty_searches_at_most(
    drawn: int, more: int
) -> None:
    """Exact: the chance that all of a search's random configs miss the best `better` of a space."""
    configs = drawn + more
    better = math.floor(unseen_share(drawn) * configs) + 1
    missed = math.comb(max(configs - better, 0), drawn) / math.comb(configs, drawn)
    assert missed <= 0.05 + 1e-12


@pytest.mark.parametrize(
    ("configs", "trials", "elapsed_s", "ask_s", "expected"),
    [
        (1204, 100, 0.5, 0.0, 6.0),  # quick
        (13776, 100, 1.0, 0.0, None),  # takes longer than the sampler, and long
        (2000, 1000, 1.0 + 5.0, 5.0, 20.0),  # quicker than the sampler
        (2000, 100, 1.0 + 5.0, 5.0, None),
        (80, 100, 1.0, 0.5, None),  # all are tried anyway
    ],
)
def test_exhausting_is_offered_where_it_is_quick(
    configs: int, trials: int, elapsed_s: float, ask_s: float, expected: float | None
) -> None:
    """From a run of 100 trials."""
    seconds = exhausting_s(
        configs, trials, measured=100, elapsed_s=elapsed_s, asked=100, ask_s=ask_s
    )
    assert seconds == (None if expected is None else pytest.approx(expected, rel=0.01))


def test_a_few_trials_do_not_tell_how_long_exhausting_takes() -> None:
    assert exhausting_s(50, 20, measured=3, elapsed_s=0.1, asked=3, ask_s=0.0) is None


def test_a_job_says_what_ended_it(tune_small: Tune) -> None:
    by_rule = {
        "trials": tune_small(sampler="random"),
        "exhausted": tune_small(trials=CONFIGS),
        "patience": tune_small(trials=20, patience=3, sampler="random"),
        "target": tune_small(trials=20, target_us=1e6),
        "time": tune_small(trials=20, max_s=1e-9),
    }
    assert {rule: outcome.stopped_by for rule, outcome in by_rule.items()} == {
        rule: rule for rule in by_rule
    }
    assert by_rule["target"].trials == by_rule["time"].trials == 1
    assert by_rule["exhausted"].doubt == "no config is untried"
    assert by_rule["trials"].doubt.startswith("the next random config is faster with a chance of ")
    assert by_rule["trials"].chance_of_better is None


def test_patience_ends_a_job_at_the_trial_that_it_says(tune_small: Tune) -> None:
    outcome = tune_small(trials=20, patience=4, sampler="random", seed=2)
    times = [trial.latency_us or trial.figures["bound_us"] for trial in stored(outcome)]
    assert outcome.stopped_by == "patience"
    assert len(times) < 20
    assert min(times[:-4]) * (1 - 0.001) <= min(times[-4:])
    assert min(times[:-5]) > min(times[:-4])


def test_the_target_is_a_time_that_a_config_reaches(tune_small: Tune) -> None:
    best = tune_small(trials=CONFIGS).best
    assert best is not None
    outcome = tune_small(trials=CONFIGS, target_us=best.latency_us, seed=1)
    assert outcome.stopped_by == "target"
    assert outcome.best is not None
    assert (outcome.best.latency_us, outcome.best.verified) == (best.latency_us, True)
    assert outcome.best.number == outcome.trials - 1


@pytest.mark.parametrize("capacity", [1, 4])
def test_a_wrong_config_does_not_reach_the_target(
    tune_small: Tune, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capacity: int
) -> None:
    """The fastest configs skip some work; the target is the time of the fastest right one."""
    write_space(tmp_path, ("none", "skips"))
    best = tune_small(trials=100, verify="all").best
    assert best is not None
    monkeypatch.setattr(Late, "capacity_ahead", capacity)
    monkeypatch.setattr(run, "SerialExecutor", Late)
    outcome = tune_small(trials=40, target_us=best.latency_us, sampler="random", seed=1)
    wrong = [trial for trial in stored(outcome) if trial.status == Status.CORRECTNESS]
    assert outcome.stopped_by == "target"
    assert outcome.best is not None
    assert (outcome.best.config, outcome.best.verified) == (best.config, True)
    assert wrong
    assert outcome.failures == {"correctness": len(wrong)}


def test_a_config_found_wrong_does_not_reach_the_target_when_resumed(
    tune_small: Tune, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_space(tmp_path, ("none", "skips"))
    noisy = {"noise": 0.03, "repeats": 8, "remeasure": 2, "sampler": "random", "seed": 1}
    first = tune_small(trials=40, **noisy)
    wrong = [t for t in stored(first) if t.status == Status.CORRECTNESS]
    target_us = min(t.figures[REMEASURED]["latency_us"] for t in wrong if REMEASURED in t.figures)

    class Idle(SerialExecutor):
        def submit(self, candidate: Candidate) -> None:
            raise AssertionError(candidate)

    monkeypatch.setattr(run, "SerialExecutor", Idle)
    resumed = tune_small(trials=40, resume=True, target_us=target_us, **noisy)
    assert (resumed.stopped_by, resumed.best) == ("trials", first.best)


def test_unchecked_a_wrong_config_reaches_the_target(tune_small: Tune, tmp_path: Any) -> None:
    write_space(tmp_path, ("none", "skips"))
    right = tune_small(trials=100, verify="all").best
    assert right is not None
    outcome = tune_small(
        trials=40, target_us=right.latency_us, sampler="random", seed=1, verify="none"
    )
    assert outcome.stopped_by == "target"
    assert outcome.best is not None
    assert not outcome.best.verified


def test_a_check_that_fails_itself_does_not_keep_a_job_going(
    tune_small: Tune, tmp_path: Any
) -> None:
    write_space(tmp_path, reference="broken_reference")
    outcome = tune_small(trials=9, target_us=1e6)
    assert (outcome.stopped_by, outcome.trials) == ("target", 1)
    assert outcome.unverified.startswith("runtime: ")


@pytest.mark.parametrize("rules", [{"patience": 3}, {"target_us": 16.9}])
def test_where_it_ends_does_not_depend_on_when_results_arrive(
    tune_small: Tune, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, rules: dict[str, Any]
) -> None:
    write_space(tmp_path, ("none", "column", "raises"))
    monkeypatch.setattr(run, "SerialExecutor", Late)
    found = []
    for size, newest in ((4, False), (1, False), (1, True), (3, True)):
        monkeypatch.setattr(Late, "size", size)
        monkeypatch.setattr(Late, "newest", newest)
        outcome = tune_small(trials=40, sampler="random", **rules)
        found.append((outcome.stopped_by, sorted(keys(stored(outcome)))))
    assert found == [found[0]] * 4
    assert 4 < len(found[0][1]) < 40


def test_the_time_of_earlier_runs_counts(tune_small: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))  # a second a look
    monkeypatch.setattr(run, "time", clock)
    first = tune_small(trials=20, max_s=12.0)
    spent_s = [trial.host_s["search"] for trial in stored(first)]
    assert first.stopped_by == "time"
    assert 2 <= first.trials < 20
    assert spent_s == sorted(spent_s)
    assert spent_s[-1] <= 12
    again = tune_small(trials=20, max_s=12.0, resume=True)
    assert (again.stopped_by, again.measured) in {("time", 0), ("time", 1)}
    longer = tune_small(trials=20, max_s=1000.0, resume=True)
    assert (longer.stopped_by, longer.trials) == ("trials", 20)
    assert all(trial.host_s["search"] > spent_s[-1] for trial in stored(longer)[again.trials :])


def test_the_time_ends_a_real_search(tune_small: Tune, tmp_path: Any) -> None:
    write_space(tmp_path, ("none", "sleeps"))
    started = time.monotonic()
    outcome = tune_small(trials=42, max_s=0.4, sampler="random", verify="none")
    assert outcome.stopped_by == "time"
    assert outcome.trials < 42
    assert time.monotonic() - started < 10


def test_where_all_are_to_be_tried_the_sampler_is_not_asked(tune_small: Tune) -> None:
    assert tune_small(trials=CONFIGS).sampler == "exhaustive"
    assert tune_small(trials=CONFIGS - 1).sampler == tune_small().sampler != "exhaustive"
    assert tune_small(trials=CONFIGS, patience=CONFIGS).sampler != "exhaustive"


def test_exhausting_a_small_space_is_offered(tune_small: Tune) -> None:
    offered = tune_small(trials=15)
    assert offered.exhausting_s is not None
    assert 0 < offered.exhausting_s < 10
    assert tune_small(trials=CONFIGS).exhausting_s is None
