"""One job at a time for one workload in one results folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuner.runtime.errors import TunerError

__all__ = ["locked"]

MAX_NAME = 100


@contextmanager
def locked(results: str | os.PathLike[str], name: str, wait: bool = False) -> Iterator[None]:
    """Holds a lock in a results folder; it ends with the process, however that ends.

    Args:
        results: The results folder.
        name: What is locked, e.g. a job; any text.
        wait: Wait for whoever holds it.

    Raises:
        TunerError: Another process holds it; names the process and since when.
    """
    path = Path(results) / "local" / f"{_file_name(name)}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise TunerError(f"{path}: {error.strerror or error}") from None
    with os.fdopen(handle, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            owner = file.read().strip() or "another process"
            raise TunerError(f"this job is running already in {results}: {owner}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield


def _file_name(name: str) -> str:
    """Returns a short name that every file system takes; other names have other files."""
    safe = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", name)[:MAX_NAME]
    if safe == name:
        return name
    return f"{safe}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"
