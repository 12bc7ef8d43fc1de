"""The cores that this process may run kernels on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tuner.backends.base import CandidateError, Status
from tuner.backends.neuron.machine.leases import NoCoreError, leased, visible_cores
from tuner.backends.neuron.settings import Settings

__all__ = ["Cores"]


@dataclass(frozen=True)
class Cores:
    """The cores of this machine.

    Attributes:
        count: As many as its driver counts.
        settings: The options.
    """

    count: int
    settings: Settings

    @property
    def visible(self) -> tuple[int, ...]:
        """Those that this process may use."""
        return visible_cores(self.count)

    @contextmanager
    def held(self) -> Iterator[int]:
        """Holds one while it lasts; yields its number.

        Raises:
            CandidateError: There is none, or none got free in time.
        """
        lease = leased(
            self.visible,
            lnc=self.settings.lnc,
            exclusive_hbm=self.settings.exclusive_hbm,
            wait_s=self.settings.run_s,
        )
        try:
            core = lease.__enter__()
        except NoCoreError as error:
            raise CandidateError(Status.RUNTIME, str(error)) from None
        try:
            yield core
        finally:
            lease.__exit__(None, None, None)
