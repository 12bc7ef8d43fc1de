"""The NKI language, simulated: what `import nki` means for a kernel that runs on the simulator.

Functional results come with it; time and memory are predicted from what it records. Parts of NKI
that are not here raise `NotSupportedError` when they are called.
"""

from __future__ import annotations

from tuner.nki import isa, language, typing
from tuner.nki.errors import HazardError, HazardWarning, NkiValidationError, NotSupportedError
from tuner.nki.launch import jit, simulate
from tuner.nki.lending import lent

__all__ = [
    "HazardError",
    "HazardWarning",
    "NkiValidationError",
    "NotSupportedError",
    "isa",
    "jit",
    "language",
    "lent",
    "simulate",
    "typing",
]
