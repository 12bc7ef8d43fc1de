"""Tuning jobs: a study for one workload on one device by one backend, from space to record."""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.backends import Candidate, Measurement, Problem, Status, make_backend
from tuner.database import (
    Store,
    Study,
    StudyInfo,
    Trial,
    best_trial,
    database_path,
    locked,
    table_kernel,
)
from tuner.execution import LOCAL, Executor, RayExecutor, SerialExecutor
from tuner.kernel import read_kernel
from tuner.neuroncore import device
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.rules import DTYPE_BYTES, Config
from tuner.search import SAMPLERS, Search
from tuner.space import Argument, Definition, SearchSpace, Workload, find, parse_sizes

__all__ = ["SERIAL", "VERIFY", "Job", "Outcome", "Progress", "prepare", "tune"]

SERIAL = "serial"
VERIFY = ("none", "best", "all")
POLL_S = 0.25


@dataclass(frozen=True)
class Job:
    """A tuning job as asked for.

    Attributes:
        kernel: Name of a bundled search space, or the path of a search space file.
        shape: Sizes by dim, or their text, e.g. "M=1024,K=4096,N=4096".
        dtype: The workload's dtype; None takes the first of the search space.
        trials: Configs to try, the default config among them.
        seed: Same seed, settings and workers: same trials.
        workers: Ray workers.
        ray: "local", the address of a running cluster, or "serial" for this process alone.
        policy: The simulator's compiler policy.
        verify: Which configs are checked against the reference: "none", "best" or "all".
        results: Folder of the database.
        resume: Go on with the newest study of this workload.
        timeout_s: Wall-clock seconds that one config may take.
    """

    kernel: str
    shape: str | Mapping[str, int]
    dtype: str | None = None
    device: str = "trn2"
    trials: int = 100
    seed: int = 0
    sampler: str = "tpe"
    workers: int = 2
    ray: str = LOCAL
    backend: str = "simulator"
    policy: str = "nki"
    verify: str = "best"
    results: str = "results"
    resume: bool = False
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("seed", 0), ("workers", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise TunerError(f"{name}={value!r}: expected a whole number from {least}")
        if self.timeout_s <= 0:
            raise TunerError(f"timeout_s={self.timeout_s!r}: expected a number above 0")
        if self.verify not in VERIFY:
            raise unknown("choice of verify", self.verify, VERIFY)
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)


@dataclass(frozen=True)
class Prepared:
    """A job with everything looked up that it names."""

    job: Job
    definition: Definition
    workload: Workload
    space: SearchSpace
    problem: Problem
    info: StudyInfo

    def verification_arguments(self, config: Config) -> tuple[Argument, ...]:
        """Returns the tensors on which a config is checked."""
        small = self.definition.verification_workload(self.workload, config)
        return self.definition.arguments(small)


@dataclass(frozen=True)
class Progress:
    """How far a job is; handed to the caller whenever trials come back."""

    done: int
    trials: int
    measured: int
    best_us: float | None
    default_us: float | None
    kind: str
    failures: Mapping[str, int]
    elapsed_s: float

    @property
    def per_s(self) -> float:
        """Trials measured a second by this run."""
        return self.measured / self.elapsed_s if self.elapsed_s > 0 else 0.0


@dataclass(frozen=True)
class Outcome:
    """What a job found.

    Attributes:
        kind: "simulated" or "measured": what its times are.
        default: The default config's trial; None if it did not come back.
        best: The fastest correct trial; None if there is none.
        failures: Number of trials by status, other than correct.
        measured: Trials that this run measured; the others came from the database.
        elapsed_s: Wall-clock seconds of this run's search.
        interrupted: Whether it was stopped before its end.
    """

    study: int
    workload: Workload
    device: str
    kind: str
    default: Trial | None
    best: Trial | None
    trials: int
    valid_configs: int
    failures: Mapping[str, int]
    roofline_us: float
    measured: int
    elapsed_s: float
    interrupted: bool
    space_file: Path
    kernel_file: Path
    database: Path

    @property
    def speedup(self) -> float | None:
        """How many times faster the best config is than the default."""
        times = (self.default and self.default.latency_us, self.best and self.best.latency_us)
        return times[0] / times[1] if times[0] and times[1] else None

    @property
    def roofline_share(self) -> float | None:
        """Roofline time over the best config's time."""
        return (
            self.roofline_us / self.best.latency_us if self.best and self.best.latency_us else None
        )


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
    name = "-".join(part.replace("/", "_") for part in prepared.info.key)
    with (
        locked(prepared.job.results, name),
        Store(prepared.job.results, create=True) as store,
        _interrupts() as interrupted,
    ):
        return _Run(prepared, store, progress or (lambda _: None), interrupted).run()


def prepare(job: Job) -> Prepared:
    """Looks up everything that a job names.

    Raises:
        TunerError: A name, size or file in it is wrong.
    """
    definition = find(job.kernel)
    sizes = parse_sizes(job.shape) if isinstance(job.shape, str) else job.shape
    workload = definition.workload(sizes, job.dtype)
    core = device(job.device)
    space = SearchSpace(definition.rules, definition.scope(workload, core.facts()))
    problem = Problem(
        kernel=read_kernel(definition.kernel_file, definition.entry),
        arguments=definition.arguments(workload),
        device=job.device,
        backend=job.backend,
        reference=definition.reference,
        options={"policy": job.policy},
    )
    backend = make_backend(problem)
    flops = float(definition.flops.evaluate(dict(workload.sizes)))
    moved = definition.bytes_moved_at_least(workload)
    info = StudyInfo(
        kernel=definition.name,
        sizes=dict(workload.sizes),
        dtype=workload.dtype,
        device=job.device,
        backend=job.backend,
        kind=backend.capabilities().kind,
        fingerprint={**backend.fingerprint(), "space_hash": definition.space_hash},
        rules={"kernel": table_kernel(definition), "device": core.facts()},
        default=space.config(space.default),
        settings={"seed": job.seed, "sampler": job.sampler, "workers": job.workers, "ray": job.ray},
        command=_command(job, workload),
        roofline_us=core.roofline_us(flops, moved, DTYPE_BYTES[workload.dtype]),
    )
    return Prepared(job, definition, workload, space, problem, info)


def _command(job: Job, workload: Workload) -> str:
    words = [f"nki-tuner tune {job.kernel} --shape {workload.shape} --dtype {workload.dtype}"]
    words.append(f"--device {job.device} --trials {job.trials}")
    for field_ in dataclasses.fields(Job):
        value = getattr(job, field_.name)
        option = field_.name.replace("_", "-")
        stated = ("kernel", "shape", "dtype", "device", "trials", "resume")
        if field_.name not in stated and value != field_.default:
            words.append(f"--{option} {value}")
    return " ".join(words)


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C into a flag; the second one interrupts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def once(*_: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, once)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class _Run:
    """One run of a job: asks, hands out, stores, tells, in that order."""

    prepared: Prepared
    store: Store
    report: Callable[[Progress], None]
    interrupted: threading.Event
    known: dict[str, Trial] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    measured: int = 0
    started: float = 0.0
    stopped: float = 0.0

    def run(self) -> Outcome:
        job = self.prepared.job
        study = self._study()
        self.known = {_key(trial.config): trial for trial in self.store.trials(study.id)}
        self.failures.update(
            t.status.value for t in self.known.values() if t.status != Status.CORRECT
        )
        executor: Executor
        if job.ray == SERIAL:
            executor = SerialExecutor(self.prepared.problem)
        else:
            executor = RayExecutor(self.prepared.problem, job.workers, job.ray, job.timeout_s)
        self.started = time.monotonic()
        try:
            self._search(study, executor)
            self.stopped = time.monotonic()
            if job.verify == "best" and not self.interrupted.is_set():
                self._verify_best(study, executor)
        finally:
            executor.close()
        if not self.interrupted.is_set():
            self.store.finish(study.id)
        return self._outcome(study)

    def _study(self) -> Study:
        info = self.prepared.info
        mine = [study for study in self.store.studies() if study.info.key == info.key]
        if not self.prepared.job.resume:
            return self.store.start(info)
        if not mine:
            there = f"{self.prepared.workload} on {info.device}"
            raise TunerError(f"nothing to resume: {self.store.path} has no study of {there}")
        then, now = mine[-1].info.fingerprint, dict(info.fingerprint)
        changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
        if changed:
            raise TunerError(
                f"cannot resume study {mine[-1].id}: {', '.join(changed)} changed since; "
                "start a new one without --resume"
            )
        return mine[-1]

    def _search(self, study: Study, executor: Executor) -> None:
        """Keeps the executor full; tells Optuna in the order of asking, so that a run can be
        repeated.
        """
        job = self.prepared.job
        search = Search(self.prepared.space, job.sampler, job.seed)
        untold: deque[int] = deque()
        configs: dict[int, Config] = {}
        times: dict[int, float | None] = {}
        asked = 0
        while not self.interrupted.is_set():
            while asked < job.trials and len(untold) < executor.capacity and not search.exhausted:
                number, config = search.ask()
                asked += 1
                untold.append(number)
                configs[number] = config
                trial = self.known.get(_key(config))
                if trial is not None:
                    times[number] = trial.latency_us
                else:
                    executor.submit(self._candidate(number, config))
            while untold and untold[0] in times:
                search.tell(untold[0], times.pop(untold[0]))
                untold.popleft()
            if len(untold) < executor.capacity and asked < job.trials and not search.exhausted:
                continue
            if not untold:
                break
            done = [(configs[m.number], m) for m in executor.wait(POLL_S)]
            self._keep(study, done)
            times.update({m.number: m.latency_us for _, m in done})

    def _candidate(self, number: int, config: Config) -> Candidate:
        if self.prepared.job.verify != "all":
            return Candidate(number, config)
        return Candidate(number, config, self.prepared.verification_arguments(config))

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
        """Checks the fastest config; one that is wrong loses its time, and the next is checked."""
        while (best := best_trial(list(self.known.values()))) is not None and not best.verified:
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
            space_file=prepared.definition.path,
            kernel_file=prepared.definition.kernel_file,
            database=database_path(prepared.job.results),
        )


def _key(config: Config) -> str:
    return json.dumps(config, sort_keys=True)
