"""Replays a recording: a tuning job whose times were all taken before."""

from __future__ import annotations

import dataclasses
import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tuner.backends import REPLAY, Problem, make_backend
from tuner.backends.recording import Recording, read_recording
from tuner.database import Store, StudyInfo, Trial
from tuner.job.outcome import Outcome, Progress
from tuner.job.preparing import Prepared, noise_options, repeat_settings
from tuner.job.settings import SERIAL, Job, other_options
from tuner.job.tuning import tune
from tuner.kernel import KernelSource
from tuner.runtime.errors import TunerError
from tuner.space import Workload

__all__ = ["Replay", "prepare_replay", "replay"]

_STATED = {"kernel", "trials", "ray", "workers"}
_NO_MATTER = {"shape", "dtype", "device", "backend", "policy", "cores_busy", "on_overflow"}
_UNSAID = _STATED | _NO_MATTER | {"verify", "results", "resume"}
"""Fields of a job that the command of a replay has in its own way, or not."""


@dataclass(frozen=True)
class Replay:
    """What a replayed job found, beside what there was to find.

    Attributes:
        trials: In the order in which they came back.
        cost_s: Seconds that these trials took when they were recorded; 0 where that is not known.
    """

    outcome: Outcome
    recording: Recording
    trials: tuple[Trial, ...]
    cost_s: float

    def best_after(self, trials: int) -> Trial | None:
        """Returns the fastest of the first so many trials; None where all of them failed."""
        timed = [t for t in self.trials[:trials] if t.latency_us is not None]
        return min(timed, key=lambda t: t.latency_us or 0.0, default=None)

    def fraction_after(self, trials: int) -> float:
        """Returns the recording's optimum over the best time of the first so many trials; 0 where
        all of them failed.
        """
        best = self.best_after(trials)
        return self.recorded_us(best) and self.recording.optimum_us / self.recorded_us(best)

    def recorded_us(self, trial: Trial | None) -> float:
        """Returns the recorded time of a trial's config, without added noise; 0 for no trial."""
        if trial is None:
            return 0.0
        return float(self.recording.time_us[self.recording.space.row(trial.config)])

    @property
    def improvements(self) -> list[tuple[int, Trial]]:
        """The trials that were faster than all before, with their place from 1."""
        found: list[tuple[int, Trial]] = []
        for place, trial in enumerate(self.trials, 1):
            time_us = trial.latency_us
            if time_us is not None and (not found or time_us < (found[-1][1].latency_us or 0.0)):
                found.append((place, trial))
        return found


def replay(
    file: str | os.PathLike[str],
    *,
    results: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Replay:
    """Runs a tuning job on a recording: what `nki-tuner replay` does.

    Args:
        file: The recording: `.npz`, or Kernel Tuner's T4 results or cache file.
        results: Folder of the database; by default a temporary one, as nothing is measured.
        progress: Called whenever trials come back.
        **settings: Other attributes of `Job`, e.g. `sampler`, `trials`, `seed`; without `ray` it
            runs in this process.

    Raises:
        TunerError: The file is no recording, or anything in the job is wrong.
    """
    settings = {"ray": SERIAL, **settings, "backend": REPLAY, "progress": progress}
    if results is not None:
        return _replayed(file, tune(os.fspath(file), {}, results=os.fspath(results), **settings))
    if settings.get("resume"):
        raise TunerError("a replay without a results folder leaves nothing to resume")
    with tempfile.TemporaryDirectory(prefix="nki-tuner-") as folder:
        return _replayed(file, tune(os.fspath(file), {}, results=folder, **settings))


def _replayed(file: str | os.PathLike[str], outcome: Outcome) -> Replay:
    recording = read_recording(file)
    with Store(outcome.database.parent.parent) as store:
        trials = tuple(store.trials(outcome.study))
    rows = [recording.space.row(trial.config) for trial in trials]
    return Replay(outcome, recording, trials, float(recording.cost_s[rows].sum()))


def prepare_replay(job: Job) -> Prepared:
    """Looks up what a job on a recording needs: the recording.

    Raises:
        TunerError: The file is no recording, or the job has sizes.
    """
    if job.shape:
        raise TunerError(f"{job.kernel}: a recording has no sizes to choose, leave out the shape")
    job = dataclasses.replace(job, verify="none")
    recording = read_recording(job.kernel)
    problem = Problem(
        kernel=KernelSource(job.kernel, recording.kernel, ()),
        arguments=(),
        device=recording.device or "unknown",
        backend=REPLAY,
        variants=recording.variants,
        options={"recording": recording, **noise_options(job)},
    )
    backend = make_backend(problem)
    workload = Workload(recording.name, (), "")
    info = StudyInfo(
        kernel=recording.name,
        sizes={},
        dtype="",
        device=problem.device,
        backend=REPLAY,
        kind=recording.kind,
        fingerprint=backend.fingerprint(),
        rules={},
        default=recording.space.config(recording.space.default),
        settings={"seed": job.seed, "sampler": job.sampler} | repeat_settings(job, backend),
        command=_command(job),
        roofline_us=0.0,
    )
    return Prepared(job, None, workload, recording.space, problem, info)


def _command(job: Job) -> str:
    words = ["nki-tuner", "replay", job.kernel, "--trials", str(job.trials)]
    if job.ray != SERIAL:
        words += ["--workers", str(job.workers)]
    return shlex.join([*words, *other_options(job, _UNSAID)])
