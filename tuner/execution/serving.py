"""Answers candidates in an isolated child: problems and candidates come in, measurements go out.

What comes from the driver is its own and unpickled. What goes back was made beside a kernel's code,
so it is data: MessagePack, checked by whoever reads it.
"""

from __future__ import annotations

import fcntl
import math
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tuner.backends import Measurement, Problem, Status, evaluate, load_backend

__all__ = ["load", "read_answer", "warm", "write_answer"]


def warm() -> None:
    """Does once, in the guard, what every child would do at its first candidate."""
    from tuner.backends.simulator import warm as warm_simulator

    with _first_alone(Path(tempfile.gettempdir()) / f"nki-tuner-{os.getuid()}.lock"):
        warm_simulator()


@contextmanager
def _first_alone(path: Path) -> Iterator[None]:
    """Lets one process go first, and then all others together: what that one compiles they find in
    the cache.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:  # then each for itself
        yield
        return
    if os.fstat(handle).st_uid != os.getuid():  # somebody else could hold it for ever
        os.close(handle)
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def load(problem: bytes) -> Callable[[int, bytes, Callable[[str], None]], bytes]:
    """Loads a problem and returns what answers its candidates.

    Raises:
        TunerError: The kernel's file cannot be loaded.
    """
    given: Problem = pickle.loads(problem)
    backend = load_backend(given)

    def answer(_: int, candidate: bytes, begins: Callable[[str], None]) -> bytes:
        return write_answer(evaluate(backend, pickle.loads(candidate), begins))

    return answer


def write_answer(measurement: Measurement) -> bytes:
    """Returns a measurement as bytes."""
    return msgspec.msgpack.encode(measurement, enc_hook=_plain)


def read_answer(answer: bytes) -> Measurement:
    """Returns the measurement of what a child answered.

    Raises:
        ValueError: It is none.
    """
    found = msgspec.msgpack.decode(answer, type=Measurement)
    latency_us = found.latency_us
    if latency_us is not None:
        timed = math.isfinite(latency_us) and latency_us > 0
        if not timed or found.status != Status.CORRECT:
            raise ValueError(f"{found.status} in {latency_us} us")
    return found


def _plain(value: object) -> object:
    """Numbers of numpy among the figures."""
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"{type(value).__name__} is no data")
    return item()
