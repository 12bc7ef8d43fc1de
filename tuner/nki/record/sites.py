"""Where in a kernel something happens, for messages."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

__all__ = ["kernel_line"]

_OWN = str(Path(__file__).resolve().parents[1])


def kernel_line() -> str:
    """Returns file and line of the innermost frame that is not this package's."""
    frame = sys._getframe(2)  # the caller is this package's
    name = _name(frame.f_code.co_filename)
    while not name and frame.f_back is not None:
        frame = frame.f_back
        name = _name(frame.f_code.co_filename)
    return f"{name}:{frame.f_lineno}"


@cache
def _name(file: str) -> str:
    """A file without its folder; "" for this package's own."""
    return "" if file.startswith(_OWN) else file.rpartition("/")[2]
