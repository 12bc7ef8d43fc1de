"""Runs several jobs of a batch at the same time, each in a thread of its own, over one pool of
workers.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tuner.database import Store, Study, best_trial, database_path
from tuner.execution import Session
from tuner.job.batches.order import Order, began, seeds_from
from tuner.job.batches.outcome import BatchProgress, Done
from tuner.job.batches.planning import Planned
from tuner.job.interrupts import interrupts
from tuner.job.outcome import Progress
from tuner.job.resuming import changes, finished_study, has_study, job_key
from tuner.job.run import open_session
from tuner.job.settings import SERIAL
from tuner.job.tuning import run_job
from tuner.runtime.errors import TunerError

__all__ = ["Threads"]

POLL_S = 0.25


class Threads:
    """One run of a batch.

    This thread begins the jobs and takes Ctrl-C for all of them: the first one ends them cleanly,
    the second one leaves them as they are.

    Args:
        planned: The jobs.
        at_once: How many run at the same time.
        report: Called by all threads, one at a time.

    Attributes:
        interrupted: Whether it was stopped before its end.
    """

    def __init__(
        self, planned: Sequence[Planned], at_once: int, report: Callable[[BatchProgress], None]
    ) -> None:
        self.interrupted = False
        self.results = planned[0].job.results
        self._planned = planned
        self._at_once = at_once
        self._report = report
        self._order = Order([each.info.key for each in planned], at_once)
        self._identities = [job_key(each.info) for each in planned]
        self._stop = threading.Event()
        self._telling = threading.Lock()
        self._ended: queue.SimpleQueue[tuple[int, Done | None]] = queue.SimpleQueue()
        self._done: dict[int, Done] = {}
        self._running: dict[int, BatchProgress] = {}
        self._left: dict[int, int] = {}
        self._measured = 0
        self._since = self._begun = 0.0

    @property
    def done(self) -> tuple[Done, ...]:
        """The jobs that came to an end, in the order of the file."""
        return tuple(self._done[place] for place in sorted(self._done))

    def run(self) -> None:
        """Runs to the end or to Ctrl-C."""
        if not database_path(self.results).is_file():
            Store(self.results, create=True).close()  # else one thread reads what another makes
        studies = self._studies()
        self._since = began(studies, self._identities, time.time())
        of_workload: dict[tuple[str, ...], list[Study]] = {}
        for study in studies:
            of_workload.setdefault(study.info.key, []).append(study)
        for place, each in enumerate(self._planned):
            if finished_study(of_workload.get(each.info.key, ()), each.info) is None:
                self._left[place] = each.trials
        try:
            with _session([self._planned[place] for place in self._left]) as session:
                self._begun = time.monotonic()
                with interrupts(self._stop.set):
                    self._run(session)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            with self._telling:  # whoever still runs has nobody to tell
                self._report = lambda _: None
            self._stop.set()

    def _run(self, session: Session | None) -> None:
        told = False
        while self._running or not self._stop.is_set():
            while not self._stop.is_set() and (place := self._order.next()) is not None:
                self._begin(place, session)
            if not self._running:
                return
            if self._stop.is_set() and not told:
                told = True
                self._tell_stopping()
            try:
                self._end(*self._ended.get(timeout=POLL_S))
            except queue.Empty:
                continue

    def _begin(self, place: int, session: Session | None) -> None:
        """Begins a job unless it is finished."""
        planned, studies = self._planned[place], self._studies()
        state = BatchProgress(planned.number, len(self._planned), planned.name)
        study = finished_study(studies, planned.info)
        if study is not None:
            done = _done(self.results, planned, study.id, skipped=True)
            self._over(place, dataclasses.replace(state, done=done), done)
            return
        if has_study(studies, planned.info):
            state = dataclasses.replace(state, resumed=True)
        else:
            state = dataclasses.replace(state, changed=changes(studies, planned.info))
        with self._telling:
            self._running[place] = state
            self._left[place] = planned.trials
        self._tell(state)
        threading.Thread(
            target=self._job,
            args=(place, state, session),
            name=f"job {planned.number}",
            daemon=True,
        ).start()

    def _end(self, place: int, done: Done | None) -> None:
        """Takes what came of a job; None of one that was interrupted."""
        with self._telling:
            state = self._running.pop(place)
        if done is None:
            self.interrupted = True
            self._stop.set()
            return
        self._over(place, dataclasses.replace(state, tuning=None, done=done), done)

    def _over(self, place: int, state: BatchProgress, done: Done) -> None:
        with self._telling:
            self._left.pop(place, None)
            self._measured += done.measured
            self._done[place] = done
        self._order.end(place)
        self._tell(state)

    def _job(self, place: int, state: BatchProgress, session: Session | None) -> None:
        """Runs a job; this is its thread."""
        planned = self._planned[place]
        job = dataclasses.replace(planned.job, resume=state.resumed)

        def tell(tuning: Progress) -> None:
            self._tell(dataclasses.replace(state, tuning=tuning), place)

        try:
            outcome = run_job(
                job,
                tell,
                session,
                stop=self._stop,
                seeds_from=seeds_from(self._identities, place, self._at_once, self._since),
            )
            done = None
            if not outcome.interrupted:
                done = _done(self.results, planned, outcome.study, measured=outcome.measured)
        except KeyboardInterrupt:
            done = None
        except BaseException as error:  # whatever ends a job does not end the batch
            name = "" if isinstance(error, TunerError) else f"{type(error).__name__}: "
            done = Done(planned.name, failed=" ".join(f"{name}{error}".split()))
        self._ended.put((place, done))

    def _tell(self, state: BatchProgress, place: int | None = None) -> None:
        """Reports; of a job that goes on its place is given, and what it says is kept."""
        with self._telling:
            if place is not None:
                if place not in self._running:
                    return
                self._running[place] = state
            self._report(dataclasses.replace(state, left_s=self._left_s()))

    def _tell_stopping(self) -> None:
        with self._telling:
            running = list(self._running.values())
        for state in running:
            if state.tuning is not None:
                stopping = dataclasses.replace(state.tuning, stopping=True)
                self._tell(dataclasses.replace(state, tuning=stopping))

    def _left_s(self) -> float | None:
        """Estimates the seconds to the end; None before anything was measured."""
        running = [state.tuning for state in self._running.values() if state.tuning is not None]
        measured = self._measured + sum(tuning.measured for tuning in running)
        if not measured:
            return None
        left = sum(self._left.values()) - sum(tuning.done for tuning in running)
        return max(left, 0) * (time.monotonic() - self._begun) / measured

    def _studies(self) -> list[Study]:
        with Store(self.results) as store:
            return store.studies()


def _done(
    results: str, planned: Planned, study: int, skipped: bool = False, measured: int = 0
) -> Done:
    with Store(results) as store:
        trials = store.trials(study)
        stored = next(each for each in store.studies() if each.id == study)
    default = next((t for t in trials if t.config == stored.info.default), None)
    best = best_trial(trials)
    failed = "" if best else "no config ran"
    return Done(planned.name, stored, default, best, failed, skipped, measured)


@contextmanager
def _session(planned: Sequence[Planned]) -> Iterator[Session | None]:
    """Starts Ray once for all jobs; None where they run in this process, or there is none."""
    if not planned or planned[0].job.ray == SERIAL:
        yield None
        return
    resources: dict[str, float] = {}
    for each in planned:
        for name, count in each.resources.items():
            resources[name] = max(count, resources.get(name, 0.0))
    stop = threading.Event()
    with interrupts(stop.set):  # Ray does not survive an exception while it starts
        session = open_session(planned[0].job, resources)
    try:
        if stop.is_set():
            raise KeyboardInterrupt
        yield session
    finally:
        session.close()
