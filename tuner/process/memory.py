"""How much memory this machine, or the container that this process is in, has."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["machine_bytes"]

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_bytes() -> int:
    """Returns the bytes that all processes here can have together."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUPS:
        try:
            found.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # there is no such limit
            continue
    return min(found)
