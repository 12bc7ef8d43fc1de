"""Compiles the inner loops with numba; the compiled code is kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

__all__ = ["compiled", "inlined", "lean"]

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Returns `function` compiled on first call, from the cache where there is one.

    The cache holds machine code, so only a folder that belongs to this user alone is trusted with
    it. Without a home to write to it is a temporary folder, without any the code is compiled anew
    in each process.
    """
    return _jit(function)


def lean(function: Function) -> Function:
    """Does the same for a function that makes no arrays.

    Its code does not count references to arrays, which else takes most of the time of small
    functions that pass them on.
    """
    return _jit(function, _nrt=False)


def inlined(function: Function) -> Function:
    """Does the same for a small one that is called often: its code is put where it is called."""
    return _jit(function, _nrt=False, inline="always")


def _jit(function: Function, **options: Any) -> Function:
    folder = _cache_folder()
    if folder is None:
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)  # read by numba while it decorates
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    finally:
        numba.config.CACHE_DIR = before


@cache
def _sources() -> str:
    """Names the state of this package's source.

    numba notices a change in the file of a function, not in those of the functions that it calls.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path | None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    private = Path(tempfile.gettempdir()) / f"nki-tuner-{os.getuid()}"
    for folder in (Path(home) / "nki-tuner" / "numba" / _sources(), private / "numba" / _sources()):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
            if (
                status.st_uid == os.getuid()
                and not status.st_mode & 0o022
                and os.access(folder, os.W_OK)
            ):
                return folder
        except OSError:
            continue
    warnings.warn("no private folder to keep compiled code in: compiling anew", stacklevel=3)
    return None
