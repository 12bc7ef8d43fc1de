"""Records a search space: times every config of it, and writes them as a recording."""

from __future__ import annotations

import dataclasses
import os
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tuner import __version__
from tuner.backends import (
    REPLAY,
    Candidate,
    Measurement,
    Status,
    evaluate,
    load_backend,
)
from tuner.backends.recording import Recording, read_recording, write_recording
from tuner.database import Store, Study, StudyInfo, Trial, best_trial, locked
from tuner.execution import Executor, RayExecutor, SerialExecutor
from tuner.job.interrupts import interrupts
from tuner.job.neuron import deadlines
from tuner.job.outcome import Progress
from tuner.job.preparing import Prepared, prepare
from tuner.job.settings import SERIAL, Job, other_options
from tuner.runtime.errors import TunerError

__all__ = ["MAX_CONFIGS", "Recorded", "record"]

MAX_CONFIGS = 200_000
POLL_S = 0.25
COMMIT_S = 1.0
AHEAD = 4
"""Candidates handed out for each that an executor can work on."""
SAMPLES = 16
"""Configs that are timed to say how long all of them would take."""


@dataclass(frozen=True)
class Recorded:
    """What became of it.

    Attributes:
        recording: None where it was interrupted; the same call goes on then.
        configs: How many the space has.
        done: How many of them have been timed, `measured` of them now, in `elapsed_s` seconds.
        partial: Where those that have been timed are kept until all are.
    """

    recording: Recording | None
    configs: int
    done: int
    measured: int
    elapsed_s: float
    partial: Path


def record(
    kernel: str,
    shape: str | Mapping[str, int | str],
    output: str | os.PathLike[str],
    *,
    limit: int = MAX_CONFIGS,
    progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Recorded:
    """Times every config for one workload: what `nki-tuner record` does.

    What is done is kept beside the output until all is; the same call goes on after an
    interruption.

    Args:
        kernel: Name of a bundled search space, or the path of a search space file.
        shape: Sizes by dim, or their text, e.g. "M=1024,K=4096,N=4096".
        output: The file to write, `.npz`; a recording that is there is replaced.
        limit: Refuse larger spaces.
        progress: Called about once a second.
        **settings: Other attributes of `Job`: dtype, device, policy, workers and the like; without
            `ray` it runs in this process.

    Raises:
        TunerError: Anything asked for is wrong, or the space is larger than `limit`.
    """
    path = Path(output)
    if path.suffix != ".npz" or not path.parent.is_dir():
        raise TunerError(f"{path}: expected a file that ends in .npz, in a folder that exists")
    if path.exists():
        read_recording(path)  # only a recording is replaced by another
    prepared = prepare(Job(kernel, shape, **{"ray": SERIAL, **settings, "verify": "none"}))
    _check(prepared, limit)
    info = dataclasses.replace(
        prepared.info, settings={"configs": "all"}, command=_command(prepared, path)
    )
    partial = path.with_name(f"{path.name}.partial")
    with locked(partial, "record"), Store(partial, create=True) as store:
        run = _Run(prepared, info, store, partial, progress or (lambda _: None))
        done = run.run()
        if done.recording is not None:
            write_recording(done.recording, path)
    if done.recording is not None:
        _remove(partial)
    return done


def _check(prepared: Prepared, limit: int) -> None:
    job = prepared.job
    if job.backend == REPLAY:
        raise TunerError(f"{job.kernel} is a recording already")
    if job.noise:
        raise TunerError(f"noise={job.noise}: a recording holds exact times")
    if len(prepared.space) > limit:
        raise TunerError(_too_large(prepared, limit))


def _too_large(prepared: Prepared, limit: int) -> str:
    backend = load_backend(prepared.problem)
    configs = len(prepared.space)
    rows = np.linspace(0, configs - 1, SAMPLES).astype(int).tolist()
    started = time.perf_counter()
    for row in rows:
        evaluate(backend, Candidate(row, prepared.space.config(row)))
    minutes = (time.perf_counter() - started) / SAMPLES * configs / 60
    return (
        f"{configs:,} configs are more than the limit of {limit:,}: one process would take about "
        f"{max(minutes, 1.0):,.0f} min; a higher limit records them all the same"
    )


def _command(prepared: Prepared, output: Path) -> str:
    job, workload = prepared.job, prepared.workload
    words = ["nki-tuner", "record", job.kernel, "--shape", workload.shape]
    words += ["--dtype", workload.dtype, "--device", job.device]
    said = {"policy", "cores_busy", "on_overflow"}
    others = {field.name for field in dataclasses.fields(Job)} - said
    return shlex.join([*words, *other_options(job, others), "-o", output.name])


def _remove(partial: Path) -> None:
    """Removes what `record` made there, and the folders where they are empty then."""
    local = partial / "local"
    for pattern in ("nki-tuner.sqlite3*", "record.lock", "database.lock"):
        for file in local.glob(pattern):
            file.unlink(missing_ok=True)
    for folder in (local, partial):
        try:
            folder.rmdir()
        except OSError:
            return


@dataclass
class _Run:
    """One run: hands out every config that is not known yet, and commits about once a second."""

    prepared: Prepared
    info: StudyInfo
    store: Store
    partial: Path
    report: Callable[[Progress], None]
    interrupted: threading.Event = field(default_factory=threading.Event)
    known: dict[int, Trial] = field(default_factory=dict)
    measured: int = 0
    started: float = 0.0

    def run(self) -> Recorded:
        study = self._study()
        self.started = time.monotonic()
        with interrupts(self._stop):
            executor = self._executor()
            try:
                self.started = time.monotonic()
                self._measure(study, executor)
            finally:
                executor.close()
        complete = len(self.known) == len(self.prepared.space)
        if complete:
            self.store.finish(study.id)
        return Recorded(
            recording=self._recording() if complete else None,
            configs=len(self.prepared.space),
            done=len(self.known),
            measured=self.measured,
            elapsed_s=time.monotonic() - self.started,
            partial=self.partial,
        )

    def _stop(self) -> None:
        self.interrupted.set()
        self._report()

    def _study(self) -> Study:
        """Returns the study to go on with, and learns its trials, or a new one."""
        space = self.prepared.space
        for study in self.store.studies():
            if (study.info.key, study.info.fingerprint) == (self.info.key, self.info.fingerprint):
                self.known = {space.row(t.config): t for t in self.store.trials(study.id)}
                return study
        return self.store.start(self.info)

    def _executor(self) -> Executor:
        job = self.prepared.job
        if job.ray == SERIAL:
            return SerialExecutor(self.prepared.problem)
        return RayExecutor(self.prepared.problem, job.workers, job.ray, *deadlines(job))

    def _measure(self, study: Study, executor: Executor) -> None:
        rows = iter([row for row in range(len(self.prepared.space)) if row not in self.known])
        outstanding = 0
        done: list[Measurement] = []
        committed = time.monotonic()
        while not self.interrupted.is_set():
            room = AHEAD * executor.capacity_ahead - outstanding
            outstanding += self._submit(rows, executor, room)
            if not outstanding:
                break
            came = executor.wait(POLL_S)
            outstanding -= len(came)
            done += came
            if done and time.monotonic() - committed >= COMMIT_S:
                self._keep(study, done)
                done, committed = [], time.monotonic()
        self._keep(study, done)

    def _submit(self, rows: Iterator[int], executor: Executor, count: int) -> int:
        space = self.prepared.space
        handed = list(islice(rows, max(count, 0)))
        for row in handed:
            executor.submit(Candidate(row, space.config(row)))
        return len(handed)

    def _keep(self, study: Study, done: Sequence[Measurement]) -> None:
        """Commits measurements; of the figures only the error, as a database of all is large."""
        space = self.prepared.space
        kept = [
            (space.config(m.number), dataclasses.replace(m, figures=_kept_figures(m))) for m in done
        ]
        for (config, _), trial in zip(kept, self.store.append(study.id, kept), strict=True):
            self.known[space.row(config)] = trial
        self.measured += len(done)
        if done:
            self._report()

    def _report(self) -> None:
        trials = list(self.known.values())
        best = best_trial(trials)
        default = self.known.get(self.prepared.space.default)
        failed = Counter(t.status.value for t in trials if t.status != Status.CORRECT)
        self.report(
            Progress(
                done=len(trials),
                trials=len(self.prepared.space),
                measured=self.measured,
                best_us=best.latency_us if best else None,
                default_us=default.latency_us if default else None,
                kind=self.info.kind,
                failures=dict(failed),
                elapsed_s=time.monotonic() - self.started,
                stopping=self.interrupted.is_set(),
                error_percent=best.figures.get("error_percent") if best else None,
            )
        )

    def _recording(self) -> Recording:
        info, trials = self.info, [self.known[row] for row in range(len(self.known))]
        variants = self.prepared.problem.variants
        costs_s = {
            "compile": np.array([trial.host_s.get("compile", 0.0) for trial in trials]),
            "bench": np.array([trial.host_s.get("measure", 0.0) for trial in trials]),
        }
        errors = np.array([trial.figures.get("error_percent", np.nan) for trial in trials], float)
        return Recording(
            name=f"{info.kernel}-{info.shape}-{info.dtype}-{info.device}",
            space=self.prepared.space,
            time_us=np.array([np.inf if t.latency_us is None else t.latency_us for t in trials]),
            spread_us=np.full(len(trials), np.nan),
            status=tuple(trial.status for trial in trials),
            kind=info.kind,
            device=info.device,
            kernel=info.kernel,
            cost_s=costs_s["compile"] + costs_s["bench"],
            meta={
                "problem_size": info.shape,
                "dtype": info.dtype,
                **({"variants": dict(variants)} if variants else {}),
                "source": f"nki-tuner {__version__}",
                "command": info.command,
                "default": info.default,
                "fingerprint": dict(info.fingerprint),
            },
            reasons=tuple(trial.reason for trial in trials),
            costs_s=costs_s,
            error_percent=None if np.isnan(errors).all() else errors,
        )


def _kept_figures(measurement: Measurement) -> dict[str, Any]:
    return {k: v for k, v in measurement.figures.items() if k == "error_percent"}
