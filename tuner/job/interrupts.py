"""Ctrl-C and SIGTERM while a job runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["interrupts"]


@contextmanager
def interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Turns the first Ctrl-C, or SIGTERM as batch systems send it, into a call of `stop`; the
    second one interrupts as Ctrl-C usually does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        stop()

    before = {number: signal.signal(number, once) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
