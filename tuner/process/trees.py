"""Trees of processes, as /proc shows them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

__all__ = ["adopt_orphans", "descendants", "die_with_parent", "end_descendants", "memory_of"]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
END_S = 5.0


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


def end_descendants() -> dict[int, int]:
    """Kills and reaps everything below this process; returns the wait status of its children."""
    ended: dict[int, int] = {}
    until = time.monotonic() + END_S
    while time.monotonic() < until:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while (done := os.waitpid(-1, os.WNOHANG))[0]:
                ended[done[0]] = done[1]
        except ChildProcessError:
            break
        time.sleep(0.002)
    return ended
