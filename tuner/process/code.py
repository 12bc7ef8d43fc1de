"""Says which code a process runs, so that a driver and its workers can compare."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import tuner

__all__ = ["code_hash", "package_folder"]


def package_folder() -> Path:
    """Returns the folder of the `tuner` package that this process runs."""
    return Path(tuner.__file__).resolve().parent


@cache
def code_hash() -> str:
    """Returns a hash of the package's source and of the constants that it reads."""
    digest = hashlib.sha256()
    folder = package_folder()
    files = [*folder.rglob("*.py"), *folder.glob("neuroncore/*/*.toml")]
    files += folder.glob("papi/data/*/*.*")
    for path in sorted(files, key=lambda p: p.relative_to(folder).as_posix()):
        inside = path.relative_to(folder).as_posix()
        if not inside.startswith("kernels/"):  # data of the wheel, not code of the package
            digest.update(f"{inside}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
