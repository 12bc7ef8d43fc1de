"""Runs a batch: checks every job first, then goes through them, and leaves out what is finished."""

from __future__ import annotations

import dataclasses
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.database import Exported, Store, Study, StudyInfo, best_trial, database_path, export
from tuner.execution import Session
from tuner.job.batches.outcome import Batch, BatchProgress, Done
from tuner.job.batches.reading import Listed, read_jobs
from tuner.job.interrupts import interrupts
from tuner.job.outcome import Progress
from tuner.job.resuming import changes, finished_study, has_study
from tuner.job.run import look_up, open_session, run_job
from tuner.job.settings import SERIAL, Job, option_words
from tuner.runtime.errors import TunerError
from tuner.runtime.shipped import file_or_shipped

__all__ = ["batch"]


def batch(
    path: str | os.PathLike[str],
    *,
    export: str | os.PathLike[str] | None = None,
    progress: Callable[[BatchProgress], None] | None = None,
    **overrides: Any,
) -> Batch:
    """Runs the tuning jobs of a file: what `nki-tuner batch` does.

    Run again it goes on: jobs that are finished are left out, one that was interrupted is resumed,
    and one whose kernel, search space, device or simulator changed since is done anew.

    Args:
        path: The file of jobs, or the bare name of one that comes with the package: "jobs".
        export: A table to write at the end, with the best config of every job.
        progress: Called when a job begins, goes on and ends.
        **overrides: Options of `Job` that go before those of the file: device, trials, timeout_s,
            results, ray, workers.

    Returns:
        What came of every job. One that fails does not end the batch, Ctrl-C does.

    Raises:
        TunerError: Anything in the file is wrong; no job has begun then.
    """
    file, target = Path(path), None if export is None else Path(export)
    listed = read_jobs(Path(file_or_shipped(str(file), "jobs", ".toml")), overrides)
    if target is not None and not target.parent.is_dir():
        raise TunerError(f"{target}: there is no folder {target.parent}")
    if target is not None and target.is_dir():
        raise TunerError(f"{target}: is a folder, expected a file for the table")
    planned = [_planned(each) for each in listed]
    run = _Run(planned, progress or (lambda _: None))
    try:
        run.run()
    except KeyboardInterrupt:
        run.interrupted = True
    written = None
    if target is not None and not run.interrupted:
        written = _export(run, target, _command(file, overrides, target))
    devices = tuple(dict.fromkeys(each.job.device for each in planned))
    found = tuple(run.done)
    return Batch(found, len(planned), devices, run.results, run.interrupted, written)


@dataclass(frozen=True)
class _Planned:
    """A job that was checked."""

    job: Job
    info: StudyInfo
    trials: int

    @property
    def name(self) -> str:
        return f"{self.info.kernel} {self.info.shape} {self.info.dtype} on {self.info.device}"


def _planned(listed: Listed) -> _Planned:
    try:
        prepared, _ = look_up(listed.job)
    except TunerError as error:
        raise TunerError(f"{listed.where}: {error}") from None
    trials = min(listed.job.trials, len(prepared.space))
    return _Planned(listed.job, prepared.info, trials)


@dataclass
class _Run:
    """One run of a batch."""

    planned: list[_Planned]
    report: Callable[[BatchProgress], None]
    interrupted: bool = False
    done: list[Done] = field(default_factory=list)
    begun: float = 0.0
    trials: int = 0

    @property
    def results(self) -> str:
        return self.planned[0].job.results

    def run(self) -> None:
        """Runs to the end or the first Ctrl-C; KeyboardInterrupt if no job was running then."""
        left = sum(each.trials for each in self.planned if self._finished(each) is None)
        with _session(self.planned[0].job, needed=left > 0) as session:
            self.begun = time.monotonic()
            for number, each in enumerate(self.planned, 1):
                left -= self._one(number, each, session, left)
                if self.interrupted:
                    return

    def _finished(self, planned: _Planned) -> Study | None:
        if not database_path(self.results).is_file():
            return None
        with Store(self.results) as store:
            return finished_study(store, planned.info)

    def _one(self, number: int, planned: _Planned, session: Session | None, left: int) -> int:
        """Runs a job unless it is finished; returns its trials.

        Args:
            number: The job's number, from 1.
            planned: The job.
            session: Where it runs; None for this process.
            left: Trials of it and of all jobs after it that are not finished.
        """
        state = BatchProgress(number, len(self.planned), planned.name, left_s=self._left_s(left))
        study = self._finished(planned)
        if study is not None:
            done = self._found(planned, study.id, skipped=True)
            self.done.append(done)
            self.report(dataclasses.replace(state, done=done))
            return 0
        state = self._standing(planned, state)
        self.report(state)

        def tell(tuning: Progress) -> None:
            remaining = self._left_s(left, tuning.measured, tuning.done)
            self.report(dataclasses.replace(state, tuning=tuning, left_s=remaining))

        job = dataclasses.replace(planned.job, resume=state.resumed)
        try:
            outcome = run_job(job, tell, session)
        except Exception as error:  # whatever ends a job does not end the batch
            told = (
                str(error) if isinstance(error, TunerError) else f"{type(error).__name__}: {error}"
            )
            done = Done(planned.name, failed=" ".join(told.split()))
        else:
            self.interrupted = outcome.interrupted
            if outcome.interrupted:
                return 0
            self.trials += outcome.measured
            done = self._found(planned, outcome.study, measured=outcome.measured)
        self.done.append(done)
        remaining = self._left_s(left - planned.trials)
        self.report(dataclasses.replace(state, done=done, left_s=remaining))
        return planned.trials

    def _left_s(self, left: int, measured: int = 0, known: int = 0) -> float | None:
        """Estimates the seconds that so many trials take, some of them done."""
        so_far = self.trials + measured
        if not so_far:
            return None
        return max(left - known, 0) * (time.monotonic() - self.begun) / so_far

    def _standing(self, planned: _Planned, state: BatchProgress) -> BatchProgress:
        """Says whether a job is resumed, and if not, what changed since an earlier run of it."""
        if not database_path(self.results).is_file():
            return state
        with Store(self.results) as store:
            if has_study(store, planned.info):
                return dataclasses.replace(state, resumed=True)
            return dataclasses.replace(state, changed=tuple(changes(store, planned.info)))

    def _found(self, planned: _Planned, study: int, **more: Any) -> Done:
        with Store(self.results) as store:
            trials = store.trials(study)
            stored = next(each for each in store.studies() if each.id == study)
        default = next((t for t in trials if t.config == stored.info.default), None)
        best = best_trial(trials)
        failed = "" if best else "no config ran"
        return Done(planned.name, stored, default, best, failed, **more)


@contextmanager
def _session(job: Job, needed: bool) -> Iterator[Session | None]:
    """Starts Ray once for all jobs; None where they run in this process, or nothing is to do."""
    if job.ray == SERIAL or not needed:
        yield None
        return
    stop = threading.Event()
    with interrupts(stop.set):  # Ray does not survive an exception while it starts
        session = open_session(job, {})
    try:
        if stop.is_set():
            raise KeyboardInterrupt
        yield session
    finally:
        session.close()


def _export(run: _Run, target: Path, command: str) -> Exported | None:
    studies = [done.study.id for done in run.done if done.study is not None and done.best]
    return export(run.results, target, study=studies, command=command) if studies else None


def _command(path: Path, overrides: Mapping[str, Any], target: Path) -> str:
    """The command that makes the table anew."""
    words = ["nki-tuner", "batch", str(path), *option_words(overrides)]
    return shlex.join([*words, "--export", str(target)])
