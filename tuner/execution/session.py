"""Ray, as executors find or start it, with the workers that they share."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from typing import Any

from tuner.execution.pool import Pool, first_line
from tuner.process import Scratch
from tuner.runtime.errors import TunerError

__all__ = ["LOCAL", "Session"]

LOCAL = "local"
CONNECT_TIMEOUT_S = 5
OBJECT_STORE_BYTES = 80 << 20
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


class Session:
    """Ray, started here for `address` "local", else connected to, and one pool of workers.

    A session of Ray that the caller has already is used as it is and left running.

    Args:
        address: "local" or that of a cluster.
        workers: Workers of each kind that executors need.
        memory_bytes: What a worker's child may have; None for half of its machine.
        resources: What a Ray that is started here has besides CPUs, e.g. {"neuron_cores": 2}.

    Attributes:
        workers: As given.
        pool: The workers.

    Raises:
        TunerError: Ray cannot be reached.
    """

    def __init__(
        self,
        address: str,
        workers: int,
        memory_bytes: int | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._lent: dict[str, str | None] = {}
        if address == LOCAL and not _is_running():
            self._lent = _lend(_private_settings())
        import ray

        self.workers = workers
        self.pool = Pool(workers, memory_bytes)
        self._owned = not ray.is_initialized()
        if not self._owned:
            return
        _check_listening(address)
        # Ray puts the working directory first on its workers' path: give it an empty one.
        self._scratch = Scratch()
        empty = self._scratch.path / "empty"
        empty.mkdir()
        common: dict[str, Any] = {
            "runtime_env": {"working_dir": str(empty), "env_vars": _ENVIRONMENT},
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        try:
            if address == LOCAL:
                ray.init(
                    address="local",
                    num_cpus=workers,
                    resources=dict(resources or {}),
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                    **common,
                )
            else:
                ray.init(address=address, **common)
        except Exception as error:  # Ray raises bare ones too, when a node is slow to start
            self._scratch.close()
            _lend(self._lent)
            raise TunerError(
                f"cannot reach Ray at {address!r}: {first_line(error)} "
                "(a cluster that wants a token needs RAY_AUTH_MODE=token here)"
            ) from None

    def close(self) -> None:
        """Ends the workers, and Ray where this started it; may be called twice."""
        import ray

        self.pool.close()
        if self._owned:
            ray.shutdown()
            self._scratch.close()
            _lend(self._lent)
            _listen_to_others(True)
            self._owned = False


def _is_running() -> bool:
    """Whether this process has a Ray already."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _private_settings() -> dict[str, str | None]:
    """Returns the environment in which a Ray of this machine alone is to start: it listens on
    loopback only, and talks to nobody who does not know this session's token.
    """
    settings: dict[str, str | None] = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    _listen_to_others(False)
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        settings["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        if "ray" not in sys.modules:
            settings["RAY_AUTH_MODE"] = "token"
    return settings


def _listen_to_others(may: bool) -> None:
    """Says the same to a Ray that has read its environment already."""
    constants: Any = sys.modules.get("ray._private.ray_constants")
    if hasattr(constants, "ENABLE_RAY_CLUSTER"):
        constants.ENABLE_RAY_CLUSTER = may


def _lend(settings: Mapping[str, str | None]) -> dict[str, str | None]:
    """Changes the environment and returns what undoes that."""
    before = {name: os.environ.get(name) for name in settings}
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before


def _check_listening(address: str) -> None:
    """Asks for a connection first: Ray itself takes over a minute to say that nobody answers."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.rpartition("/")[2], int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise TunerError(f"cannot reach Ray at {address!r}: {error}") from None
