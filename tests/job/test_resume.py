from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import KERNEL, write_space
from tests.job.jobs import Tune, keys, stored
from tuner.backends import Problem
from tuner.database import Store
from tuner.execution import SerialExecutor
from tuner.job import Outcome, Progress, run
from tuner.runtime.errors import TunerError


def interrupt_after(count: int) -> Callable[[Progress], None]:
    """Ctrl-C when so many trials of a run came back."""

    def report(progress: Progress) -> None:
        if progress.measured == count and not progress.stopping:
            os.kill(os.getpid(), signal.SIGINT)

    return report


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_resumed_job_ends_like_one_that_was_not_interrupted(
    tune_small: Tune, count: int, sampler: str
) -> None:
    settings: dict[str, Any] = {"trials": 16, "sampler": sampler, "seed": 5}
    stopped = tune_small(**settings, progress=interrupt_after(count))
    before = stored(stopped)
    resumed = tune_small(**settings, resume=True)
    whole = tune_small(**settings)
    assert stopped.interrupted
    assert stopped.trials == len(before) == count
    assert (resumed.study, resumed.interrupted) == (stopped.study, False)
    assert (resumed.trials, resumed.measured) == (16, 16 - count)
    assert [t.finished_at for t in stored(resumed)[:count]] == [t.finished_at for t in before]
    assert set(keys(stored(resumed))) == set(keys(stored(whole)))
    assert resumed.best is not None
    assert whole.best is not None
    assert resumed.best.config == whole.best.config
    assert resumed.best.verified


def test_an_interrupted_study_is_unfinished_until_it_is_resumed(tune_small: Tune) -> None:
    def finished(outcome: Outcome) -> bool:
        with Store(outcome.database.parent.parent) as store:
            return store.studies()[0].finished_at is not None

    assert not finished(tune_small(progress=interrupt_after(2)))
    assert finished(tune_small(resume=True))


def test_ctrl_c_works_as_before_after_a_job(tune_small: Tune) -> None:
    before = signal.getsignal(signal.SIGINT)
    tune_small(trials=3, progress=interrupt_after(1))
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_sigterm_ends_a_job_as_ctrl_c_does(tune_small: Tune) -> None:
    def terminate(progress: Progress) -> None:
        if progress.measured == 3 and not progress.stopping:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopped = tune_small(progress=terminate)
    assert (stopped.interrupted, stopped.trials) == (True, 3)
    assert signal.getsignal(signal.SIGTERM) is before
    assert tune_small(resume=True).measured == 5


def test_a_second_sigterm_ends_at_once(tune_small: Tune) -> None:
    def twice(progress: Progress) -> None:
        if progress.measured == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        tune_small(progress=twice)
    assert tune_small(resume=True).measured == 5


def test_a_second_ctrl_c_ends_at_once_and_keeps_what_was_stored(
    tune_small: Tune, tmp_path: Path
) -> None:
    def twice(progress: Progress) -> None:
        if progress.measured == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune_small(progress=twice)
    with Store(tmp_path / "results") as store:
        assert len(store.trials(1)) == 3
    assert tune_small(resume=True).measured == 5


def test_resuming_what_is_complete_measures_nothing(tune_small: Tune) -> None:
    first = tune_small()
    again = tune_small(resume=True)
    assert (again.study, again.trials, again.measured) == (first.study, 8, 0)
    assert again.best == first.best
    more = tune_small(resume=True, trials=12)
    assert (more.study, more.trials, more.measured) == (first.study, 12, 4)


@pytest.mark.parametrize("rules", [{"patience": 4}, {"target_us": 17.0}])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_rule_ends_a_resumed_job_where_it_would_have_ended(
    tune_small: Tune, rules: dict[str, Any], sampler: str
) -> None:
    settings: dict[str, Any] = {"trials": 20, "sampler": sampler, "seed": 6, **rules}
    whole = tune_small(**settings)
    assert whole.stopped_by in rules or whole.stopped_by == "target"
    assert 3 < whole.trials < 20
    stopped = tune_small(**settings, progress=interrupt_after(2))
    assert (stopped.stopped_by, stopped.trials) == ("interrupted", 2)
    resumed = tune_small(**settings, resume=True)
    assert (resumed.study, resumed.stopped_by) == (stopped.study, whole.stopped_by)
    assert keys(stored(resumed)) == keys(stored(whole))
    again = tune_small(**settings, resume=True)
    assert (again.stopped_by, again.measured) == (whole.stopped_by, 0)


def test_a_stopped_job_goes_on_with_more_patience(tune_small: Tune) -> None:
    first = tune_small(trials=20, patience=3, sampler="random")
    assert first.stopped_by == "patience"
    more = tune_small(trials=20, sampler="random", resume=True)
    assert (more.study, more.stopped_by, more.trials) == (first.study, "trials", 20)


def test_the_best_of_an_unchecked_job_is_checked_when_resumed(
    tune_small: Tune, tmp_path: Path
) -> None:
    write_space(tmp_path, ("none", "skips"))
    tune_small(trials=100, verify="none")
    outcome = tune_small(trials=100, resume=True)
    assert outcome.measured == 0
    assert outcome.best is not None
    assert (outcome.best.config["fault"], outcome.best.verified) == ("none", True)


def test_a_changed_kernel_cannot_be_resumed(tune_small: Tune, tmp_path: Path) -> None:
    tune_small(trials=2)
    (tmp_path / "double.py").write_text(KERNEL.replace("buffers=1", "buffers=2"))
    with pytest.raises(TunerError, match="cannot resume study 1: kernel_hash was "):
        tune_small(resume=True)


def test_a_changed_space_cannot_be_resumed(tune_small: Tune, space_file: Path) -> None:
    tune_small(trials=2)
    space_file.write_text(space_file.read_text().replace("[1, 2, 4]", "[1, 2, 8]"))
    with pytest.raises(TunerError, match="cannot resume study 1: space_hash was "):
        tune_small(resume=True)


def test_a_comment_in_the_kernel_does_not_hinder_resuming(tune_small: Tune, tmp_path: Path) -> None:
    tune_small(trials=2)
    (tmp_path / "double.py").write_text(f"# a comment\n{KERNEL}")
    assert tune_small(trials=3, resume=True).measured == 1


def test_nothing_to_resume(tune_small: Tune) -> None:
    with pytest.raises(TunerError, match="nothing to resume: there is no "):
        tune_small(resume=True)
    tune_small(trials=1, device="trn1")
    with pytest.raises(TunerError, match="nothing to resume"):
        tune_small(resume=True)


@pytest.mark.parametrize("setting", [{"seed": 3}, {"sampler": "random"}])
def test_another_seed_or_sampler_is_another_study(
    tune_small: Tune, setting: dict[str, Any]
) -> None:
    tune_small(trials=2)
    (name,) = setting
    with pytest.raises(TunerError, match=f"cannot resume study 1: {name} was "):
        tune_small(trials=4, resume=True, **setting)


def test_an_older_study_with_the_same_settings_is_found(tune_small: Tune) -> None:
    first = tune_small(trials=2)
    tune_small(trials=2, seed=9)
    assert tune_small(trials=3, resume=True).study == first.study


def test_a_resumed_study_states_the_new_command(tune_small: Tune) -> None:
    tune_small(trials=2)
    outcome = tune_small(trials=3, resume=True)
    with Store(outcome.database.parent.parent) as store:
        assert " --trials 3" in store.studies()[0].info.command


def test_resuming_with_verify_all_checks_the_best_that_was_not(tune_small: Tune) -> None:
    assert not getattr(tune_small(trials=4, verify="none").best, "verified", None)
    assert getattr(tune_small(trials=4, verify="all", resume=True).best, "verified", None)


def test_nothing_to_resume_leaves_no_database(tune_small: Tune, tmp_path: Path) -> None:
    with pytest.raises(TunerError, match="nothing to resume"):
        tune_small(resume=True)
    assert not list(tmp_path.rglob("*.sqlite3"))


def test_ctrl_c_while_workers_start_leaves_no_study(
    tune_small: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(SerialExecutor):
        def __init__(self, problem: Problem) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            super().__init__(problem)

    seen: list[Progress] = []
    monkeypatch.setattr(run, "SerialExecutor", Slow)
    with pytest.raises(KeyboardInterrupt):
        tune_small(trials=2, progress=seen.append)
    assert [(progress.done, progress.stopping) for progress in seen] == [(0, True)]
    (database,) = tmp_path.rglob("*.sqlite3")
    with Store(database.parent.parent) as store:
        assert store.studies() == []
