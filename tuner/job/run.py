"""Runs a job: asks, hands out, stores, tells, in that order."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuner.backends import (
    Candidate,
    Measurement,
    Problem,
    Repeats,
    Status,
    make_backend,
)
from tuner.database import ASKED, Store, Study, Trial, database_path
from tuner.execution import Executor, RayExecutor, SerialExecutor, Session
from tuner.job.finals import finalists, outcomes, remeasure
from tuner.job.interrupts import interrupts
from tuner.job.neuron import deadlines
from tuner.job.outcome import Outcome, Progress
from tuner.job.preparing import Prepared
from tuner.job.prior import MAX_SIMULATED, Prior
from tuner.job.resuming import DRIVER, find_study
from tuner.job.searching import Searching
from tuner.job.settings import SERIAL, Job
from tuner.job.shared_search import SharedSearching
from tuner.job.sharing import new_driver, sharing
from tuner.job.stopping import Stopping, doubt, exhausting_s
from tuner.job.trials import Trials
from tuner.job.warm_start import Seed, nearby, seeds_of, settings_of
from tuner.runtime.rules import Config
from tuner.search import EXHAUSTIVE, GUIDED, Search
from tuner.search.shared import SharedStudy

__all__ = ["ONE_READS", "Run", "open_session"]

POLL_S = 0.25

ONE_READS = threading.Lock()
"""Jobs may run in threads, but CPython's `ast.parse` (seen with 3.11) fails in two at a time."""

SEARCHED = "search"
"""Among a trial's host seconds: those of search, of all runs of the study, when it came back."""


def open_session(job: Job, resources: Mapping[str, float]) -> Session:
    """Starts or finds Ray for a job."""
    memory_bytes = None if job.memory_gb is None else int(job.memory_gb * 2**30)
    return Session(job.ray, job.workers, memory_bytes, resources)


@dataclass
class Run:
    """One run of a job: asks, hands out, stores, tells, in that order."""

    prepared: Prepared
    store: Store
    report: Callable[[Progress], None]
    prior: Prior | None = None
    session: Session | None = None
    shared: SharedStudy | None = None
    seeds_from: Callable[[Study], bool] = lambda _: True
    interrupted: threading.Event = field(default_factory=threading.Event)
    known: Trials = field(default_factory=Trials)
    study: Study = field(init=False)
    seeds: Sequence[Seed] = ()
    unverified: str = ""
    measured: int = 0
    spent_s: float = 0.0
    started: float = 0.0
    stopped: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        job = self.prepared.job
        self.stopping = Stopping(job.trials, job.max_s, job.target_us, job.patience)
        everything = self.stopping.tries_everything(len(self.prepared.space))
        self.sampler = EXHAUSTIVE if everything else job.sampler

    def run(self) -> Outcome:
        """Runs to the end or the first Ctrl-C; KeyboardInterrupt if workers still start then."""
        study = self._resume() if self.prepared.job.resume else None
        if study is None and self.prepared.job.warm_start:
            info, space = self.prepared.info, self.prepared.space
            self.seeds = nearby(self.store, info, space, takes=self.seeds_from)
        self.started = time.monotonic()
        with interrupts(self._stop):  # Ray does not survive an exception while it starts
            shared, self.session = self.session, self.session or self._open_session()
            executor: Executor | None = None
            try:
                self._compute_prior()
                executor = self._executor(self.prepared.problem)
                if self.interrupted.is_set():
                    self._report()
                    raise KeyboardInterrupt
                self.started = time.monotonic()
                self.study = study or self._start()
                if self.known:
                    self._report()
                search = self._search(executor)
                if self.interrupted.is_set():
                    self._report()
                self.stopped = time.monotonic()
                self._settle_best(executor)
            finally:
                if executor is not None:
                    executor.close()
                if self.session is not None and self.session is not shared:
                    self.session.close()
        if not self.interrupted.is_set():
            self.store.finish(self.study.id)
        return self._outcome(search)

    def _stop(self) -> None:
        self.interrupted.set()  # and no more: this happens amid whatever else is written

    def _compute_prior(self) -> None:
        prepared, prior = self.prepared, self.prior
        if prior is None or prior.times is not None or self.sampler not in GUIDED:
            return
        self.note = f"prior: simulating {min(len(prepared.space), MAX_SIMULATED):,} configs"
        self._report()
        self.prior = prior.simulated(
            prepared.space, prepared.problem, prepared.job.seed, self._executor, self.interrupted
        )
        self.note = ""

    def _executor(self, problem: Problem) -> Executor:
        job = self.prepared.job
        if job.ray == SERIAL:
            with ONE_READS:
                return SerialExecutor(problem)
        timeout_s, compile_timeout_s = deadlines(job)
        return RayExecutor(
            problem,
            timeout_s=timeout_s,
            compile_timeout_s=compile_timeout_s,
            session=self.session,
            stopped=self.interrupted.is_set,
        )

    def _open_session(self) -> Session | None:
        if self.prepared.job.ray == SERIAL:
            return None
        resources = make_backend(self.prepared.problem).capabilities().available
        return open_session(self.prepared.job, resources)

    def _start(self) -> Study:
        info = self.prepared.info
        settings = {**info.settings, **settings_of(self.seeds)}
        if self.shared is not None:
            settings[DRIVER] = new_driver()
        return self.store.start(dataclasses.replace(info, settings=settings))

    def _resume(self) -> Study:
        """Returns the study to go on with, and learns its trials and its seeds."""
        study = find_study(self.store, self.prepared.info)
        self.seeds = seeds_of(study.info.settings)
        trials = self.store.trials(study.id)
        self.known.learn(trials)
        self.spent_s = max((t.host_s.get(SEARCHED, 0.0) for t in trials), default=0.0)
        self.stopping.begun = len(trials)
        return study

    def _search(self, executor: Executor) -> Search:
        seed = self.prepared.job.seed
        if self.shared is not None:  # drivers with one seed would propose the same
            seed = self.shared.join(str(self.study.info.settings[DRIVER]), seed)
        search = Search(
            self.prepared.space,
            self.sampler,
            seed,
            seeds=[seed.config for seed in self.seeds],
            prior=None if self.prior is None else self.prior.times,
        )
        if self.shared is None:
            Searching(search, self.stopping, executor, self, self.interrupted).run()
        else:
            SharedSearching(
                search, self.stopping, executor, self, self.interrupted, self.shared
            ).run()
        return search

    def elapsed_s(self) -> float:
        """Seconds of search so far, with those of earlier runs."""
        return self.spent_s + time.monotonic() - self.started

    def trial(self, config: Config) -> Trial | None:
        """Returns a finished trial."""
        return self.known.of(config)

    def candidate(self, number: int, config: Config, best_us: float | None) -> Candidate:
        """Returns what to measure of a config, given the best time so far."""
        repeats, limit_us = None, best_us
        if self.prepared.noisy:
            incumbent_us = self.known.interval(best_us)
            repeats = Repeats(self.prepared.job.repeats, incumbent_us=incumbent_us)
            limit_us = incumbent_us[1] if incumbent_us else best_us
        verify = self.prepared.job.verify == "all"
        check = self.prepared.verification_arguments(config) if verify else None
        return Candidate(number, config, check, limit_us=limit_us, repeats=repeats)

    def check(self, number: int, trial: Trial) -> Candidate | None:
        """Returns what to check of a trial before it counts as correct; None if nothing."""
        if trial.verified or self.prepared.job.verify == "none":
            return None
        tensors = self.prepared.verification_arguments(trial.config)
        return Candidate(number, trial.config, tensors, timed=False)

    def keep(self, done: Sequence[tuple[Config, Measurement]]) -> None:
        """Commits measurements; only then does anybody learn of them."""
        if not done:
            return
        host_s = {SEARCHED: self.elapsed_s()}
        done = [
            (
                config,
                dataclasses.replace(
                    m, host_s={**m.host_s, **host_s}, figures={**m.figures, ASKED: m.number}
                ),
            )
            for config, m in done
        ]
        self.known.learn(self.store.append(self.study.id, done))
        self.measured += len(done)
        self._report()

    def finished(self) -> Sequence[Trial]:
        """Returns all finished trials."""
        return list(self.known)

    def learn(self, done: Sequence[tuple[Config, Measurement]]) -> None:
        """Commits what other drivers measured."""
        if not done:
            return
        spent = [{n: s for n, s in m.host_s.items() if n != SEARCHED} for _, m in done]
        done = [
            (c, dataclasses.replace(m, host_s=host_s))
            for (c, m), host_s in zip(done, spent, strict=True)
        ]
        self.known.learn(self.store.append(self.study.id, done))
        self._report()

    def say(self, note: str) -> None:
        """Tells what the job is waiting for."""
        self.note = note
        self._report()
        self.note = ""

    def _remeasure(self, executor: Executor) -> None:
        """Times the fastest configs anew, in turns, where times vary."""
        job, stopped = self.prepared.job, self.interrupted.is_set
        count = job.remeasure if self.prepared.noisy else 0
        while not stopped() and (trials := finalists(self.known, count)):
            configs = [trial.config for trial in trials]
            found = remeasure(executor, configs, seed=job.seed, first=job.repeats, stopped=stopped)
            if found is None:
                return
            self.known.learn(self.store.append(self.study.id, outcomes(trials, found)))
            self._report()

    def keep_check(self, trial: Trial, checked: Measurement) -> Trial:
        """Commits what the check of a trial found, and returns the trial: a wrong one loses its
        time. Where the check itself fails, the trial stays as it is, unverified.
        """
        right = checked.status == Status.CORRECT
        if not right and checked.status != Status.CORRECTNESS:
            self.unverified = f"{checked.status}: {checked.reason}"
            return trial
        kept = dataclasses.replace(checked, latency_us=trial.latency_us if right else None)
        (trial,) = self.store.append(self.study.id, [(trial.config, kept)])
        self.known.learn([trial])
        if not right:
            self._report()
        return trial

    def _settle_best(self, executor: Executor) -> None:
        """Times the fastest configs anew where times vary and checks the fastest; one that is wrong
        loses its time, and it is the turn of the next.
        """
        while not self.interrupted.is_set():
            self._remeasure(executor)
            best = self.known.best
            check = None if best is None else self.check(0, best)
            if best is None or check is None:
                return
            executor.submit(check)
            answers: list[Measurement] = []
            while not answers:
                if self.interrupted.is_set():
                    return
                answers = executor.wait(POLL_S)
            if self.keep_check(best, answers[0]) is best:
                return

    def _report(self) -> None:
        best = self.known.best
        default = self.known.of(self.prepared.info.default)
        self.report(
            Progress(
                done=len(self.known),
                trials=min(self.prepared.job.trials, len(self.prepared.space)),
                measured=self.measured,
                best_us=best.latency_us if best else None,
                default_us=default.latency_us if default else None,
                kind=self.prepared.info.kind,
                failures=dict(self.known.failures),
                elapsed_s=time.monotonic() - self.started,
                stopping=self.interrupted.is_set(),
                error_percent=best.figures.get("error_percent") if best else None,
                note=self.note,
            )
        )

    def _outcome(self, search: Search) -> Outcome:
        prepared, stopping = self.prepared, self.stopping
        rule = "interrupted" if self.interrupted.is_set() else stopping.rule or "exhausted"
        drawn = stopping.told - 1 - len(self.seeds)
        untried = len(prepared.space) - len(self.known)
        chance, sentence = doubt(search, self.sampler, drawn, untried, rule)
        elapsed_s = (self.stopped or time.monotonic()) - self.started
        return Outcome(
            study=self.study.id,
            workload=prepared.workload,
            device=prepared.info.device,
            kind=prepared.info.kind,
            default=self.known.of(prepared.info.default),
            best=self.known.best,
            trials=len(self.known),
            valid_configs=len(prepared.space),
            failures=dict(self.known.failures),
            roofline_us=prepared.info.roofline_us,
            measured=self.measured,
            elapsed_s=elapsed_s,
            interrupted=self.interrupted.is_set(),
            unverified=self.unverified,
            space_file=prepared.space_file,
            kernel_file=Path(prepared.problem.kernel.file),
            database=database_path(prepared.job.results),
            stopped_by=rule,
            sampler=self.sampler,
            chance_of_better=chance,
            doubt=sentence,
            seeds=tuple(self.seeds),
            prior=self.prior.told(self.sampler) if self.prior is not None else "",
            shared=sharing(self.shared, prepared.info, self.finished()) if self.shared else "",
            exhausting_s=exhausting_s(
                len(prepared.space),
                prepared.job.trials,
                measured=self.measured,
                elapsed_s=elapsed_s,
                asked=stopping.asked,
                ask_s=search.ask_s,
            ),
            ask_s=search.ask_s,
        )
