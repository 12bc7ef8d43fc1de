"""Runs a job: asks, hands out, stores, tells, in that order."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.backends import REPLAY, Candidate, Measurement, Status
from tuner.database import Store, Study, Trial, best_trial, database_path, locked
from tuner.execution import Executor, RayExecutor, SerialExecutor
from tuner.job.interrupts import interrupts
from tuner.job.outcome import Outcome, Progress
from tuner.job.settings import SERIAL, Job, Prepared, prepare
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.rules import Config
from tuner.search import Search

__all__ = ["tune"]

POLL_S = 0.25


def tune(
    kernel: str,
    shape: str | Mapping[str, int],
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
    prepared = prepare(Job(kernel, shape, **settings))
    if prepared.job.resume and not database_path(prepared.job.results).is_file():
        raise TunerError(f"nothing to resume: there is no {database_path(prepared.job.results)}")
    name = "-".join(part.replace("/", "_") for part in prepared.info.key)
    with (
        locked(prepared.job.results, name),
        Store(prepared.job.results, create=True, durable=prepared.job.backend != REPLAY) as store,
    ):
        return _Run(prepared, store, progress or (lambda _: None)).run()


@dataclass
class _Run:
    """One run of a job: asks, hands out, stores, tells, in that order."""

    prepared: Prepared
    store: Store
    report: Callable[[Progress], None]
    interrupted: threading.Event = field(default_factory=threading.Event)
    known: dict[str, Trial] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    unverified: str = ""
    measured: int = 0
    ask_s: float = 0.0
    started: float = 0.0
    stopped: float = 0.0

    def run(self) -> Outcome:
        """Runs to the end or the first Ctrl-C; KeyboardInterrupt if workers still start then."""
        job = self.prepared.job
        study = self._resumed() if job.resume else None
        self.started = time.monotonic()
        with interrupts(self._stop):  # Ray does not survive an exception while it starts
            executor = self._executor()
            try:
                if self.interrupted.is_set():
                    raise KeyboardInterrupt
                self.started = time.monotonic()
                study = study or self.store.start(self.prepared.info)
                if self.known:
                    self._report()
                self._search(study, executor)
                self.stopped = time.monotonic()
                if job.verify != "none":
                    self._verify_best(study, executor)
            finally:
                executor.close()
        if not self.interrupted.is_set():
            self.store.finish(study.id)
        return self._outcome(study)

    def _stop(self) -> None:
        self.interrupted.set()
        self._report()

    def _executor(self) -> Executor:
        job = self.prepared.job
        if job.ray == SERIAL:
            return SerialExecutor(self.prepared.problem)
        return RayExecutor(self.prepared.problem, job.workers, job.ray, job.timeout_s)

    def _resumed(self) -> Study:
        """Returns the study to go on with, and learns its trials."""
        info = self.prepared.info
        mine = [study for study in self.store.studies() if study.info.key == info.key]
        if not mine:
            there = f"{self.prepared.workload} on {info.device}"
            raise TunerError(f"nothing to resume: {self.store.path} has no study of {there}")
        now = {**info.fingerprint, **info.settings}
        then = [{**study.info.fingerprint, **study.info.settings} for study in mine]
        if now not in then:
            old = then[-1]
            names = [name for name in {**old, **now} if old.get(name) != now.get(name)]
            told = ", ".join(f"{name} was {old.get(name)}, is {now.get(name)}" for name in names)
            raise TunerError(
                f"cannot resume study {mine[-1].id}: {told}; start a new one without --resume"
            )
        study = next(s for s, found in zip(mine[::-1], then[::-1], strict=True) if found == now)
        self.store.restate(study.id, info.command)
        self.known = {_key(trial.config): trial for trial in self.store.trials(study.id)}
        self.failures.update(
            t.status.value for t in self.known.values() if t.status != Status.CORRECT
        )
        return study

    def _search(self, study: Study, executor: Executor) -> None:
        """Asks, hands out and tells until the trials are used up.

        Optuna is told in the order of asking, and only when the window of asked trials is full: so
        each proposal depends on the results before it, not on when they arrived, and a run can be
        repeated.
        """
        job = self.prepared.job
        search = Search(self.prepared.space, job.sampler, job.seed)
        untold: deque[int] = deque()
        configs: dict[int, Config] = {}
        times: dict[int, float | None] = {}
        left = job.trials - len(self.known)
        while not self.interrupted.is_set():
            if left > 0 and len(untold) < executor.capacity and not search.exhausted:
                asking = time.perf_counter()
                number, config = search.ask()
                self.ask_s += time.perf_counter() - asking
                untold.append(number)
                configs[number] = config
                trial = self.known.get(_key(config))
                if trial is not None:
                    times[number] = _told(trial)
                else:
                    left -= 1
                    executor.submit(self._candidate(number, config, search.best_us))
            elif untold and untold[0] in times:
                number = untold.popleft()
                search.tell(number, times.pop(number))
            elif untold:
                done = [(configs[m.number], m) for m in executor.wait(POLL_S)]
                self._keep(study, done)
                times.update({m.number: _told(m) for _, m in done})
            else:
                break

    def _candidate(self, number: int, config: Config, best_us: float | None) -> Candidate:
        if self.prepared.job.verify != "all":
            return Candidate(number, config, limit_us=best_us)
        check = self.prepared.verification_arguments(config)
        return Candidate(number, config, check, limit_us=best_us)

    def _keep(self, study: Study, done: Sequence[tuple[Config, Measurement]]) -> None:
        """Commits measurements; only then does anybody learn of them."""
        if not done:
            return
        for trial in self.store.append(study.id, done):
            self.known[_key(trial.config)] = trial
        self.measured += len(done)
        self.failures.update(m.status.value for _, m in done if m.status != Status.CORRECT)
        self._report()

    def _verify_best(self, study: Study, executor: Executor) -> None:
        """Checks the fastest config; one that is wrong loses its time, and the next is checked.

        Where the check itself fails, the times stay and the best config stays unverified.
        """
        while not self.interrupted.is_set():
            best = best_trial(list(self.known.values()))
            if best is None or best.verified:
                return
            config = best.config
            check = self.prepared.verification_arguments(config)
            executor.submit(Candidate(0, config, check, timed=False))
            answers: list[Measurement] = []
            while not answers:
                if self.interrupted.is_set():
                    return
                answers = executor.wait(POLL_S)
            checked = answers[0]
            right = checked.status == Status.CORRECT
            if not right and checked.status != Status.CORRECTNESS:
                self.unverified = f"{checked.status}: {checked.reason}"
                return
            kept = dataclasses.replace(checked, latency_us=best.latency_us if right else None)
            for trial in self.store.append(study.id, [(config, kept)]):
                self.known[_key(trial.config)] = trial
            if not right:
                self.failures[checked.status.value] += 1
                self._report()

    def _report(self) -> None:
        best = best_trial(list(self.known.values()))
        default = self.known.get(_key(self.prepared.info.default))
        self.report(
            Progress(
                done=len(self.known),
                trials=min(self.prepared.job.trials, len(self.prepared.space)),
                measured=self.measured,
                best_us=best.latency_us if best else None,
                default_us=default.latency_us if default else None,
                kind=self.prepared.info.kind,
                failures=dict(self.failures),
                elapsed_s=time.monotonic() - self.started,
                stopping=self.interrupted.is_set(),
                error_percent=best.figures.get("error_percent") if best else None,
            )
        )

    def _outcome(self, study: Study) -> Outcome:
        prepared = self.prepared
        return Outcome(
            study=study.id,
            workload=prepared.workload,
            device=prepared.info.device,
            kind=prepared.info.kind,
            default=self.known.get(_key(prepared.info.default)),
            best=best_trial(list(self.known.values())),
            trials=len(self.known),
            valid_configs=len(prepared.space),
            failures=dict(self.failures),
            roofline_us=prepared.info.roofline_us,
            measured=self.measured,
            elapsed_s=(self.stopped or time.monotonic()) - self.started,
            interrupted=self.interrupted.is_set(),
            unverified=self.unverified,
            space_file=prepared.space_file,
            kernel_file=Path(prepared.problem.kernel.file),
            database=database_path(prepared.job.results),
            ask_s=self.ask_s,
        )


def _told(result: Trial | Measurement) -> float | None:
    """What the search learns: the time, or what it is at least where it was not worth timing."""
    return result.latency_us if result.latency_us is not None else result.figures.get("bound_us")


def _key(config: Config) -> str:
    return json.dumps(config, sort_keys=True)
