from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import tuner
from tests.backends.small_kernel import KERNEL, write_space
from tests.job.batches.files import JOBS, write_jobs
from tuner.database import Store
from tuner.job import Batch, BatchProgress, batch, tune
from tuner.runtime import load
from tuner.runtime.errors import TunerError

NAMES = [
    "double M=128,N=512 float32 on trn2",
    "double M=256,N=512 float32 on trn2",
    "double M=128,N=128 bfloat16 on trn2",
]


@pytest.fixture
def jobs(tmp_path: Path, space_file: Path) -> Path:
    """Three jobs of the small kernel."""
    assert space_file.parent == tmp_path
    return write_jobs(tmp_path)


def interrupt(job: int, measured: int) -> Callable[[BatchProgress], None]:
    """Ctrl-C when so many trials of a job came back; the job waits until it is taken."""

    def report(state: BatchProgress) -> None:
        tuning = state.tuning
        if state.number == job and tuning and tuning.measured == measured and not tuning.stopping:
            handler = signal.getsignal(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            while signal.getsignal(signal.SIGINT) is handler:
                time.sleep(0.001)
            time.sleep(0.05)

    return report


def told(found: Batch) -> list[tuple[bool, int]]:
    return [(done.skipped, done.measured) for done in found.done]


def configs(folder: Path) -> dict[str, list[Any]]:
    with Store(folder / "results") as store:
        return {
            study.info.shape: [trial.config for trial in store.trials(study.id)]
            for study in store.studies()
        }


def test_every_job_is_tuned_in_the_order_of_the_file(jobs: Path) -> None:
    found = batch(jobs)
    assert [done.name for done in found.done] == NAMES
    assert told(found) == [(False, 4), (False, 4), (False, 3)]
    assert (found.jobs, found.failed, found.interrupted) == (3, (), False)
    for done in found.done:
        assert done.best is not None
        assert done.best.verified
        assert done.kind == "simulated"
        assert done.speedup is not None
        assert done.speedup >= 1
        assert done.roofline_share is not None
        assert 0 < done.roofline_share < 1


def test_a_finished_batch_measures_nothing_again(jobs: Path) -> None:
    first, again = batch(jobs), batch(jobs)
    assert told(again) == [(True, 0)] * 3
    assert [done.best for done in again.done] == [done.best for done in first.done]
    assert [done.study for done in again.done] == [done.study for done in first.done]


@pytest.mark.parametrize(("job", "measured"), [(1, 1), (2, 3), (3, 1)])
def test_an_interrupted_batch_goes_on_where_it_was(
    jobs: Path, tmp_path: Path, job: int, measured: int
) -> None:
    stopped = batch(jobs, progress=interrupt(job, measured), at_once=1)
    assert (stopped.interrupted, len(stopped.done)) == (True, job - 1)
    resumed: list[str] = []
    found = batch(jobs, progress=lambda s: resumed.append(s.name) if s.resumed else None, at_once=1)
    assert set(resumed) == {NAMES[job - 1]}
    trials = [4, 4, 3]
    expected = [(True, 0)] * (job - 1) + [(False, trials[job - 1] - measured)]
    assert told(found) == expected + [(False, count) for count in trials[job:]]
    parts = configs(tmp_path)
    whole = batch(jobs, results=str(tmp_path / "other" / "results"), at_once=1)
    assert told(whole) == [(False, count) for count in trials]
    assert configs(tmp_path / "other") == parts


def test_a_job_with_more_trials_goes_on(jobs: Path) -> None:
    batch(jobs)
    jobs.write_text(jobs.read_text().replace("trials = 3", "trials = 5"))
    assert told(batch(jobs)) == [(True, 0), (True, 0), (False, 2)]
    assert told(batch(jobs)) == [(True, 0)] * 3


def test_a_resumed_job_that_is_interrupted_again_is_not_finished(jobs: Path) -> None:
    batch(jobs)
    jobs.write_text(jobs.read_text().replace("trials = 3", "trials = 7"))
    assert batch(jobs, progress=interrupt(3, 1)).interrupted
    assert told(batch(jobs)) == [(True, 0), (True, 0), (False, 3)]


def test_a_job_whose_kernel_changed_is_done_anew(jobs: Path, tmp_path: Path) -> None:
    batch(jobs)
    (tmp_path / "double.py").write_text(KERNEL.replace("buffers=1", "buffers=2"))
    seen: list[tuple[str, ...]] = []
    again = batch(jobs, progress=lambda s: None if s.checking else seen.append(s.changed))
    assert told(again) == [(False, 4), (False, 4), (False, 3)]
    assert set(seen) == {("kernel",)}


def test_a_study_that_was_tuned_alone_counts(jobs: Path, tmp_path: Path) -> None:
    space, results = str(tmp_path / "double.toml"), str(tmp_path / "results")
    tune(space, "M=128,N=128", dtype="bfloat16", trials=3, ray="serial", results=results)
    assert told(batch(jobs)) == [(False, 4), (False, 4), (True, 0)]


def test_a_job_that_fails_does_not_end_the_batch(tmp_path: Path) -> None:
    write_space(tmp_path)
    failing = tmp_path / "bad"
    failing.mkdir()
    write_space(failing)
    (failing / "double.py").write_text(KERNEL + "\nraise OSError('gone')\n")
    text = JOBS.replace('"{folder}/double.toml"\nsizes', '"{folder}/bad/double.toml"\nsizes')
    found = batch(write_jobs(tmp_path, text))
    gone = f"{failing}/double.py: cannot be loaded: OSError: gone"
    assert [done.failed for done in found.done] == [gone, gone, ""]
    assert len(found.failed) == 2
    again = batch(write_jobs(tmp_path, text))
    assert [done.skipped for done in again.done] == [False, False, True]


def test_a_job_in_which_no_config_runs_has_failed(tmp_path: Path) -> None:
    write_space(tmp_path, ["raises"])
    space = tmp_path / "double.toml"
    space.write_text(space.read_text().replace('default = "none"', 'default = "raises"'))
    found = batch(write_jobs(tmp_path), export=tmp_path / "t.json")
    assert [done.failed for done in found.done] == ["no config ran"] * 3
    assert found.exported is None
    assert not (tmp_path / "t.json").exists()


WRONG = [
    ('double.toml"\nshape', 'doubel.toml"\nshape', r"\(M=128,N=128\): .*doubel.toml: No such file"),
    ('"{folder}/double.toml"\nshape', '"matmull"\nshape', "'matmull'; did you mean matmul"),
    ("M=128,N=128", "M=128,Z=128", r"entry 2 of \[\[jobs\]\] .*unknown dim of double: 'Z'"),
    ("M=128,N=128", "M=128,N=32", r"\(M=128,N=32\): no config is valid here"),
    ("trials = 3", 'device = "trn9"', r"\(M=128,N=128\): unknown device 'trn9'; did you mean"),
    ("trials = 3", 'policy = "x"', r"\(M=128,N=128\): unknown compiler policy 'x'"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_everything_is_checked_before_the_first_job(
    tmp_path: Path, space_file: Path, old: str, new: str, message: str
) -> None:
    assert old in JOBS
    assert space_file.exists()
    with pytest.raises(TunerError, match=message) as error:
        batch(write_jobs(tmp_path, JOBS.replace(old, new)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


def test_a_table_that_cannot_be_written_there_is_an_error_before_the_first_job(
    jobs: Path, tmp_path: Path
) -> None:
    with pytest.raises(TunerError, match="there is no folder"):
        batch(jobs, export=tmp_path / "nowhere" / "t.json")
    with pytest.raises(TunerError, match="is a folder, expected a file"):
        batch(jobs, export=tmp_path)
    assert not (tmp_path / "results").exists()


def test_the_table_has_the_jobs_of_the_file_and_the_command_that_makes_it(
    jobs: Path, tmp_path: Path
) -> None:
    space, results = str(tmp_path / "double.toml"), str(tmp_path / "results")
    tune(space, "M=512,N=512", trials=2, ray="serial", results=results)
    batch(jobs, export=tmp_path / "t.json", trials=2, timeout_s=30.0)
    table = load(tmp_path / "t.json")
    assert sorted(record.sizes["M"] for record in table.records) == [128, 128, 256]
    options = "--trials 2 --timeout-s 30.0"
    assert table.command == f"nki-tuner batch {jobs} {options} --export {tmp_path}/t.json"
    stored = json.loads((tmp_path / "t.json").read_text())
    assert stored["command"] == table.command


def test_a_bare_name_is_that_of_a_shipped_file_of_jobs(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "package" / "tuner" / "results"
    shipped.mkdir(parents=True)
    jobs.rename(shipped / "mine.toml")
    monkeypatch.setattr(tuner, "__file__", str(shipped.parent / "__init__.py"))
    batch("mine", export=tmp_path / "t.json", trials=2)
    command = f"nki-tuner batch mine --trials 2 --export {tmp_path}/t.json"
    assert load(tmp_path / "t.json").command == command
    with pytest.raises(TunerError, match="unknown file or shipped jobs 'min'"):
        batch("min")


def test_it_says_how_far_it_is(jobs: Path) -> None:
    states: list[BatchProgress] = []
    batch(jobs, progress=states.append)
    assert [(s.number, s.jobs) for s in states if s.checking] == [(1, 3), (2, 3), (3, 3)]
    assert sorted((s.number, s.jobs) for s in states if s.done) == [(1, 3), (2, 3), (3, 3)]
    assert states[3].left_s is None
    left = [state.left_s for state in states if state.done]
    assert left[0] is not None
    assert left[0] > 0
    assert left[-1] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_jobs_share_their_workers(jobs: Path, tmp_path: Path) -> None:
    import ray

    from tuner.execution import pool
    from tuner.execution.actor import start_actor

    started: list[Any] = []

    def counted(resources: Mapping[str, float]) -> Any:
        started.append(start_actor(resources))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "start_actor", counted)
        found = batch(jobs, ray="local", workers=1)
    assert told(found) == [(False, 4), (False, 4), (False, 3)]
    assert len(started) == 1
    assert ray.is_initialized()

    def ask_for_long() -> None:
        deadline = time.monotonic() + 30  # Ray kills in its own time
        while time.monotonic() < deadline:
            ray.get(started[0].start.remote("", "", None))

    with pytest.raises(ray.exceptions.RayActorError):
        ask_for_long()
