"""Where a user's machine keeps what outlives a job: compiled kernels, and who holds which core."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["private_folder", "user_folder"]


def user_folder() -> Path:
    """Returns this program's folder among the user's caches; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "nki-tuner"


def private_folder(path: Path) -> Path:
    """Makes a folder that only the user can enter, unless it is there.

    Raises:
        OSError: It cannot be made, or is somebody else's or open to others.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(f"{path}: others can write there")
    return path
