"""Scratch folders that do not outlive their owner for long.

A folder is held by a lock that ends with its process, however that ends; whoever makes the next one
removes those that nobody holds any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

__all__ = ["PREFIX", "Scratch", "sweep"]

PREFIX = "nki-tuner."
OWNER = "owner.lock"
UNLOCKED_S = 600.0


class Scratch:
    """An empty private folder below the system's temporary one.

    Attributes:
        path: The folder.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        new = self.path / f"{OWNER}.new"  # else a sweep could find it before it is held
        self._lock: int | None = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        new.rename(self.path / OWNER)
        sweep(self.path.parent, self.path)

    def forget(self) -> None:
        """Lets go of the lock in a forked copy of the owner."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close(self) -> None:
        """Removes the folder and what is in it; may be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.forget()


def sweep(folder: Path, mine: Path | None = None) -> None:
    """Removes the scratch folders in a folder whose owner is gone, but mine."""
    for path in folder.glob(f"{PREFIX}*"):
        if path != mine:
            with contextlib.suppress(OSError):
                _remove_unheld(path)


def _remove_unheld(path: Path) -> None:
    lock = path / OWNER
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        return
    if not lock.exists():  # one that is just being made has none yet
        began = (path / f"{OWNER}.new").exists() or not any(path.iterdir())
        if began and time.time() - path.stat().st_mtime > UNLOCKED_S:
            shutil.rmtree(path, ignore_errors=True)
        return
    handle = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)
