"""Runs jobs as `nki-tuner tune` does, and says what they cost."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.scaling import sleeping
from benchmarks.scaling.figures import Busy, Sleep, busy, slope
from tuner.backends import Candidate
from tuner.database import Store
from tuner.execution import LOCAL, RayExecutor, Session
from tuner.job import Job, Progress
from tuner.job import run as running
from tuner.job.tuning import look_up, run_job
from tuner.runtime.errors import TunerError

__all__ = ["Cost", "Crew", "Real", "Sleeping", "available_mb", "crew", "real"]

KERNEL, SHAPE = "matmul", "M=256,K=512,N=1024"
"""17,028 valid configs: more than any run here tries."""
START_S = 600.0
TICKS_S = 1 / os.sysconf("SC_CLK_TCK")


def available_mb() -> float:
    """Returns the memory that new processes can have on this machine."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    (kb,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(kb) / 1024


@dataclass
class _Watch:
    """What a job has cost when so many of its trials were finished."""

    began_s: float = field(default_factory=time.monotonic)
    driver: list[tuple[int, float]] = field(default_factory=list)
    wall: list[tuple[int, float]] = field(default_factory=list)
    others: list[tuple[int, float]] = field(default_factory=list)
    own_s: float = 0.0

    def __call__(self, progress: Progress) -> None:
        """Notes the state of a job; what the noting itself costs is left out."""
        done, now_s = progress.measured, time.process_time()
        self.driver.append((done, now_s - self.own_s))
        self.wall.append((done, time.monotonic()))
        if not self.others or done - self.others[-1][0] >= progress.trials // 20:
            self.others.append((done, _cpu_of_descendants_s()))
        self.own_s += time.process_time() - now_s


@dataclass(frozen=True)
class Cost:
    """CPU seconds of a trial when `trials` were finished: of the driver with all its threads, and
    of all processes below it.
    """

    trials: int
    driver_s: float
    others_s: float


@dataclass(frozen=True)
class Sleeping:
    """A job whose trials sleep.

    Attributes:
        start_s: Of Ray and until every worker had answered; what follows is not in it.
        seen: Processes that answered.
        heavy: Heavy modules that were found in them.
        worker_mb: Memory that went, over workers.
    """

    workers: int
    seconds: float
    sampler: str
    trials: int
    start_s: float
    busy: Busy
    cost: Cost
    seen: int
    heavy: tuple[str, ...]
    worker_mb: float


@dataclass(frozen=True)
class Real:
    """A job of simulated kernels: trials a second once it runs, and what they cost."""

    workers: int
    trials: int
    start_s: float
    per_s: float
    cost: Cost


class _Singly(RayExecutor):
    """Hands out one candidate at a time, as backends do whose trials take seconds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._batch = 1


@dataclass(frozen=True)
class Crew:
    """Workers that are up, and whose trials sleep.

    Attributes:
        seconds: What a trial sleeps.
        start_s: What it took until every worker had answered.
        worker_mb: Memory that went, over workers.
    """

    workers: int
    seconds: float
    start_s: float
    worker_mb: float
    _folder: str
    _session: Session
    _executor: Callable[..., RayExecutor]

    def run(self, trials: int, sampler: str = "random", at: int | None = None) -> Sleeping:
        """Runs a job: its sampler, Ray, isolated children and durable database are those of any.

        Args:
            trials: How many.
            sampler: Its name.
            at: Finished trials at which the cost is taken; None for half of them.
        """
        watch = _Watch()
        with patch.object(running, "RayExecutor", self._executor):
            job = _job(self._folder, self.workers, trials, sampler)
            outcome = run_job(job, watch, self._session)
        with Store(self._folder) as store:
            found = [trial.figures for trial in store.trials(outcome.study)]
        sleeps = [Sleep(each["began_s"], each["ended_s"]) for each in found]
        return Sleeping(
            workers=self.workers,
            seconds=self.seconds,
            sampler=sampler,
            trials=trials,
            start_s=self.start_s,
            busy=busy(sleeps, self.workers, self.seconds),
            cost=_cost(watch, at or trials // 2),
            seen=len({each["pid"] for each in found}),
            heavy=tuple(sorted({name for each in found for name in each["heavy"]})),
            worker_mb=self.worker_mb,
        )


@contextmanager
def crew(workers: int, seconds: float) -> Iterator[Crew]:
    """Starts Ray and workers, and ends them.

    Raises:
        TunerError: They do not start.
    """
    before_mb, began_s = available_mb(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nki-tuner-scaling-") as folder:
        executor = partial(_Singly, service=_service(Path(folder), seconds))
        session = Session(LOCAL, workers)
        try:
            problem = look_up(_job(folder, workers, 1, "random"))[0].problem
            _warm_up(executor(problem, session=session), workers)
            start_s, gone_mb = time.monotonic() - began_s, before_mb - available_mb()
            worker_mb = max(gone_mb, 0.0) / workers
            yield Crew(workers, seconds, start_s, worker_mb, folder, session, executor)
        finally:
            session.close()


def real(trials: int, workers: int = 2) -> Real:
    """Runs a job of a bundled kernel on the simulator."""
    with tempfile.TemporaryDirectory(prefix="nki-tuner-scaling-") as folder:
        watch = _Watch()
        run_job(_job(folder, workers, trials, "random"), watch)
    return Real(
        workers=workers,
        trials=trials,
        start_s=watch.wall[0][1] - watch.began_s,
        per_s=1 / _over(watch.wall, trials // 10),
        cost=_cost(watch, trials // 2),
    )


def _service(folder: Path, seconds: float) -> str:
    """Writes the service that sleeps so long, and returns its path."""
    text = Path(sleeping.__file__).read_text(encoding="utf-8")
    path = folder / "sleeping.py"
    path.write_text(text.replace("SECONDS = 1.0", f"SECONDS = {seconds!r}"), encoding="utf-8")
    return str(path)


def _job(folder: str, workers: int, trials: int, sampler: str) -> Job:
    return Job(
        KERNEL,
        SHAPE,
        trials=trials,
        workers=workers,
        sampler=sampler,
        verify="none",
        warm_start=False,
        prior="none",
        results=folder,
        timeout_s=600.0,
    )


def _warm_up(executor: RayExecutor, workers: int) -> None:
    """Keeps the workers busy until each of them has answered.

    Raises:
        TunerError: Some do not.
    """
    seen: set[int] = set()
    number = flying = 0
    until = time.monotonic() + START_S
    try:
        while flying or len(seen) < workers:
            while len(seen) < workers and flying < executor.capacity:
                executor.submit(Candidate(number, {}))
                number, flying = number + 1, flying + 1
            answers = executor.wait(1.0)
            flying -= len(answers)
            seen.update(answer.figures["pid"] for answer in answers)
            if time.monotonic() > until:
                raise TunerError(f"{len(seen)} of {workers} workers started within {START_S:g} s")
    finally:
        executor.close()


def _cost(watch: _Watch, at: int) -> Cost:
    return Cost(at, slope(watch.driver, at), _over(watch.others, watch.others[-1][0] // 4))


def _over(marks: list[tuple[int, float]], after: int) -> float:
    """Returns the slope of marks from so many trials on."""
    kept = [mark for mark in marks if mark[0] >= after]
    (first, before), (last, end) = kept[0], kept[-1]
    return (end - before) / (last - first) if last > first else float("nan")


def _cpu_of_descendants_s() -> float:
    """Returns the CPU seconds of all processes below this one that live."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        try:
            fields = (path / "stat").read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.name))
        used[int(path.name)] = (int(fields[11]) + int(fields[12])) * TICKS_S
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        below = parents.get(waiting.pop(), [])
        total += sum(used[pid] for pid in below)
        waiting += below
    return total
