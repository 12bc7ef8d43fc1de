"""Where in a kernel something happens, for messages."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["kernel_line"]

_OWN = str(Path(__file__).resolve().parent)


def kernel_line() -> str:
    """Returns file and line of the innermost frame that is not this package's."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_OWN) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
