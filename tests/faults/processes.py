"""The processes of one job, seen from outside, and how to kill them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Command", "Process", "Seen", "running", "shot_at", "tree_of"]

MARK = "NKI_TUNER_FAULTS"
CODE = "from tuner.cli import main; main()"
NO_WORKERS = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
LOOK_S = 0.2
CHILD, GUARD, ACTOR = "child killed", "guard killed", "actor killed"
WEIGHTS = {CHILD: 3, GUARD: 1, ACTOR: 1}
"""Chances: a child is what starts at once."""


@dataclass(frozen=True)
class Process:
    """A process; its start tells it from another that has its number later."""

    pid: int
    started: int
    parent: int = field(compare=False)
    title: str = field(compare=False)


def running() -> dict[int, Process]:
    """Every process that has not ended, by number."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            title = (path / "cmdline").read_text().replace("\0", " ").strip()
            if stat[0] not in "ZX":
                pid = int(path.name)
                found[pid] = Process(pid, int(stat[19]), int(stat[1]), title)
    return found


def tree_of(pid: int, every: dict[int, Process]) -> list[Process]:
    """What a process has started, and what that has started, and so on."""
    children: dict[int, list[Process]] = {}
    for process in every.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child.pid)
    return found


def _carries(process: Process, mark: str) -> bool:
    with contextlib.suppress(OSError):
        return mark.encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    return False


class Seen:
    """Remembers every process that descends from this one, or carries a mark, until it is gone."""

    def __init__(self, mark: str) -> None:
        self._mark, self._all = mark, set[Process]()

    def look(self, pid: int) -> None:
        """Learns what a process has started by now."""
        self._all.update(tree_of(pid, running()))

    def left(self) -> list[Process]:
        """Those that have not ended."""
        every = running()
        known = {process for process in self._all if every.get(process.pid) == process}
        self._all = known
        return sorted(known | {p for p in every.values() if _carries(p, self._mark)}, key=repr)

    def left_after(self, within_s: float) -> list[Process]:
        """Those that have not ended after so many seconds."""
        until = time.monotonic() + within_s
        while (left := self.left()) and time.monotonic() < until:
            time.sleep(LOOK_S)
        return left


class Command:
    """The command line as a user calls it, with a mark and a scratch folder of its own.

    Args:
        words: What follows `nki-tuner`.
        folder: Where its output goes.
        scratch: Its TMPDIR.
    """

    def __init__(self, words: Sequence[str], folder: Path, scratch: Path) -> None:
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.seen = Seen(f"{MARK}={mark}")
        # Ray's processes write their title over their environment unless told not to.
        self._environment = {
            **os.environ,
            MARK: mark,
            "SPT_NOENV": "1",
            "TMPDIR": str(scratch),
            "PYTHONPATH": os.getcwd(),
        }
        self._words, self._folder, self._runs = list(words), folder, 0
        self._driver: subprocess.Popen[bytes] | None = None

    @property
    def driver(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._driver is not None
        return self._driver

    def start(self, *more: str) -> None:
        """Starts it, with further words."""
        self._runs += 1
        with (self._folder / f"out-{self._runs}").open("wb") as out:
            self._driver = subprocess.Popen(
                [sys.executable, "-c", CODE, *self._words, *more],
                env=self._environment,
                cwd=self._folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, timeout_s: float) -> int:
        """Waits for its end; returns its exit code."""
        return self.driver.wait(timeout_s)

    def kill(self) -> None:
        """Kills the driver alone."""
        self.seen.look(self.driver.pid)
        self.driver.kill()
        self.driver.wait()

    def said(self) -> str:
        """What the last run printed."""
        return (self._folder / f"out-{self._runs}").read_text()

    def end(self) -> None:
        """Kills whatever is left of it."""
        if self._driver is not None and self._driver.poll() is None:
            self.kill()
        for process in self.seen.left():
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)

    def victims(self) -> dict[str, list[Process]]:
        """The processes that evaluate candidates, by what they are."""
        every = running()
        tree = tree_of(self.driver.pid, every)
        actors = [
            each
            for each in tree
            if each.title.startswith("ray::") and not each.title.startswith(NO_WORKERS)
        ]
        guards = [each for each in tree if each.parent in {actor.pid for actor in actors}]
        children = [each for each in tree if each.parent in {guard.pid for guard in guards}]
        return {CHILD: children, GUARD: guards, ACTOR: actors}


@contextlib.contextmanager
def shot_at(
    command: Command, every_s: float, at_least: int, counts: Counter[str], chance: random.Random
) -> Iterator[None]:
    """Kills a process that evaluates candidates about so often, whichever run is on.

    It waits until so many of them are up: on a slow machine a worker takes longer to start than it
    is left alone, and nothing would ever be done.
    """
    over = threading.Event()

    def shoot() -> None:
        due = time.monotonic() + every_s
        while not over.wait(LOOK_S):
            if command.driver.poll() is None:
                command.seen.look(command.driver.pid)
            if time.monotonic() < due:
                continue
            victims = command.victims()
            if len(victims[CHILD]) < at_least:
                continue
            (kind,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            victim = chance.choice(victims[kind])
            due = time.monotonic() + chance.uniform(0.5, 1.5) * every_s
            if running().get(victim.pid) == victim:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGKILL)
                    counts[kind] += 1

    thread = threading.Thread(target=shoot, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
