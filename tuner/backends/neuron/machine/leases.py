"""Who may use which core: the runtime wants each for one process alone.

A core is held by a lock on a file of the user, which ends with the process however that ends. Under
Ray the core is the one that Ray gave the worker, and is locked too, as others may be outside Ray.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tuner.backends.neuron.machine.environment import CORES
from tuner.backends.neuron.machine.folders import private_folder, user_folder
from tuner.runtime.errors import TunerError

__all__ = ["NoCoreError", "leased", "parse_cores", "visible_cores"]

POLL_S = 0.05
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


class NoCoreError(Exception):
    """There is no core, or none gets free in time."""


def parse_cores(text: str) -> tuple[int, ...]:
    """Returns the cores that NEURON_RT_VISIBLE_CORES names: "0", "1-3", "0,2", "0,4-5".

    Raises:
        TunerError: It is something else.
    """
    cores: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise TunerError(f"{CORES}={text!r}: expected numbers as in 0, 1-3 or 0,2")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < 1 << 16:
            raise TunerError(f"{CORES}={text!r}: expected numbers as in 0, 1-3 or 0,2")
        cores += range(first, last + 1)
    return tuple(dict.fromkeys(cores))


def visible_cores(count: int) -> tuple[int, ...]:
    """Returns the cores that this process may use: those that Ray or the user names, else all.

    Args:
        count: Cores of the machine.
    """
    named = os.environ.get(CORES, "")
    return parse_cores(named) if named.strip() else tuple(range(count))


@contextmanager
def leased(
    cores: Sequence[int],
    *,
    lnc: int = 1,
    exclusive_hbm: bool = False,
    wait_s: float = 0.0,
    folder: Path | None = None,
) -> Iterator[int]:
    """Holds one core while it lasts.

    Args:
        cores: Those to choose from; the first that is free is taken.
        lnc: Physical cores of each; locks are by physical core, as others may count otherwise.
        exclusive_hbm: Hold the other core of the pair that shares the HBM too, and leave it idle.
        wait_s: Seconds to wait for one.
        folder: Of the locks; one of the user and this machine unless given.

    Yields:
        The core's number.

    Raises:
        NoCoreError: There is none, or none got free in time.
    """
    if not cores:
        raise NoCoreError("there is no NeuronCore on this machine")
    where = private_folder(folder or user_folder() / f"cores-{socket.gethostname()}")
    until = time.monotonic() + wait_s
    while True:
        for core in cores:
            held = range(core * lnc, core * lnc + lnc)
            if exclusive_hbm and lnc == 1:
                held = range(core & ~1, (core | 1) + 1)
            handles = _lock_all([where / f"{each}.lock" for each in held])
            if handles is not None:
                try:
                    yield core
                finally:
                    for handle in handles:
                        os.close(handle)
                return
        if time.monotonic() >= until:
            raise NoCoreError(_busy(where, [core * lnc for core in cores], wait_s))
        time.sleep(POLL_S)


def _lock_all(paths: Sequence[Path]) -> list[int] | None:
    """Locks all files or none: who holds one of a pair does not wait for the other."""
    handles: list[int] = []
    for path in paths:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        handles.append(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            for each in handles:
                os.close(each)
            return None
        os.truncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
    return handles


def _busy(where: Path, cores: Sequence[int], wait_s: float) -> str:
    holders = []
    for core in cores[:8]:
        with contextlib.suppress(OSError):
            holders.append(f"{core} by process {(where / f'{core}.lock').read_text() or '?'}")
    held = f" (held: {', '.join(holders)})" if holders else ""
    return f"no NeuronCore got free within {wait_s:g} s{held}"
