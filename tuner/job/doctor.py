"""Looks at what works on this machine: simulator, database, Ray, isolation, Neuron."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuner.backends import Candidate, Status, evaluate, load_backend
from tuner.backends.neuron.doctor import (
    BROKEN,
    NOTE,
    OK,
    Finding,
    neuron_findings,
    usable_timings,
)
from tuner.backends.neuron.probe import probe
from tuner.database import database_path
from tuner.execution import LOCAL, Session
from tuner.job.preparing import prepare
from tuner.job.settings import Job
from tuner.process import run
from tuner.process.memory import machine_bytes
from tuner.process.trees import has_ended

__all__ = ["Diagnosis", "diagnose"]

MACHINE, ISOLATION = "this machine", "isolation"
GIB, MIB = 1 << 30, 1 << 20
KERNEL, SHAPE = "matmul", "M=128,K=128,N=128"
CHECK_S = 30.0
"""Within which a check of isolation must have its answer."""
GONE_S = 5.0
"""Within which what a child has left must be gone."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        simulator: Whether kernels can be simulated here.
        timings: The ways of the neuron backend to time kernels that can be used, the best first.
    """

    findings: tuple[Finding, ...]
    simulator: bool
    timings: tuple[str, ...]


def diagnose(
    nki_python: str | None = None,
    nrtpy_python: str | None = None,
    beta1_python: str | None = None,
    results: str = "results",
    ray: bool = False,
) -> Diagnosis:
    """Looks at what works here; leaves nothing behind.

    Args:
        nki_python: As the setting of a job.
        nrtpy_python: The same.
        beta1_python: The same.
        results: Results folder, which need not exist.
        ray: Start Ray, which takes seconds.
    """
    simulated = _checked("simulator", "a kernel", _simulate)
    findings = [
        *_machine(),
        _checked(MACHINE, "results folder", lambda: _database(results)),
        simulated,
        _compiled_code(),
        _ray(ray),
        _checked(ISOLATION, "deadlines", _deadline),
        _checked(ISOLATION, "memory limits", _memory_limit),
        _checked(ISOLATION, "orphans", _orphans),
    ]
    probed = probe(nki_python, nrtpy_python, beta1_python)
    findings += neuron_findings(probed)
    return Diagnosis(tuple(findings), simulated.state == OK, tuple(usable_timings(probed)))


def _checked(topic: str, name: str, look: Callable[[], str]) -> Finding:
    """Runs a check: what it returns is fine, what it raises is told."""
    try:
        return Finding(topic, name, OK, look())
    except Exception as error:
        told = " ".join(str(error).split()) or type(error).__name__
        return Finding(topic, name, BROKEN, told)


def _machine() -> Iterator[Finding]:
    names = ("nki-tuner", "optuna", "numpy", "numba", "scipy", "ml_dtypes")
    versions = ", ".join(f"{name} {_version(name) or 'not installed'}" for name in names)
    told = f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    yield Finding(MACHINE, "Python", OK, told)
    yield Finding(MACHINE, "packages", OK, versions)
    cores, memory = len(os.sched_getaffinity(0)), machine_bytes() / GIB
    yield Finding(MACHINE, "size", OK, f"{cores} CPU cores, {memory:.1f} GiB of memory")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # as this package, run from its files
        return ""


def _simulate() -> str:
    prepared = prepare(Job(KERNEL, SHAPE))
    config = prepared.info.default
    started = time.monotonic()
    backend = load_backend(prepared.problem)
    checked = prepared.verification_arguments(config)
    found = evaluate(backend, Candidate(0, config, verify_with=checked))
    if found.status is not Status.CORRECT or found.latency_us is None:
        raise RuntimeError(f"{KERNEL} {SHAPE}: {found.status}: {found.reason}")
    took = time.monotonic() - started
    return (
        f"{prepared.workload} on {prepared.info.device}: {found.latency_us:.1f} us (simulated), "
        f"numbers right, in {took:.1f} s"
    )


def _compiled_code() -> Finding:
    from tuner.neuroncore.compiled import _cache_folder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = _cache_folder()
    if folder is not None:
        return Finding("simulator", "compiled code", OK, f"kept in {folder}")
    told = "no private folder to keep it in: every process compiles anew"
    mend = "make ~/.cache writable for you alone, or name a folder in XDG_CACHE_HOME"
    return Finding("simulator", "compiled code", NOTE, told, mend)


def _database(results: str) -> str:
    """Writes a database where the one of the results folder would be, and removes it."""
    path = database_path(results)
    there = next(folder for folder in path.absolute().parents if folder.is_dir())
    with (
        tempfile.TemporaryDirectory(prefix=".nki-tuner-", dir=there) as folder,
        contextlib.closing(sqlite3.connect(Path(folder) / "doctor.sqlite3")) as base,
    ):
        (mode,) = base.execute("PRAGMA journal_mode=WAL").fetchone()
        base.execute("CREATE TABLE t (x)")
        base.commit()
    if mode != "wal":
        raise RuntimeError(f"{there}: SQLite keeps no write-ahead log there (a network drive?)")
    free = shutil.disk_usage(there).free / GIB
    return f"{path} can be written, {free:.1f} GiB free"


def _ray(start: bool) -> Finding:
    version = _version("ray")
    if not version:
        return Finding("Ray", "installed", BROKEN, "not installed: pip install ray")
    if not start:
        return Finding("Ray", "installed", OK, f"{version} (--ray starts it)")
    return _checked("Ray", "starts", lambda: f"{version} {_ray_started()}")


def _ray_started() -> str:
    import ray

    started = time.monotonic()
    session = Session(LOCAL, 1)
    try:
        answer = ray.get(ray.remote(lambda: 6 * 7).remote(), timeout=CHECK_S)
    finally:
        session.close()
    if answer != 42:
        raise RuntimeError(f"a task returned {answer!r}")
    return f"ran a task, in {time.monotonic() - started:.1f} s"


def _deadline() -> str:
    """Lets a program with a child of its own run over its deadline."""
    with tempfile.TemporaryDirectory(prefix="nki-tuner-") as folder:
        command = ["/bin/sh", "-c", "sleep 600 & echo $!; sleep 600"]
        ended = run(command, deadline_s=0.5, folder=Path(folder))
    if ended.ended != "timeout":
        raise RuntimeError(f"a program over its deadline: {ended.ended} {ended.stderr.strip()}")
    if not has_ended(int(ended.stdout), GONE_S):
        raise RuntimeError("a program over its deadline was ended, its child was not")
    return f"a program and its child were ended after {ended.elapsed_s:.1f} s of 0.5 s"


def _memory_limit() -> str:
    code = "import time\nfilled = b'x' * (96 << 20)\ntime.sleep(600)"
    with tempfile.TemporaryDirectory(prefix="nki-tuner-") as folder:
        command = [sys.executable, "-I", "-S", "-c", code]
        limit = 64 * MIB
        ended = run(command, deadline_s=CHECK_S, folder=Path(folder), memory_bytes=limit)
    if ended.ended != "memory" and "MemoryError" not in ended.stderr:
        raise RuntimeError(f"96 MiB with a limit of 64: {ended.ended} {ended.stderr.strip()}")
    return "a program above its limit was ended"


def _orphans() -> str:
    """Kills a process that runs a program, and waits for the program to end too."""
    package = str(Path(__file__).resolve().parents[2])
    code = (
        f"import sys; sys.path.insert(0, {package!r})\nfrom pathlib import Path\n"
        "from tuner.process import run\n"
        "run(['/bin/sh', '-c', 'echo $$ >pid.new; mv pid.new pid; sleep 600'], deadline_s=600, "
        "folder=Path.cwd())"
    )
    with tempfile.TemporaryDirectory(prefix="nki-tuner-") as folder:
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL) as driver:
            try:
                pid = int(_appears(Path(folder) / "pid"))
            finally:
                driver.kill()
        killed = time.monotonic()
        if not has_ended(pid, GONE_S):
            os.kill(pid, signal.SIGKILL)
            raise RuntimeError("a program outlived the process that ran it")
    return f"a program ended {time.monotonic() - killed:.1f} s after the process that ran it"


def _appears(path: Path) -> str:
    until = time.monotonic() + CHECK_S
    while not path.exists():
        if time.monotonic() > until:
            raise RuntimeError(f"a program did not start within {CHECK_S:g} s")
        time.sleep(0.01)
    return path.read_text()
