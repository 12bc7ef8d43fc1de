"""Ray, as executors find or start it, with the workers that they share."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tuner.execution.pool import Pool, first_line
from tuner.execution.ray_settings import (
    files_in,
    lend,
    listed_cores,
    listen_to_others,
    private_settings,
    sigterm_kept,
    silenced,
)
from tuner.process import Reaper, Scratch
from tuner.runtime.errors import TunerError

__all__ = ["LOCAL", "Session"]

LOCAL = "local"
CONNECT_TIMEOUT_S = 5
OBJECT_STORE_BYTES = 80 << 20
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
_LEASED = {"RAY_EXPERIMENTAL_NOSET_NEURON_RT_VISIBLE_CORES": "1"}
"""Every Ray of a machine would give its first worker core 0: leases choose instead."""


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
        os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # no Ray starts by itself
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._lent: dict[str, str | None] = {}
        if address == LOCAL and not _is_running():
            self._lent = lend(private_settings())
        import ray

        self.workers = workers
        self.pool = Pool(workers, memory_bytes)
        self._owned = not ray.is_initialized()
        if not self._owned:
            return
        _check_listening(address)
        self._held = ExitStack()
        try:
            self._hold()
            with sigterm_kept():
                self._start(address, resources or {})
        except Exception as error:  # Ray raises bare ones too, when a node is slow to start
            self._held.close()
            raise TunerError(
                f"cannot reach Ray at {address!r}: {first_line(error)} "
                "(a cluster that wants a token needs RAY_AUTH_MODE=token here)"
            ) from None

    def _hold(self) -> None:
        """Takes what is given back when the session ends."""
        self._held.callback(listen_to_others, True)
        self._held.callback(lend, self._lent)
        self._scratch = Scratch()
        self._held.callback(self._scratch.close)
        self._reaper = Reaper(self._scratch.path)
        self._held.callback(self._reaper.close)
        self._held.callback(silenced())

    def _start(self, address: str, resources: Mapping[str, float]) -> None:
        import ray

        # Ray puts the working directory first on its workers' path: give it an empty one.
        empty = self._scratch.path / "empty"
        empty.mkdir()
        common: dict[str, Any] = {
            "runtime_env": {"working_dir": str(empty), "env_vars": _ENVIRONMENT},
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        if address != LOCAL:
            ray.init(address=address, **common)
            return
        common["runtime_env"]["env_vars"] = {**_ENVIRONMENT, **_LEASED}
        unmarked = lend({**listed_cores(resources), **self._reaper.mark})
        try:
            ray.init(
                address="local",
                num_cpus=self.workers,
                resources=dict(resources),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                _temp_dir=files_in(self._scratch.path),
                **common,
            )
        finally:
            lend(unmarked)

    def close(self) -> None:
        """Ends the workers, and Ray where this started it; may be called twice."""
        import ray

        self.pool.close()
        if self._owned:
            ray.shutdown()
            self._held.close()
            self._owned = False


def _is_running() -> bool:
    """Whether this process has a Ray already."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _check_listening(address: str) -> None:
    """Asks for a connection first: Ray itself takes over a minute to say that nobody answers."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.rpartition("/")[2], int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise TunerError(f"cannot reach Ray at {address!r}: {error}") from None
