from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.backends.small_kernel import CONFIGS, KERNEL, line_of, write_space
from tests.job.jobs import Late, Tune, keys, stored
from tuner.backends import Status
from tuner.database import Store
from tuner.job import Progress, run
from tuner.runtime.errors import TunerError


def test_an_outcome_is_what_the_database_holds(tune_small: Tune) -> None:
    outcome = tune_small()
    trials = stored(outcome)
    with Store(outcome.database.parent.parent) as store:
        (study,) = store.studies()
    assert outcome.trials == outcome.measured == len(trials) == 8
    timed = [trial for trial in trials if trial.latency_us is not None]
    assert outcome.best == min(timed, key=lambda trial: (trial.latency_us, trial.number))
    assert outcome.default in trials
    assert outcome.default is not None
    assert (
        outcome.default.config
        == study.info.default
        == {"columns": 64, "buffers": 1, "fault": "none"}
    )
    assert outcome.valid_configs == CONFIGS
    assert outcome.kind == study.info.kind == "simulated"
    assert outcome.roofline_us == study.info.roofline_us
    assert outcome.failures == {}
    assert not outcome.interrupted
    assert study.finished_at is not None
    assert study.info.settings["seed"] == 0


def test_ratios_follow_from_the_times(tune_small: Tune) -> None:
    outcome = tune_small()
    assert outcome.best is not None
    assert outcome.default is not None
    assert outcome.best.latency_us is not None
    assert outcome.default.latency_us is not None
    assert outcome.speedup == outcome.default.latency_us / outcome.best.latency_us
    assert outcome.speedup > 1
    assert outcome.roofline_share == outcome.roofline_us / outcome.best.latency_us
    assert 0 < outcome.roofline_share < 1


def test_no_config_is_tried_twice_and_the_default_is_tried_first(tune_small: Tune) -> None:
    trials = stored(tune_small(trials=15))
    assert len(set(keys(trials))) == 15
    assert trials[0].config == {"columns": 64, "buffers": 1, "fault": "none"}


def test_it_ends_when_the_space_is_exhausted(tune_small: Tune) -> None:
    seen: list[Progress] = []
    outcome = tune_small(trials=100, progress=seen.append)
    assert outcome.trials == CONFIGS
    assert seen[-1].done == seen[-1].trials == CONFIGS


def test_progress_counts_up_and_knows_the_best(tune_small: Tune) -> None:
    seen: list[Progress] = []
    outcome = tune_small(progress=seen.append)
    assert [progress.done for progress in seen] == list(range(1, 9))
    assert {progress.trials for progress in seen} == {8}
    times = [progress.best_us for progress in seen if progress.best_us is not None]
    assert times == sorted(times, reverse=True)
    assert outcome.best is not None
    assert times[-1] == outcome.best.latency_us


def test_a_second_job_is_a_second_study(tune_small: Tune) -> None:
    first, second = tune_small(), tune_small(seed=1)
    assert (first.study, second.study) == (1, 2)
    assert keys(stored(first)) != keys(stored(second))


def test_the_same_seed_gives_the_same_trials(tune_small: Tune) -> None:
    first, second = (
        [(t.number, t.config, t.latency_us) for t in stored(tune_small(trials=15))] for _ in "ab"
    )
    assert first == second


def test_trials_do_not_depend_on_when_results_arrive(
    tmp_path: Path, tune_small: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_space(tmp_path, ("none", "column", "element", "raises"))
    monkeypatch.setattr(run, "SerialExecutor", Late)
    found = []
    for size, newest in ((4, False), (1, False), (1, True), (3, True)):
        monkeypatch.setattr(Late, "size", size)
        monkeypatch.setattr(Late, "newest", newest)
        found.append(sorted(keys(stored(tune_small(trials=40)))))
    assert found == [found[0]] * 4


WRONG = ("none", "skips", "element")


@pytest.fixture
def wrong_space(tmp_path: Path) -> Path:
    """The fastest configs are wrong ones: those that skip some work."""
    return write_space(tmp_path, WRONG)


@pytest.fixture
def tune_wrong(tune_small: Tune, wrong_space: Path) -> Tune:
    assert wrong_space.is_file()
    return tune_small


def test_unchecked_a_wrong_config_wins(tune_wrong: Tune) -> None:
    outcome = tune_wrong(trials=100, verify="none")
    assert outcome.best is not None
    assert outcome.best.config["fault"] == "skips"
    assert not outcome.best.verified
    assert not any(trial.verified for trial in stored(outcome))


@pytest.mark.parametrize("verify", ["best", "all"])
def test_checked_the_fastest_right_config_wins(tune_wrong: Tune, verify: str) -> None:
    outcome = tune_wrong(trials=100, verify=verify)
    trials = stored(outcome)
    wrong = [trial for trial in trials if trial.status == Status.CORRECTNESS]
    assert outcome.best is not None
    assert outcome.best.config["fault"] == "none"
    assert outcome.best.verified
    right = [trial for trial in trials if trial.config["fault"] == "none"]
    assert outcome.best.latency_us == min(t.latency_us for t in right if t.latency_us)
    assert all(trial.latency_us is None and not trial.verified for trial in wrong)
    assert all("output 0[" in trial.reason for trial in wrong)
    assert outcome.failures == {"correctness": len(wrong)}
    assert outcome.trials == len(trials) == len(WRONG) * CONFIGS
    if verify == "all":
        assert {t.number for t in wrong} == {t.number for t in trials} - {t.number for t in right}
        assert all(trial.verified for trial in right)
    else:
        assert sum(trial.verified for trial in trials) == 1
        assert len(wrong) >= 2


def test_only_wrong_configs_leave_no_best(tune_small: Tune, tmp_path: Path) -> None:
    (tmp_path / "double.py").write_text(KERNEL.replace("return x * 2", "return x * 3"))
    outcome = tune_small(trials=5)
    assert outcome.best is None
    assert outcome.speedup is None
    assert outcome.roofline_share is None
    assert outcome.failures == {"correctness": 5}


def test_failures_are_counted_and_explained(tmp_path: Path, tune_small: Tune) -> None:
    write_space(tmp_path, ("none", "memory", "raises"))
    outcome = tune_small(trials=100, workers=1)
    trials = stored(outcome)
    failed = [trial for trial in trials if trial.status == Status.COMPILE]
    assert outcome.failures == {"compile": len(failed)}
    raised = [trial for trial in failed if trial.config["fault"] == "raises"]
    assert len(raised) == CONFIGS
    assert all(line_of("raises") in trial.reason for trial in raised)
    for trial in trials:  # what cannot be the best may go without a look at its memory
        if trial.config["fault"] == "memory" and "bound_us" not in trial.figures:
            assert line_of("memory") in trial.reason


def test_what_cannot_be_the_best_is_not_timed(tmp_path: Path, tune_small: Tune) -> None:
    write_space(tmp_path, ("none", "memory"))
    outcome = tune_small(trials=100)
    assert outcome.best is not None
    assert outcome.best.latency_us is not None
    hopeless = [trial for trial in stored(outcome) if "bound_us" in trial.figures]
    assert hopeless
    for trial in hopeless:
        assert (trial.status, trial.latency_us) == (Status.CORRECT, None)
        assert trial.figures["bound_us"] > outcome.best.latency_us
        assert trial.reason.startswith("not timed: takes at least ")


def test_a_broken_reference_fails_what_is_checked(tmp_path: Path, tune_small: Tune) -> None:
    write_space(tmp_path, reference="broken_reference")
    outcome = tune_small(trials=3, verify="all")
    assert outcome.failures == {"runtime": 3}
    assert all(line_of("reference") in trial.reason for trial in stored(outcome))


def test_the_same_job_cannot_run_twice_at_once(tune_small: Tune) -> None:
    def nested(_: Progress) -> None:
        with pytest.raises(TunerError, match=f"running already in .*: process {os.getpid()}"):
            tune_small()
        tune_small(trials=1, device="trn1")

    assert tune_small(trials=1, progress=nested).trials == 1


def test_an_error_of_the_caller_ends_the_job_and_keeps_its_trials(
    tune_small: Tune, tmp_path: Path
) -> None:
    def fail(progress: Progress) -> None:
        if progress.measured == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tune_small(progress=fail)
    with Store(tmp_path / "results") as store:
        assert len(store.trials(1)) == 2


def test_a_check_that_fails_itself_costs_no_times(tune_small: Tune, tmp_path: Path) -> None:
    write_space(tmp_path, reference="broken_reference")
    outcome = tune_small(trials=4)
    assert outcome.best is not None
    assert (outcome.best.verified, outcome.failures) == (False, {})
    assert outcome.unverified.startswith("runtime: ")
    assert [trial.status for trial in stored(outcome)] == ["correct"] * 4


def test_a_reference_that_is_not_there_is_an_error_at_once(
    tune_small: Tune, tmp_path: Path
) -> None:
    write_space(tmp_path, reference="doble_reference")
    with pytest.raises(TunerError, match=r"unknown function .* did you mean double_reference"):
        tune_small(trials=4)
