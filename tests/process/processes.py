"""What runs on this machine."""

from __future__ import annotations

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
