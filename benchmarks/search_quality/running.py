"""Runs every method on every recording and seed, in processes of one thread, and keeps what it
finished.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt

import tuner
from benchmarks.search_quality import outside, own
from benchmarks.search_quality.methods import Method
from benchmarks.search_quality.recordings import aligned, read
from tuner.search import Search

__all__ = ["Task", "Trace", "check", "run", "run_all"]

HERE = Path(__file__).resolve().parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SEARCH = [Path(tuner.__file__).parent / package for package in ("search", "space")]


@dataclass(frozen=True)
class Task:
    """One run of a method: which recording, seed and budget, and whose times are the prior."""

    method: Method
    path: Path
    seed: int
    budget: int
    prior: Path | None = None


@dataclass(frozen=True)
class Trace:
    """What a run did.

    Attributes:
        rows: Configs in the order of their evaluation, none twice.
        search_s: Seconds the method took for them.
        memory_mb: Most memory its process ever held.
    """

    rows: list[int]
    search_s: float
    memory_mb: float

    @property
    def ask_ms(self) -> float:
        """Milliseconds of search for each evaluation."""
        return self.search_s * 1000 / len(self.rows)


def check(method: Method, path: Path) -> None:
    """Finds a name that does not exist before anything runs.

    Raises:
        TunerError: There is no such sampler or function.
    """
    if method.family == "own":
        Search(read(path).space, method.name)
    elif method.family == "file":
        outside.function_of(method.name)


def run(task: Task) -> Trace:
    """Runs one task in this process."""
    recording = read(task.path)
    if task.method.family == "own":
        prior = _prior(task)
        rows, search_s = own.run(task.method, recording, task.seed, task.budget, prior)
    else:
        rows, search_s = outside.run(task.method, recording, task.seed, task.budget)
    return Trace(rows, search_s, _memory_mb())


def _memory_mb() -> float:
    """Most memory this process ever held; what getrusage says includes its parent's."""
    (line,) = re.findall(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return int(line) / 1024


def _prior(task: Task) -> npt.NDArray[np.float64] | None:
    recording = read(task.path)
    if task.method.prior == "useless":
        return np.random.default_rng(task.seed).permutation(recording.time_us)
    return None if task.prior is None else aligned(read(task.prior), recording)


def run_all(tasks: Iterable[Task], jobs: int, folder: Path | None = None) -> dict[Task, Trace]:
    """Returns the trace of every task; with a folder, what it holds is not run again.

    Each method has processes of its own, so that its memory is its own.
    """
    by_method: dict[str, list[Task]] = {}
    for task in tasks:
        by_method.setdefault(task.method.text, []).append(task)
    traces: dict[Task, Trace] = {}
    for name, wanted in by_method.items():
        begun = time.perf_counter()
        kept = {task: _load(folder, task) for task in wanted}
        found = {task: trace for task, trace in kept.items() if trace is not None}
        missing = [task for task in wanted if task not in found]
        for task, trace in _computed(missing, jobs):
            found[task] = trace
            _save(folder, task, trace)
            if sys.stderr.isatty():
                print(f"\r{name}: {len(found)}/{len(wanted)} runs", end="", file=sys.stderr)
        taken_s = time.perf_counter() - begun
        ended = "\r" if sys.stderr.isatty() else ""
        print(f"{ended}{name}: {len(missing)} runs in {taken_s:.0f} s", end="", file=sys.stderr)
        print(f", {len(wanted) - len(missing)} kept ones", file=sys.stderr, flush=True)
        traces |= found
    return traces


def _computed(tasks: list[Task], jobs: int) -> Iterator[tuple[Task, Trace]]:
    if not tasks:
        return
    os.environ |= dict.fromkeys(THREADS, "1")  # read when a new process loads its numpy
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context) as pool:
        futures = {pool.submit(run, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _file(folder: Path, task: Task) -> Path:
    slug = re.sub(r"[^\w@+.=-]+", "_", task.method.text)[-80:]
    name = f"{task.path.stem}-{task.seed}-{task.budget}-{_key(task)}.json"
    return folder / slug / name


def _key(task: Task) -> str:
    """Changes with everything that the run depends on."""
    digest = hashlib.sha256(task.method.text.encode())
    for recording in [task.path, *([task.prior] if task.prior else [])]:
        digest.update(read(recording).content_hash.encode())
    for source in _sources(task.method):
        digest.update(_digest(source))
    for package in ("optuna", "kernel_tuner", "numpy", "scipy"):
        digest.update(_version(package).encode())
    return digest.hexdigest()[:12]


@cache
def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _sources(method: Method) -> list[Path]:
    if method.family == "own":
        return [HERE / "own.py", *(p for s in SEARCH for p in sorted(s.rglob("*.py")))]
    mine = [HERE / "outside.py", HERE / "objective.py"]
    return [*mine, Path(method.name.rpartition(":")[0])] if method.family == "file" else mine


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _load(folder: Path | None, task: Task) -> Trace | None:
    if folder is None or not (path := _file(folder, task)).is_file():
        return None
    return Trace(**json.loads(path.read_text()))


def _save(folder: Path | None, task: Task, trace: Trace) -> None:
    if folder is None:
        return
    path = _file(folder, task)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(asdict(trace)))
    partial.replace(path)
