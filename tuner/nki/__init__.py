"""The NKI language, simulated: what `import nki` means for a kernel that runs on the simulator.

Functional results come with it; time and memory are predicted from what it records. Parts of NKI
that are not here raise `NotSupportedError` when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tuner.nki import isa, language
from tuner.nki.errors import NkiValidationError, NotSupportedError

__all__ = ["NkiValidationError", "NotSupportedError", "isa", "jit", "language"]


def jit(fn: Callable[..., Any] | None = None, **kwargs: Any) -> Any:
    """Marks a kernel; it stays the Python function that the simulator traces."""
    return (lambda function: function) if fn is None else fn
