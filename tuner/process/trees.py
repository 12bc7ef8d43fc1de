"""Trees of processes, as /proc shows them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

__all__ = [
    "adopt_orphans",
    "descendants",
    "die_with_parent",
    "end_descendants",
    "end_marked",
    "has_ended",
    "marked",
    "memory_of",
]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
END_S = 5.0
LOOK_S = 0.02


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Has this process killed when the thread that started it ends; ends it where that happened.

    Args:
        parent: Process id of the parent.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def descendants(pid: int) -> list[int]:
    """Returns the ids of all processes below one; those that end meanwhile may be missing."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            found.append(child)
            waiting.append(child)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    except OSError:  # it has ended
        pass
    return children


def memory_of(pids: list[int]) -> int:
    """Returns the resident bytes of processes together; pages that they share count again."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):  # it has ended
            continue
    return total


def end_descendants() -> None:
    """Kills and reaps everything below this process."""
    until = time.monotonic() + END_S
    while time.monotonic() < until:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
        time.sleep(0.002)


def has_ended(pid: int, within_s: float) -> bool:
    """Waits for a process to end, so many seconds at most; one that nobody reaps has ended."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(LOOK_S)
    return False


def marked(mark: str) -> list[int]:
    """Returns the processes that were started with a variable, NAME=VALUE, and have not ended.

    A copy of a process has its variables; who starts a program may have taken them away.
    """
    wanted, found = mark.encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def end_marked(mark: str, grace_s: float = 0.0) -> None:
    """Kills what carries a mark and has not ended within so many seconds."""
    started = time.monotonic()
    while (pids := marked(mark)) and time.monotonic() < started + grace_s + END_S:
        if time.monotonic() >= started + grace_s:
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_S)
