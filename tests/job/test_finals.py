from __future__ import annotations

import os
import signal
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import write_space
from tests.job.jobs import Tune, stored
from tests.job.test_resume import interrupt_after
from tuner.backends import Candidate, Measurement, Repeats, Status
from tuner.backends.noise import noise_factor
from tuner.backends.repeats import narrow, order_interval
from tuner.database import REMEASURED, Store, Trial, best_trial
from tuner.execution import SerialExecutor
from tuner.job import run
from tuner.job.finals import MAX_ROUNDS, MIN_ROUNDS, finalists, incumbent_interval, remeasure
from tuner.search import Search


def trial(
    number: int,
    latency_us: float | None,
    ci_us: tuple[float, float] | None = None,
    status: Status = Status.CORRECT,
    **figures: Any,
) -> Trial:
    told = {"samples": 9, "spread_us": 1.0, "ci_us": ci_us and list(ci_us), **figures}
    return Trial(number, {"number": number}, status, latency_us, "", False, told, {}, 0.0)


def again(one: Trial, latency_us: float | None, status: Status = Status.CORRECT) -> Trial:
    """A trial after it was measured again."""
    searched = {"latency_us": one.latency_us, **one.figures}
    return trial(one.number, latency_us, (1, 2), status, **{REMEASURED: searched})


def numbers(trials: list[Trial]) -> list[int]:
    return [each.number for each in trials]


RIVALS = [trial(0, 104, (100, 108)), trial(1, 100, (97, 103)), trial(2, 102, (99, 106))]


def test_finalists_are_the_fastest_whose_intervals_overlap_that_of_the_fastest() -> None:
    far, failed = trial(3, 110, (107, 113)), trial(4, None, status=Status.COMPILE)
    everything = [*RIVALS, far, failed]
    assert numbers(finalists(everything, 5)) == [1, 2, 0]
    assert numbers(finalists(everything, 2)) == [1, 2]
    assert finalists(everything, 0) == []
    assert finalists([failed], 5) == []


def test_without_an_interval_anything_may_be_the_fastest() -> None:
    single = [trial(number, 100.0 + 50 * number) for number in range(3)]
    assert numbers(finalists(single, 2)) == [0, 1]


def test_what_was_measured_again_is_not_measured_a_third_time() -> None:
    done = [again(each, 100.0 + each.number) for each in RIVALS]
    assert finalists(done, 5) == []
    new = trial(7, 98, (95, 101))
    assert numbers(finalists([*done, new], 5)) == [7, 1, 2, 0]  # ranked by what the search saw
    assert finalists([*done, trial(7, 120, (119, 121))], 5) == []


def test_finalists_that_failed_are_not_replaced_until_none_is_left() -> None:
    next_best = trial(5, 105, (103, 109))
    first = [again(each, 100) for each in RIVALS]
    wrong = [again(each, None, Status.CORRECTNESS) for each in RIVALS]
    assert finalists([*first[:1], *wrong[1:], next_best], 3) == []
    assert numbers(finalists([*wrong, next_best], 3)) == [5]
    assert finalists(wrong, 3) == []


def test_a_trial_measured_again_beats_a_lucky_one() -> None:
    lucky, sure = trial(0, 95, (90, 102)), again(RIVALS[1], 101)
    assert best_trial([lucky, sure]) == sure
    assert best_trial([lucky, again(RIVALS[1], None, Status.RUNTIME)]) == lucky
    assert best_trial([sure, again(RIVALS[2], 100)]) == again(RIVALS[2], 100)


def test_a_trial_that_is_clearly_faster_beats_one_measured_again() -> None:
    sure = again(RIVALS[1], 101)
    clear, unclear = trial(8, 95, (93, 100.9)), trial(9, 94, (80, 101))
    assert best_trial([sure, clear, unclear]) == clear
    assert best_trial([sure, trial(9, 94)]) == sure  # a single sample says nothing
    assert best_trial([sure, again(clear, 103)]) == sure


def test_the_incumbent_is_the_trial_that_the_search_was_told_of() -> None:
    later = trial(9, 90, (80, 95))  # came back, but its turn to be told is yet to come
    assert incumbent_interval([*RIVALS, later], 100) == (97, 103)
    assert incumbent_interval([again(RIVALS[1], 108), later], 100) == (97, 103)
    assert incumbent_interval(RIVALS, None) is None
    assert incumbent_interval([trial(0, 100)], 100) is None


class Fake:
    """Times by config and round; the newest candidate comes back first."""

    capacity = capacity_ahead = 2

    def __init__(self, time_us: Callable[[int, int], float | None]) -> None:
        self.time_us = time_us
        self.asked: list[int] = []
        self._waiting: deque[Candidate] = deque()

    def submit(self, candidate: Candidate) -> None:
        self._waiting.append(candidate)

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        candidate = self._waiting.pop()
        number = int(candidate.config["number"])
        self.asked.append(number)
        assert candidate.repeats is not None
        assert candidate.repeats.most == 1
        time_us = self.time_us(number, candidate.repeats.first - 20)
        if time_us is None:
            return [Measurement(candidate.number, Status.RUNTIME, "measured", reason="it fell")]
        return [Measurement(candidate.number, Status.CORRECT, "measured", time_us)]

    def close(self) -> None:
        self._waiting.clear()


def noisy(exact: list[float], seed: int = 0, share: float = 0.03) -> Callable[[int, int], float]:
    def time_us(number: int, turn: int) -> float:
        return exact[number] * noise_factor(share, seed, {"number": number}, turn)

    return time_us


def configs(count: int) -> list[dict[str, Any]]:
    return [{"number": number} for number in range(count)]


def test_each_round_takes_one_sample_of_each_in_another_order() -> None:
    executor = Fake(noisy([100.0] * 4))
    found = remeasure(executor, configs(4), first=20)
    assert found is not None
    assert found.rounds == MAX_ROUNDS
    rounds = [tuple(executor.asked[i : i + 4]) for i in range(0, len(executor.asked), 4)]
    assert {tuple(sorted(each)) for each in rounds} == {(0, 1, 2, 3)}
    assert len(set(rounds)) > 10
    for number, taken in found.samples.items():
        assert taken == [executor.time_us(number, turn) for turn in range(MAX_ROUNDS)]
    other = Fake(executor.time_us)
    remeasure(other, configs(4), first=20)
    assert other.asked == executor.asked
    remeasure(other, configs(4), first=20, seed=1)
    assert other.asked[len(executor.asked) :] != executor.asked


def best_of(samples: dict[int, list[float]]) -> int:
    return min(samples, key=lambda number: sorted(samples[number])[len(samples[number]) // 2])


def test_rounds_end_when_the_best_and_its_time_are_known() -> None:
    found = remeasure(Fake(noisy([150.0, 100.0, 180.0], share=0.0005)), configs(3), first=20)
    assert found is not None
    assert found.rounds == 8  # the fewest that tell anything with 99 %
    assert best_of(found.samples) == 1


def test_rounds_go_on_until_the_time_of_a_clear_winner_is_known() -> None:
    found = remeasure(Fake(noisy([150.0, 100.0, 180.0])), configs(3), first=20)
    assert found is not None
    assert found.rounds == MAX_ROUNDS
    found = remeasure(Fake(noisy([150.0, 100.0, 180.0], share=0.008)), configs(3), first=20)
    assert found is not None
    assert 8 < found.rounds < MAX_ROUNDS
    assert narrow(found.samples[1])


def test_rounds_end_when_all_are_as_good_as_equal() -> None:
    found = remeasure(Fake(lambda number, turn: 100 + 0.01 * number), configs(3), first=20)
    assert found is not None
    assert found.rounds == 8


def test_a_drifting_device_does_not_hide_a_small_difference() -> None:
    def warming(number: int, turn: int) -> float:
        calm = noise_factor(0.005, 0, {"number": number}, turn)
        return [103.0, 101.0, 100.0][number] * (1 + 0.05 * turn) * calm

    found = remeasure(Fake(warming), configs(3), first=20)
    assert found is not None
    assert best_of(found.samples) == 2
    low, _ = order_interval(
        [a / b for a, b in zip(found.samples[1], found.samples[2], strict=True)], 0.99
    )
    assert low > 1


def test_the_best_is_found_more_often_than_by_its_search_median() -> None:
    exact = [100.0, 101.5, 102.0, 103.0]
    right = Counter[str]()
    for seed in range(60):
        time_us = noisy(exact, seed)
        few = {number: [time_us(number, -turn) for turn in range(1, 8)] for number in range(4)}
        found = remeasure(Fake(time_us), configs(4), first=20)
        assert found is not None
        right["few"] += best_of(few) == 0
        right["finals"] += best_of(found.samples) == 0
    assert right["finals"] > 1.2 * right["few"]


def test_the_last_finalist_is_timed_until_its_time_is_known() -> None:
    found = remeasure(Fake(noisy([100.0])), configs(1), first=20)
    assert found is not None
    assert found.rounds == MAX_ROUNDS
    found = remeasure(Fake(lambda number, turn: 100.0), configs(1), first=20)
    assert found is not None
    assert found.rounds == MIN_ROUNDS


def test_a_clear_winner_of_the_search_is_not_measured_again() -> None:
    clear = trial(7, 90, (89, 91))
    assert finalists([*RIVALS, clear], 5) == []
    assert numbers(finalists([*RIVALS, clear], 1)) == [7]  # it may have been lucky
    others = [again(each, 100.0) for each in RIVALS]
    assert numbers(finalists([*others, clear], 5)) == [7]


def test_a_finalist_that_fails_drops_out() -> None:
    def failing(number: int, turn: int) -> float | None:
        return None if (number, turn) in ((0, 0), (2, 3)) else 100.0 + number

    executor = Fake(failing)
    found = remeasure(executor, configs(4), first=20)
    assert found is not None
    assert sorted(found.samples) == [1, 3]
    assert found.rounds == 8
    assert Counter(executor.asked) == {0: 1, 1: 8, 2: 4, 3: 8}
    assert [found.last[number].reason for number in (0, 2)] == ["it fell", "it fell"]


def test_all_finalists_may_fail() -> None:
    found = remeasure(Fake(lambda number, turn: None), configs(3), first=20)
    assert found is not None
    assert (found.samples, found.rounds, len(found.last)) == ({}, 0, 3)


def test_a_late_answer_of_something_else_is_not_taken_for_a_sample() -> None:
    class Late(Fake):
        def wait(self, timeout_s: float | None = None) -> list[Measurement]:
            late = Measurement(1, Status.CORRECT, "measured", 1.0)
            return [late, *super().wait(timeout_s)]

    found = remeasure(Late(noisy([100.0, 150.0])), configs(2), first=20)
    assert found is not None
    assert min(min(taken) for taken in found.samples.values()) > 50


def test_it_stops_when_told() -> None:
    executor = Fake(noisy([100.0, 100.0]))
    found = remeasure(executor, configs(2), first=20, stopped=lambda: len(executor.asked) == 5)
    assert found is None
    assert len(executor.asked) == 5


NOISY: dict[str, Any] = {"noise": 0.03, "repeats": 8, "sampler": "random"}


def test_a_noisy_job_stores_median_spread_and_interval(tune_small: Tune) -> None:
    exact = {str(t.config): t.latency_us for t in stored(tune_small(trials=21))}
    outcome = tune_small(trials=21, **NOISY)
    timed = [t for t in stored(outcome) if t.latency_us is not None]
    assert len(timed) > 10
    for each in timed:
        low, high = each.figures["ci_us"]
        assert 0 < low <= high
        assert each.figures["spread_us"] > 0
        right = exact[str(each.config)]
        assert right is None or each.latency_us == pytest.approx(right, rel=0.2)
        if REMEASURED not in each.figures:
            assert 2 <= each.figures["samples"] <= 8
    assert timed[0].figures["samples"] == 8  # the default: nothing to compare it with


def test_the_best_was_measured_again(tune_small: Tune) -> None:
    outcome = tune_small(trials=21, **NOISY)
    trials = stored(outcome)
    finals = [t for t in trials if REMEASURED in t.figures]
    assert 1 <= len(finals) <= 5
    assert outcome.best in finals
    assert outcome.best == best_trial(trials)
    assert outcome.best is not None
    assert outcome.best.verified
    assert outcome.best.latency_us == min(t.latency_us for t in finals if t.latency_us)
    for each in finals:
        assert MIN_ROUNDS <= each.figures["samples"] <= MAX_ROUNDS
        assert each.figures[REMEASURED]["latency_us"] != each.latency_us
        assert each.figures["flops"] == trials[0].figures["flops"]


def test_exact_jobs_take_one_sample_and_no_finals(tune_small: Tune) -> None:
    outcome = tune_small(repeats=9, remeasure=3)
    with Store(outcome.database.parent.parent) as store:
        (study,) = store.studies()
    assert not {"repeats", "remeasure"} & set(study.info.settings)
    assert "noise" not in study.info.fingerprint
    assert not any({"samples", REMEASURED} & set(t.figures) for t in stored(outcome))


def test_finals_may_be_left_out(tune_small: Tune) -> None:
    trials = stored(tune_small(remeasure=0, **NOISY))
    assert not any(REMEASURED in each.figures for each in trials)


@pytest.mark.parametrize("count", [1, 7, 16])
def test_a_resumed_noisy_job_ends_like_one_that_was_not_interrupted(
    tune_small: Tune, count: int
) -> None:
    def seen(trials: list[Trial]) -> list[Any]:
        return [(t.config, t.latency_us, t.figures.get("samples")) for t in trials]

    settings: dict[str, Any] = {**NOISY, "trials": 16, "seed": 5, "sampler": "tpe"}
    stopped = tune_small(**settings, progress=interrupt_after(count))
    assert not any(REMEASURED in t.figures for t in stored(stopped))
    resumed = tune_small(**settings, resume=True)
    whole = tune_small(**settings)
    assert stopped.interrupted
    assert seen(stored(resumed)) == seen(stored(whole))
    assert resumed.best is not None
    assert whole.best is not None
    assert (resumed.best.config, resumed.best.latency_us) == (
        whole.best.config,
        whole.best.latency_us,
    )


def test_more_trials_after_the_finals_search_on_as_if_there_had_been_none(
    tune_small: Tune,
) -> None:
    settings: dict[str, Any] = {**NOISY, "seed": 3, "sampler": "tpe"}
    tune_small(**settings, trials=12)
    more = stored(tune_small(**settings, trials=18, resume=True))
    whole = stored(tune_small(**settings, trials=18))
    assert [t.config for t in more] == [t.config for t in whole]


def test_a_resumed_search_is_told_what_it_was_told_before_the_finals(
    tune_small: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, float | None]] = []

    class Listening(Search):
        def tell(self, number: int, latency_us: float | None) -> None:
            told.append((number, latency_us))
            super().tell(number, latency_us)

    monkeypatch.setattr(run, "Search", Listening)
    tune_small(**NOISY)
    first, told[:] = list(told), []
    tune_small(**NOISY, trials=9, resume=True)
    assert told[:8] == first


def test_a_candidate_knows_the_interval_to_beat_and_its_finals_take_new_samples(
    tune_small: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Candidate] = []

    class Listening(SerialExecutor):
        def submit(self, candidate: Candidate) -> None:
            asked.append(candidate)
            super().submit(candidate)

    monkeypatch.setattr(run, "SerialExecutor", Listening)
    trials = stored(tune_small(**NOISY, verify="none"))
    default, second = asked[:2]
    assert default.limit_us is None
    assert default.repeats == Repeats(8)
    ci_us = trials[0].figures.get(REMEASURED, trials[0].figures)["ci_us"]
    assert second.repeats == Repeats(8, incumbent_us=tuple(ci_us))
    assert second.limit_us == ci_us[1]
    finals = [each.repeats for each in asked[len(trials) :]]
    rounds = len(finals) // len({str(each.config) for each in asked[len(trials) :]})
    assert {each.first for each in finals if each} == set(range(8, 8 + rounds))


def test_what_is_complete_is_not_measured_again_when_resumed(
    tune_small: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Idle(SerialExecutor):
        def submit(self, candidate: Candidate) -> None:
            raise AssertionError(candidate)

    first = tune_small(**NOISY)
    monkeypatch.setattr(run, "SerialExecutor", Idle)
    again = tune_small(**NOISY, resume=True)
    assert (again.measured, again.best) == (0, first.best)


def test_ctrl_c_in_the_finals_keeps_the_search_and_resume_completes_them(
    tune_small: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(SerialExecutor):
        def submit(self, candidate: Candidate) -> None:
            if candidate.number == -8:
                os.kill(os.getpid(), signal.SIGINT)
            super().submit(candidate)

    with monkeypatch.context() as patched:
        patched.setattr(run, "SerialExecutor", Interrupted)
        stopped = tune_small(**NOISY)
    assert (stopped.interrupted, stopped.trials) == (True, 8)
    assert not any(REMEASURED in t.figures for t in stored(stopped))
    resumed = tune_small(**NOISY, resume=True)
    whole = tune_small(**NOISY)
    assert resumed.measured == 0
    assert resumed.best is not None
    assert whole.best is not None
    assert resumed.best.latency_us == whole.best.latency_us
    assert REMEASURED in resumed.best.figures


def test_a_worker_that_fails_in_the_finals_costs_its_config_the_title(
    tune_small: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = tune_small(**NOISY).best
    assert best is not None
    winner = best.config

    class Failing(SerialExecutor):
        def wait(self, timeout_s: float | None = None) -> list[Measurement]:
            candidate = self._waiting[0]
            if candidate.number < 0 and candidate.config == winner:
                self._waiting.popleft()
                failed = Status.TIMEOUT
                return [Measurement(candidate.number, failed, "simulated", reason="too long")]
            return super().wait(timeout_s)

    monkeypatch.setattr(run, "SerialExecutor", Failing)
    outcome = tune_small(**NOISY)
    assert outcome.best is not None
    assert outcome.best.config != winner
    assert REMEASURED in outcome.best.figures
    assert outcome.failures == {"timeout": 1}
    (lost,) = [t for t in stored(outcome) if t.status == Status.TIMEOUT]
    assert (lost.config, lost.latency_us) == (winner, None)
    assert lost.reason == "when measured again: too long"


def test_wrong_finalists_give_way_to_the_fastest_right_config(
    tune_small: Tune, tmp_path: Path
) -> None:
    write_space(tmp_path, ("none", "skips"))
    outcome = tune_small(trials=100, remeasure=2, **NOISY)
    assert outcome.best is not None
    assert (outcome.best.config["fault"], outcome.best.verified) == ("none", True)
    assert REMEASURED in outcome.best.figures
    assert outcome.failures["correctness"] >= 2


@pytest.mark.parametrize(
    "setting", [{"noise": 0.04}, {"repeats": 9}, {"remeasure": 2}, {"noise": 0}]
)
def test_other_noise_or_repeats_are_another_study(
    tune_small: Tune, setting: dict[str, Any]
) -> None:
    tune_small(**NOISY)
    with pytest.raises(Exception, match=f"cannot resume study 1: .*{next(iter(setting))} was "):
        tune_small(**{**NOISY, **setting}, resume=True)
