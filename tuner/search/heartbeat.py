"""Which drivers of a shared study are alive.

Each driver counts up a number in the study. Another one that sees it unchanged in several of its
own looks, one after the other, takes its driver for dead. No clock is compared with another, and
one who was suspended does not judge by the time that passed meanwhile.
"""

from __future__ import annotations

import os
import secrets
import threading
from typing import Any

from tuner.runtime.errors import TunerError
from tuner.search.storage import Link

__all__ = ["BEAT_S", "MISSED", "Heartbeat"]

BEAT_S = 15.0
MISSED = 6
"""Looks in a row without a change after which a driver is taken for dead."""

DRIVER = "nki-tuner:driver:"


class Heartbeat:
    """Says that a driver is alive, in a thread of its own, and looks who else is.

    Args:
        link: The database.
        study: Optuna's number of the study.
        driver: Name of this driver; nobody else has it at the same time.
    """

    def __init__(self, link: Link, study: int, driver: str) -> None:
        self._link, self._study, self._driver = link, study, driver
        self._token = secrets.token_hex(8)
        self._beats = 0
        self._ended = threading.Event()
        self._seen: dict[str, tuple[Any, int]] = {}
        self._other = ""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Registers the driver and begins."""
        self._write()
        self._look()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._ended.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def check(self) -> None:
        """Raises TunerError where another process goes on with this driver's trials."""
        if self._other:
            raise TunerError(
                f"{self._link.place}: {self._other} goes on with the same trials: a results folder "
                "has one driver at a time, and a copy of it is another driver's only without "
                "--resume"
            )

    def dead(self, driver: str) -> bool:
        """Whether a driver missed too many beats."""
        return self._seen.get(driver, (None, 0))[1] >= MISSED

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._look()
                self._write()
            except Exception:  # the database is away: whoever needs it says so
                continue
        self._link.leave_thread()

    def _write(self) -> None:
        if self._other:
            return
        self._beats += 1
        state = {"process": os.getpid(), "token": self._token, "beats": self._beats}
        name = f"{DRIVER}{self._driver}"
        self._link.storage.set_study_user_attr(self._study, name, state)

    def _look(self) -> None:
        states = self._link.storage.get_study_user_attrs(self._study)
        found = {
            name.removeprefix(DRIVER): state
            for name, state in states.items()
            if name.startswith(DRIVER)
        }
        own = found.get(self._driver)
        if isinstance(own, dict) and own.get("token") != self._token:
            self._other = f"another process, number {own.get('process')!r:.20},"
        for driver, state in found.items():
            before, missed = self._seen.get(driver, (None, 0))
            self._seen[driver] = (state, missed + 1 if state == before else 0)
