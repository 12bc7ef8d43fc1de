"""The cores that this process may run kernels on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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

    @property
    def at_once(self) -> int:
        """How many can be held at the same time."""
        pairs = self.settings.exclusive_hbm and self.settings.lnc == 1
        return len({core // 2 for core in self.visible} if pairs else self.visible)

    @contextmanager
    def held(self) -> Iterator[int]:
        """Holds one while it lasts; yields its number.

        Raises:
            CandidateError: There is none, or none got free in time.
        """
        with ExitStack() as stack:
            lease = leased(
                self.visible,
                lnc=self.settings.lnc,
                exclusive_hbm=self.settings.exclusive_hbm,
                wait_s=self.settings.wait_s,
            )
            try:
                core = stack.enter_context(lease)
            except NoCoreError as error:
                raise CandidateError(Status.RUNTIME, str(error), again=bool(self.visible)) from None
            yield core

    @contextmanager
    def all_held(self) -> Iterator[None]:
        """Holds all of them while it lasts.

        Raises:
            NoCoreError: One of them did not get free in time.
        """
        until = time.monotonic() + self.settings.wait_s
        with ExitStack() as stack:
            for core in sorted(self.visible):  # in one order, else two could wait for each other
                wait_s = max(until - time.monotonic(), 0.0)
                stack.enter_context(leased([core], lnc=self.settings.lnc, wait_s=wait_s))
            yield
