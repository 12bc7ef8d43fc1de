from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import CONFIGS, write_space
from tests.job.drivers import driver, until
from tests.job.jobs import Tune, keys, stored
from tests.postgres_server import PASSWORD, Server
from tuner.database import Store, best_trial, export
from tuner.job import Job, Progress
from tuner.job.shared_search import FROM
from tuner.runtime.errors import TunerError
from tuner.search.shared import shared_study
from tuner.space import SearchSpace

TRIALS = 30


@pytest.fixture
def slow_space(tmp_path: Path) -> Path:
    """The small kernel's; a third of its 63 configs sleep, another third fail."""
    return write_space(tmp_path, ("none", "sleeps", "raises"))


@pytest.mark.slow
def test_two_drivers_share_the_trials(slow_space: Path, database: str, tmp_path: Path) -> None:
    with (
        driver(slow_space, database, tmp_path / "A", trials=TRIALS) as one,
        driver(slow_space, database, tmp_path / "B", trials=TRIALS) as other,
    ):
        said = [each.ended() for each in (one, other)]
    mine, theirs = one.own(), other.own()
    assert len(set(mine) | set(theirs)) == len(mine) + len(theirs) == TRIALS
    assert mine
    assert theirs
    assert sorted(keys(one.trials())) == sorted(keys(other.trials())) == sorted(mine + theirs)
    outcomes = [dict(zip(keys(each.trials()), each.trials(), strict=True)) for each in (one, other)]
    for key in mine + theirs:
        first, second = (outcome[key] for outcome in outcomes)
        assert (first.status, first.latency_us) == (second.status, second.latency_us)
        assert (first.reason, first.host_s.get("trace")) == (
            second.reason,
            second.host_s.get("trace"),
        )
    bests = [best_trial(each.trials()) for each in (one, other)]
    assert bests[0] is not None
    assert bests[1] is not None
    assert bests[0].latency_us == bests[1].latency_us
    assert bests[0].verified
    assert bests[1].verified
    for text, count in zip(said, (len(mine), len(theirs)), strict=True):
        assert f"{count} trials by this driver, {TRIALS - count} by " in text
        assert "stopped by all trials were used" in text
    table = tmp_path / "trn2.json"
    export(tmp_path / "B", table)
    assert json.loads(table.read_text())["records"][0]["trials"] == TRIALS


@pytest.mark.slow
def test_a_killed_driver_is_resumed(slow_space: Path, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "A"
    with driver(slow_space, database, tmp_path / "B", trials=TRIALS, missed=10_000) as other:
        with driver(slow_space, database, folder, trials=TRIALS) as killed:
            until(lambda: len(killed.own()) >= 3)
            killed.kill()
            before = killed.own()
        until(lambda: len(other.trials()) >= TRIALS - 1)  # it waits for the one that is left
        with driver(slow_space, database, folder, "--resume", trials=TRIALS) as resumed:
            resumed.ended()
        other.ended()
    mine, theirs = resumed.own(), other.own()
    assert mine[: len(before)] == before
    assert len(set(mine) | set(theirs)) == len(mine) + len(theirs) == TRIALS
    assert sorted(keys(resumed.trials())) == sorted(keys(other.trials()))


@pytest.mark.slow
def test_what_a_dead_driver_leaves_is_taken_over(
    slow_space: Path, database: str, tmp_path: Path
) -> None:
    with driver(slow_space, database, tmp_path / "A", trials=TRIALS) as killed:
        until(lambda: len(killed.own()) >= 3)
        killed.kill()
        finished = killed.own()
    with driver(
        slow_space, database, tmp_path / "B", trials=TRIALS, beat_s=0.1, missed=10
    ) as other:
        other.ended()
    assert len(set(keys(other.trials()))) == TRIALS
    assert len(set(other.own()) & set(finished)) <= 1, "stored, and not yet shared"
    assert len(other.own()) >= TRIALS - len(finished)


@pytest.mark.slow
class TestInOneProcess:
    """What needs no second process: a driver that finds the trials of one before it."""

    @pytest.fixture
    def share(self, tune_small: Tune, database: str, tmp_path: Path) -> Tune:
        def call(name: str, **settings: Any) -> Any:
            return tune_small(results=str(tmp_path / name), storage=database, **settings)

        return call

    def test_a_driver_that_comes_later_finds_all(self, share: Tune) -> None:
        first = share("A")
        second = share("B")
        assert (first.measured, second.measured, second.trials) == (8, 0, 8)
        assert first.best is not None
        assert second.best is not None
        assert second.best.config == first.best.config
        assert second.best.verified
        assert second.stopped_by == "trials"
        more = share("C", trials=12)
        assert (more.measured, more.trials) == (4, 12)
        assert [FROM in t.figures for t in stored(more)] == [True] * 8 + [False] * 4

    @pytest.mark.parametrize("sampler", ["gp", "anneal", "exhaustive", "tpe"])
    def test_every_sampler_may_share(self, share: Tune, sampler: str) -> None:
        assert share("A", sampler=sampler, trials=10).measured == 10
        second = share("B", sampler=sampler, trials=CONFIGS)
        assert (second.measured, second.trials) == (CONFIGS - 10, CONFIGS)

    def test_everything_is_tried_once(self, share: Tune) -> None:
        share("A")
        second = share("B", trials=1000)
        assert (second.trials, second.stopped_by) == (CONFIGS, "exhausted")

    def test_drivers_at_the_same_time(self, share: Tune) -> None:
        found: list[Any] = []
        folders = ["A", "B", "C"]
        running = [
            threading.Thread(target=lambda name=name: found.append(share(name, trials=18)))
            for name in folders
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert [each.trials for each in found] == [18] * 3
        assert sum(each.measured for each in found) == 18

    def test_ctrl_c_leaves_nothing_running(self, share: Tune) -> None:
        def stop(progress: Progress) -> None:
            if progress.measured == 3 and not progress.stopping:
                os.kill(os.getpid(), signal.SIGINT)

        first = share("A", progress=stop)
        assert (first.interrupted, first.trials) == (True, 3)
        assert share("B").measured == 5
        resumed = share("A", resume=True)
        assert (resumed.study, resumed.trials, resumed.measured) == (first.study, 8, 0)

    def test_what_was_stored_and_not_shared_is_shared_on_resuming(
        self, share: Tune, postgres: Server, database: str
    ) -> None:
        share("A")
        name = database.rpartition("/")[2]
        for table in ("trial_values", "trial_user_attributes", "trial_params", "trials"):
            postgres.execute(f"DELETE FROM {table}", name)
        assert share("A", resume=True).measured == 0
        assert share("B").measured == 0

    def test_a_target_reached_by_one_ends_the_other(self, share: Tune) -> None:
        first = share("A", trials=CONFIGS)
        assert first.best is not None
        second = share("B", trials=CONFIGS, target_us=first.best.latency_us)
        assert (second.stopped_by, second.measured) == ("target", 0)

    def test_time_is_up_for_one_driver(self, share: Tune) -> None:
        share("A", trials=4)
        late = share("B", max_s=1e-6)
        assert (late.stopped_by, late.measured, late.trials) == ("time", 0, 4)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"policy": "beta1"}, "compiler policy"),
            ({"seed": 9}, "seed"),
            ({"noise": 0.02}, "noise"),
        ],
    )
    def test_drivers_that_measure_otherwise_do_not_mix(
        self, share: Tune, change: dict[str, Any], told: str
    ) -> None:
        assert "of its own" not in share("A").shared
        other = share("B", **change)
        assert other.measured == 8
        assert "a study of its own: " in other.shared
        assert told in other.shared
        assert share("C", **change).measured == 0

    def test_times_that_vary(self, share: Tune) -> None:
        first = share("A", noise=0.02)
        second = share("B", noise=0.02)
        assert (first.measured, second.measured) == (8, 0)
        assert second.best is not None
        assert second.best.verified
        assert share("B", noise=0.02, resume=True).measured == 0

    def test_a_job_that_shares_is_not_resumed_as_one_that_does_not(
        self, share: Tune, tune_small: Tune, tmp_path: Path
    ) -> None:
        share("A")
        with pytest.raises(TunerError, match="shared was True, is None"):
            tune_small(results=str(tmp_path / "A"), resume=True)

    def test_a_command_says_nothing_of_the_storage(self, share: Tune, tmp_path: Path) -> None:
        share("A")
        with Store(tmp_path / "A") as store:
            (study,) = store.studies()
        assert "storage" not in study.info.command
        assert "postgresql" not in json.dumps([study.info.settings, study.info.fingerprint])

    def test_the_servers_name_and_no_password_in_the_database(
        self, share: Tune, postgres: Server, monkeypatch: pytest.MonkeyPatch, database: str
    ) -> None:
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        share("A")
        with shared_study(
            database, "any", {"workload": []}, SearchSpace.of_values({"a": (1,)}, default={"a": 1})
        ) as shared:
            told = shared.link.storage.get_all_studies()
            trials = [shared.link.storage.get_all_trials(each._study_id) for each in told]
        assert PASSWORD not in repr((told, trials))


def test_a_job_with_a_password_is_refused() -> None:
    with pytest.raises(TunerError, match="PGPASSWORD") as raised:
        Job("matmul", "M=1", storage="postgresql://me:secret@host/tuning")
    assert "secret" not in str(raised.value)
