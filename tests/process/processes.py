"""What runs on this machine."""

from __future__ import annotations

import time
from pathlib import Path


def running(word: str) -> list[int]:
    """Processes with a word of their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(path.parent.name))
    return found


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether a process ends in time; one that nobody reaps has ended."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
