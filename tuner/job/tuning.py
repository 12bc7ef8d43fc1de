"""Tunes a kernel for one workload: what a job names is looked up and locked, then it runs."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tuner.backends import REPLAY
from tuner.database import Store, Study, database_path, locked
from tuner.execution import Session
from tuner.job.outcome import Outcome, Progress
from tuner.job.preparing import Prepared, prepare
from tuner.job.prior import Prior, find_prior
from tuner.job.run import ONE_READS, Run
from tuner.job.settings import Job
from tuner.job.sharing import SHARED, opened
from tuner.runtime.errors import TunerError, unknown

__all__ = ["look_up", "run_job", "tune"]


def tune(
    kernel: str,
    shape: str | Mapping[str, int | str],
    *,
    progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Outcome:
    """Runs a tuning job: what `nki-tuner tune` does.

    Args:
        kernel: Name of a bundled search space, or the path of a search space file.
        shape: Sizes by dim, or their text, e.g. "M=1024,K=4096,N=4096".
        progress: Called whenever trials come back.
        **settings: The other attributes of `Job`.

    Returns:
        What was found; all of it is in the database of the results folder too.

    Raises:
        TunerError: Anything in the job is wrong, or nothing to resume, or the job is running
            already.
    """
    names = [f.name for f in dataclasses.fields(Job)]
    for name in settings:
        if name not in names:
            raise unknown("setting of a job:", name, names)
    return run_job(Job(kernel, shape, **settings), progress)


def run_job(
    job: Job,
    progress: Callable[[Progress], None] | None = None,
    session: Session | None = None,
    *,
    stop: threading.Event | None = None,
    seeds_from: Callable[[Study], bool] = lambda _: True,
) -> Outcome:
    """Runs a tuning job as `tune` does.

    Args:
        job: The job.
        progress: Called whenever trials come back.
        session: Ray and its workers, where several jobs share them.
        stop: Ends it as Ctrl-C does, where that goes to another thread.
        seeds_from: Says from which studies a warm start may take configs.
    """
    with ONE_READS:
        prepared, prior = look_up(job)
    if job.resume and not database_path(job.results).is_file():
        raise TunerError(f"nothing to resume: there is no {database_path(job.results)}")
    name = "-".join(prepared.info.key)
    with (
        locked(job.results, name),
        Store(job.results, create=True, durable=job.backend != REPLAY) as store,
        opened(prepared) as shared,
    ):
        report, interrupted = progress or (lambda _: None), stop or threading.Event()
        return Run(prepared, store, report, prior, session, shared, seeds_from, interrupted).run()


def look_up(job: Job) -> tuple[Prepared, Prior | None]:
    """Looks up everything that a job names, and its prior.

    Raises:
        TunerError: A name, size or file in it is wrong.
    """
    prepared = prepare(job)
    info = prepared.info
    prior = find_prior(prepared.job.prior, prepared.problem, info.kind, prepared.space)
    added = {**(prior.settings if prior else {}), **({SHARED: True} if job.storage else {})}
    info = dataclasses.replace(info, settings={**info.settings, **added})
    return dataclasses.replace(prepared, info=info), prior
