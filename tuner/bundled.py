"""The folders that come with the package, for the engine; `tuner.runtime.shipped` finds them."""

from __future__ import annotations

from pathlib import Path

from tuner.runtime import shipped
from tuner.runtime.shipped import names

__all__ = ["folder", "names"]


def folder(name: str) -> Path:
    """Returns the bundled folder "kernels", "search_spaces" or "results"."""
    return Path(shipped.folder(name))
