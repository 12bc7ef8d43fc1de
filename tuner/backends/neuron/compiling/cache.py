"""Compiled kernels kept on disk: compiling takes minutes, and a resumed job asks again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.backends.neuron.machine.folders import private_folder, user_folder

__all__ = ["MAX_BYTES", "NeffCache", "key_of", "open_cache", "write_whole"]

MAX_BYTES = 4 << 30
SUFFIX, UNFINISHED = ".neff", ".new"
ABANDONED_S = 3600.0
"""Age of a file that is still being written at which its writer must be gone."""
_DIGEST = hashlib.sha256().digest_size


def key_of(facts: Mapping[str, Any]) -> str:
    """Returns the name of an entry: a hash of everything that what is compiled depends on."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def open_cache(named: str | None) -> NeffCache | None:
    """Returns the cache in a folder; of None that of the user; of "none" none, nor where the folder
    cannot be used.
    """
    if named == "none":
        return None
    try:
        return NeffCache(private_folder(Path(named) if named else user_folder() / "neff"))
    except OSError:
        return None


class NeffCache:
    """Entries by key in one folder, which several processes may use at once.

    Args:
        folder: Exists.
        max_bytes: What it may hold; those used longest ago go first.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def get(self, key: str) -> bytes | None:
        """Returns an entry; None where there is none, or it is damaged, which removes it."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            self.remove(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return data[_DIGEST:]

    def put(self, key: str, data: bytes) -> None:
        """Keeps an entry, all of it or none; a full disk keeps nothing and says nothing."""
        with contextlib.suppress(OSError):
            write_whole(self._path(key), hashlib.sha256(data).digest() + data)
            self._shrink()

    def remove(self, key: str) -> None:
        """Drops an entry, if there is one."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def _shrink(self) -> None:
        """Removes what was used longest ago, where there is too much."""
        entries = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):  # another process may have removed it
                found = path.stat()
                entries.append((found.st_mtime_ns, found.st_size, path))
        left = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if left <= self.max_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                left -= size


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file, all of it or none; removes what others, who were killed, left unfinished in
    its folder.

    Raises:
        OSError: It cannot be written.
    """
    for left in path.parent.glob(f"*{UNFINISHED}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                left.unlink()
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
