"""Finds the files that come with the package: kernels, search spaces and shipped tables.

They lie inside `tuner/` in a wheel and beside it in a checkout; nothing else is looked at, so a
folder of the same name in the working directory changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import tuner

__all__ = ["folder", "names"]


def folder(name: str) -> Path:
    """Returns the bundled folder "kernels", "search_spaces" or "results"."""
    package = Path(tuner.__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def names(name: str, suffix: str) -> list[str]:
    """Returns the stems of the files with `suffix` in the bundled folder `name`, sorted."""
    return sorted(path.stem for path in folder(name).glob(f"*{suffix}"))
