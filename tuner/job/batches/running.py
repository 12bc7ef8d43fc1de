"""Runs a batch: checks every job first, then goes through them, and leaves out what is finished."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuner.database import Exported, export
from tuner.job.batches.outcome import Batch, BatchProgress, Done
from tuner.job.batches.planning import plan
from tuner.job.batches.reading import read_jobs
from tuner.job.batches.threads import Threads
from tuner.job.settings import option_words
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
    """Runs the tuning jobs of a file, some at the same time: what `nki-tuner batch` does.

    Run again it goes on: jobs that are finished are left out, those that were interrupted are
    resumed, and one whose kernel, search space, device or simulator changed since is done anew.

    Args:
        path: The file of jobs, or the bare name of one that comes with the package: "jobs".
        export: A table to write at the end, with the best config of every job.
        progress: Called when a job is checked, begins, goes on and ends; by several threads, one at
            a time.
        **overrides: What goes before the file's: the options of `Job` device, trials, timeout_s,
            results, ray, workers, memory_gb, and at_once, the number of jobs that run at the same time.

    Returns:
        What came of every job. One that fails does not end the batch, Ctrl-C does.

    Raises:
        TunerError: Anything in the file is wrong; no job has begun then.
    """
    file, target = Path(path), None if export is None else Path(export)
    jobs = read_jobs(Path(file_or_shipped(str(file), "jobs", ".toml")), overrides)
    if target is not None and not target.parent.is_dir():
        raise TunerError(f"{target}: there is no folder {target.parent}")
    if target is not None and target.is_dir():
        raise TunerError(f"{target}: is a folder, expected a file for the table")
    report = progress or (lambda _: None)
    run = Threads(plan(jobs.listed, report), jobs.at_once, report)
    run.run()
    written = None
    if target is not None and not run.interrupted:
        command = _command(file, overrides, target)
        written = _export(run.results, run.done, target, command)
    devices = tuple(dict.fromkeys(each.job.device for each in jobs.listed))
    return Batch(run.done, len(jobs.listed), devices, run.results, run.interrupted, written)


def _export(results: str, done: tuple[Done, ...], target: Path, command: str) -> Exported | None:
    studies = [each.study.id for each in done if each.study is not None and each.best]
    return export(results, target, study=studies, command=command) if studies else None


def _command(path: Path, overrides: Mapping[str, Any], target: Path) -> str:
    """The command that makes the table anew."""
    words = ["nki-tuner", "batch", str(path), *option_words(overrides)]
    return shlex.join([*words, "--export", str(target)])
