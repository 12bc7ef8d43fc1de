"""What surrounds the start of a Ray: its environment, its files, and the signals that it takes."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tuner.backends.neuron.machine.environment import CORES
from tuner.backends.neuron.machine.leases import parse_cores

__all__ = [
    "files_in",
    "lend",
    "listed_cores",
    "listen_to_others",
    "private_settings",
    "sigterm_kept",
    "silenced",
]

LONGEST_SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
MAX_SOCKET_BYTES = 107


def private_settings() -> dict[str, str | None]:
    """Returns the environment in which a Ray of this machine alone is to start: it listens on
    loopback only, and talks to nobody who does not know a token of this process.
    """
    settings: dict[str, str | None] = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    listen_to_others(False)
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        settings["RAY_AUTH_TOKEN"] = _token()
        if "ray" not in sys.modules or _wants_token():
            settings["RAY_AUTH_MODE"] = "token"
    return settings


@cache
def _token() -> str:
    """Returns a token for this process: its Ray reads it once, whatever it starts later."""
    return secrets.token_hex(32)


def _wants_token() -> bool:
    """Whether Ray, which reads its environment when it is imported, found that it needs a token."""
    utils: Any = sys.modules.get("ray._private.authentication.authentication_utils")
    return utils is not None and bool(utils.is_token_auth_enabled())


def listen_to_others(may: bool) -> None:
    """Says whether Ray may listen on other interfaces, to one that has read its environment
    already.
    """
    constants: Any = sys.modules.get("ray._private.ray_constants")
    if hasattr(constants, "ENABLE_RAY_CLUSTER"):
        constants.ENABLE_RAY_CLUSTER = may


def lend(settings: Mapping[str, str | None]) -> dict[str, str | None]:
    """Changes the environment and returns what undoes that."""
    before = {name: os.environ.get(name) for name in settings}
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before


def files_in(scratch: Path) -> str | None:
    """Returns a folder for Ray's files, which it opens to all, in one that is closed to them; None
    for Ray's own where sockets there had too long a name.
    """
    folder = scratch / "ray"
    longest = os.fsencode(folder / LONGEST_SOCKET)
    return str(folder) if len(longest) <= MAX_SOCKET_BYTES else None


def listed_cores(resources: Mapping[str, float]) -> dict[str, str | None]:
    """Returns the NeuronCores that the user allows as a list, as Ray takes a range for one core;
    nothing where none are asked of Ray.

    Raises:
        TunerError: They are named otherwise.
    """
    named = os.environ.get(CORES, "").strip()
    if not named or "neuron_cores" not in resources:
        return {}
    return {CORES: ",".join(str(core) for core in parse_cores(named))}


@contextlib.contextmanager
def sigterm_kept() -> Iterator[None]:
    """Undoes that Ray ends a driver at SIGTERM its own way."""
    mine = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if mine and before is not None:
            signal.signal(signal.SIGTERM, before)


def silenced() -> Callable[[], None]:
    """Keeps Ray from saying on standard output, among a command's own lines, which workers died;
    returns what undoes that.
    """
    from ray._private import worker

    before = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *_, **__: None
    return lambda: setattr(worker, "print_to_stdstream", before)
