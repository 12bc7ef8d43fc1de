"""One job at a time for one workload in one results folder."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from tuner.runtime.errors import TunerError

__all__ = ["locked"]

MAX_NAME = 100
MAX_OWNER_BYTES = 1000
WAIT_S = 30.0
POLL_S = 0.05


@contextmanager
def locked(results: str | os.PathLike[str], name: str, wait: bool = False) -> Iterator[None]:
    """Holds a lock in a results folder; it ends with the process, however that ends.

    It holds between the processes of one machine, and between machines where the file system
    passes locks on (NFS does from version 4 on, unless mounted with `local_lock`).

    Args:
        results: The results folder.
        name: What is locked, e.g. a job; any text.
        wait: Wait half a minute for whoever holds it.

    Raises:
        TunerError: Another process holds it; names process, user and machine and for how long.
    """
    path = Path(results) / "local" / f"{_file_name(name)}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through a link: the file is written to, and the folder may be a stranger's.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise TunerError(f"{path}: {error.strerror or error}") from None
    with os.fdopen(handle, "r+b", buffering=0) as file:
        until = time.monotonic() + (WAIT_S if wait else 0)
        while not _taken(file, path):
            if time.monotonic() >= until:
                what = "the database is locked" if wait else "this job is running already"
                raise TunerError(f"{what} in {results}: {_owner(file)}")
            time.sleep(POLL_S)
        with suppress(OSError):  # on a full disk it is held all the same, by nobody one can name
            file.truncate(0)
            file.write(json.dumps(_me()).encode())
        yield


def _taken(file: FileIO, path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise TunerError(f"{path}: no locks here: {error.strerror or error}") from None
    return True


def _me() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"user {os.getuid()}"
    host = socket.gethostname()
    return {"process": os.getpid(), "user": user, "host": host, "since": time.time()}


def _owner(file: FileIO) -> str:
    """Who wrote the file, in words; it may hold anything."""
    try:
        owner = json.loads(file.read(MAX_OWNER_BYTES) or b"")
        age_s = max(0.0, time.time() - float(owner["since"]))
        who = f"process {owner['process']:d} of {owner['user']} on {owner['host']}"
        return f"{who}, for {_told(age_s)}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return "another process"


def _told(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _file_name(name: str) -> str:
    """Returns a short name that every file system takes; other names have other files."""
    safe = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", name)[:MAX_NAME]
    if safe == name:
        return name
    return f"{safe}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"
