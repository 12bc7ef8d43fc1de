"""Drivers of one study, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.backends.small_kernel import SHAPE
from tests.job.jobs import keys
from tuner.database import Store, Trial
from tuner.job.shared_search import FROM
from tuner.runtime.errors import TunerError

_COMMAND = """\
from tuner.search import heartbeat, storage
heartbeat.BEAT_S, heartbeat.MISSED, storage.LOST_AFTER_S = {beat_s}, {missed}, 20
from tuner.cli import main
main()
"""
PATIENCE_S = 120


@dataclass
class DriverProcess:
    """One driver: a command that runs, and its results folder."""

    process: subprocess.Popen[str]
    results: Path

    def trials(self) -> list[Trial]:
        """The trials in its database so far."""
        try:
            with Store(self.results) as store:
                return store.trials(1) if store.studies() else []
        except TunerError:
            return []

    def own(self) -> list[str]:
        """The configs that it has measured itself."""
        return keys([trial for trial in self.trials() if FROM not in trial.figures])

    def ended(self) -> str:
        """Waits for its end; returns what it printed, with runs of blanks as one."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, err
        return " ".join(out.split())

    def kill(self) -> None:
        """Kills it as a loss of power would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@contextmanager
def driver(
    space: Path,
    url: str,
    results: Path,
    *options: str,
    trials: int,
    beat_s: float = 5.0,
    missed: int = 6,
) -> Iterator[DriverProcess]:
    """Runs a driver of the small kernel; it does not outlive the block."""
    words = ["tune", str(space), "--shape", SHAPE, "--trials", str(trials), "--ray", "serial"]
    words += ["--sampler", "random", "--storage", url, "--results", str(results), *options]
    command = _COMMAND.format(beat_s=beat_s, missed=missed)
    process = subprocess.Popen(
        [sys.executable, "-c", command, *words],
        cwd=results.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield DriverProcess(process, results)
    finally:
        process.kill()
        process.communicate()


def until(holds: Callable[[], bool]) -> None:
    """Waits for something."""
    late = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < late
        time.sleep(0.05)
