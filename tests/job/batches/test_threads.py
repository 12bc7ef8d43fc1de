from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import KERNEL, write_space
from tests.job.batches.files import write_jobs
from tuner.backends import Measurement
from tuner.database import ASKED, Store, best_trial, locked
from tuner.execution import SerialExecutor
from tuner.execution.actor import start_actor
from tuner.job import BatchProgress, Outcome, batch
from tuner.job.tuning import run_job
from tuner.runtime import load
from tuner.runtime.errors import TunerError

JOBS = """\
[defaults]
trials = 5
sampler = "random"
ray = "serial"
results = "{folder}/results"

[[jobs]]
kernel = "{folder}/double.toml"
sizes = {{ M = [128, 256, 384, 512, 640, 768], N = 512 }}
"""

Told = dict[str, tuple[list[str], list[Any], list[Any]]]


@pytest.fixture
def jobs(tmp_path: Path, space_file: Path) -> Path:
    """Six jobs of the small kernel that learn of each other."""
    assert space_file.parent == tmp_path
    return write_jobs(tmp_path, JOBS)


def told(folder: Path, results: str = "results") -> Told:
    """For each workload, each with one study, where its first configs came from, what was tried in
    which order, and the best of it.
    """
    with Store(folder / results) as store:
        studies = store.studies()
        found = {
            study.info.shape: (
                [seed["shape"] for seed in study.info.settings["warm_start"]],
                [
                    (trial.config, trial.latency_us)
                    for trial in sorted(store.trials(study.id), key=lambda t: t.figures[ASKED])
                ],
                [best.config for best in (best_trial(store.trials(study.id)),) if best],
            )
            for study in studies
        }
    assert len(found) == len(studies)
    assert all(study.finished_at is not None for study in studies)
    return found


class Uneven(SerialExecutor):
    """Takes its time, now longer, now shorter."""

    chance = random.Random(0)

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        time.sleep(self.chance.choice([0, 0.002, 0.02]))
        return super().wait(timeout_s)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_the_results_are_the_same_whatever_the_timing(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("tuner.job.run.SerialExecutor", Uneven)
    every = []
    for name in ("a", "b", "c"):
        found = batch(jobs, at_once=at_once, results=str(tmp_path / name))
        assert not found.failed
        assert [done.measured for done in found.done] == [5] * 6
        assert [done.name.split(" ")[1] for done in found.done] == [
            f"M={size},N=512" for size in range(128, 769, 128)
        ]
        every.append(told(tmp_path, name))
    assert every[0] == every[1] == every[2]
    first, *others = every[0].values()
    assert first[0] == []
    for place, (seeds, *_) in enumerate(others, 1):
        assert (seeds == []) == (place < at_once)


def test_jobs_run_at_the_same_time(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(3)

    def meets(*arguments: Any, **options: Any) -> Outcome:
        meeting.wait(timeout=30)
        return run_job(*arguments, **options)

    monkeypatch.setattr("tuner.job.batches.threads.run_job", meets)
    assert not batch(jobs, at_once=3).failed


def test_of_one_workload_only_one_job_runs(jobs: Path) -> None:
    other = '[[jobs]]\nkernel = "{}/double.toml"\nshape = "M=128,N=512"\nseed = 3\n'
    jobs.write_text(jobs.read_text() + other.format(jobs.parent) * 2)
    found = batch(jobs, at_once=8)
    assert not found.failed
    assert [(done.skipped, done.measured) for done in found.done[-2:]] == [(False, 5), (True, 0)]


def test_a_failed_job_does_not_end_those_beside_it(tmp_path: Path) -> None:
    write_space(tmp_path)
    (tmp_path / "bad").mkdir()
    write_space(tmp_path / "bad")
    (tmp_path / "bad" / "double.py").write_text(KERNEL + "\nraise OSError('gone')\n")
    bad = JOBS.split("[[jobs]]")[1].replace("double.toml", "bad/double.toml")
    found = batch(write_jobs(tmp_path, JOBS + "[[jobs]]" + bad), at_once=3)
    assert [bool(done.failed) for done in found.done] == [False] * 6 + [True] * 6
    assert "cannot be loaded: OSError: gone" in found.done[-1].failed


def test_a_job_that_runs_elsewhere_is_refused_and_the_others_run(
    jobs: Path, tmp_path: Path
) -> None:
    name = "double-M=256,N=512-float32-trn2-simulator"
    with locked(tmp_path / "results", name):
        found = batch(jobs, at_once=3, export=tmp_path / "t.json")
    refused = f"this job is running already in {tmp_path}/results: process {os.getpid()} "
    assert [done.failed.startswith(refused) for done in found.done] == [False, True] + [False] * 4
    assert len(load(tmp_path / "t.json").records) == 5
    again = batch(jobs, at_once=3, export=tmp_path / "t.json")
    assert [done.skipped for done in again.done] == [True, False] + [True] * 4
    assert len(load(tmp_path / "t.json").records) == 6


def test_what_ends_a_job_in_its_thread_is_told(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: Any, **__: Any) -> Outcome:
        raise SystemExit(3)

    monkeypatch.setattr("tuner.job.batches.threads.run_job", ends)
    assert [done.failed for done in batch(jobs).done] == ["SystemExit: 3"] * 6


def interrupt(times: int) -> Callable[[BatchProgress], None]:
    """Ctrl-C so many times when the second job has two trials; its thread then waits for it."""

    def report(state: BatchProgress) -> None:
        tuning = state.tuning
        if state.number == 2 and tuning and tuning.measured == 2 and not tuning.stopping:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)

    return report


def test_ctrl_c_ends_all_jobs_and_the_same_call_goes_on(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.job.run.SerialExecutor", Uneven)
    before = threading.active_count()
    stopped = batch(jobs, at_once=3, progress=interrupt(1), export=tmp_path / "t.json")
    assert stopped.interrupted
    assert "double M=256,N=512 float32 on trn2" not in [done.name for done in stopped.done]
    assert threading.active_count() == before
    assert not (tmp_path / "t.json").exists()
    assert not batch(jobs, at_once=3, export=tmp_path / "t.json").interrupted
    assert len(load(tmp_path / "t.json").records) == 6
    batch(jobs, at_once=3, results=str(tmp_path / "whole"))
    assert told(tmp_path) == told(tmp_path, "whole")


def test_the_second_ctrl_c_leaves_jobs_that_do_not_end(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hangs(*_: Any, **__: Any) -> Outcome:
        hanging.set()
        release.wait(60)
        raise OSError("late")

    def press() -> None:
        hanging.wait(30)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    monkeypatch.setattr("tuner.job.batches.threads.run_job", hangs)
    threading.Thread(target=press).start()
    states: list[BatchProgress] = []
    found = batch(jobs, at_once=2, progress=states.append)
    assert (found.interrupted, found.done) == (True, ())
    said = len(states)
    release.set()
    time.sleep(0.1)
    assert len(states) == said


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_with_ray_jobs_at_once_share_the_workers(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    def counted(resources: Mapping[str, float]) -> Any:
        started.append(start_actor(resources))
        return started[-1]

    monkeypatch.setattr("tuner.execution.pool.start_actor", counted)
    running: list[int] = []
    for name in ("a", "b"):
        now: set[int] = set()

        def report(state: BatchProgress, now: set[int] = now) -> None:
            if not state.checking:
                (now.discard if state.done else now.add)(state.number)
                running.append(len(now))

        found = batch(
            jobs, at_once=3, ray="local", workers=2, results=str(tmp_path / name), progress=report
        )
        assert not found.failed
    assert (len(started), max(running)) == (4, 3)
    assert told(tmp_path, "a") == told(tmp_path, "b")


RUN = "import sys, tuner; tuner.batch(sys.argv[1], at_once=3, results=sys.argv[2])"


@pytest.mark.slow
def test_killed_at_any_instant_it_goes_on_to_the_same_results(jobs: Path, tmp_path: Path) -> None:
    jobs.write_text(jobs.read_text().replace("trials = 5", 'trials = 12\nverify = "all"'))
    batch(jobs, at_once=3, results=str(tmp_path / "whole"))
    words = [sys.executable, "-c", RUN, str(jobs), str(tmp_path / "killed")]
    root, chance, kills, before = Path(__file__).parents[3], random.Random(1), 0, 0
    for after_s in (chance.uniform(0, 0.2) for _ in range(3)):
        with subprocess.Popen(words, cwd=root) as driver:
            while driver.poll() is None and trials(tmp_path / "killed") <= before:
                time.sleep(0.005)
            time.sleep(after_s)
            kills += driver.poll() is None
            driver.kill()
        before = trials(tmp_path / "killed")
    assert kills >= 2
    subprocess.run(words, cwd=root, check=True, timeout=120)
    assert told(tmp_path, "killed") == told(tmp_path, "whole")


def trials(results: Path) -> int:
    """Trials that are committed."""
    try:
        with Store(results) as store:
            return sum(len(store.trials(study.id)) for study in store.studies())
    except TunerError:  # there is none yet, or its tables are being made
        return 0
