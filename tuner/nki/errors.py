"""What the simulated NKI raises when a kernel asks for what the language or the hardware
refuses.
"""

from __future__ import annotations

__all__ = ["HazardError", "HazardWarning", "NkiValidationError", "NotSupportedError"]


class NkiValidationError(Exception):
    """The kernel breaks a rule of the language or a limit of the device; the numbers are in the
    message.
    """


class NotSupportedError(NkiValidationError):
    """The kernel uses a part of NKI that this simulator does not have."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not supported by the simulator")
        self.name = name


class HazardWarning(UserWarning):
    """The kernel does what gives no sure result on hardware."""


class HazardError(NkiValidationError):
    """A hazard, where they are asked to be errors."""
