"""What workers run instead of a backend: it sleeps. Standard library and msgspec only.

The benchmark writes a copy of this file for each time that is to be slept, as nothing else reaches
the child that does not need `tuner`.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Callable

import msgspec

SECONDS = 1.0
HEAVY = ("numba", "numpy", "optuna", "ray", "scipy")


def load(problem: bytes) -> Callable[[int, bytes, Callable[[str], None]], bytes]:
    """Returns what answers the candidates of a problem, which is not looked at."""

    def answer(number: int, candidate: bytes, begins: Callable[[str], None]) -> bytes:
        begins("measure")
        began_s = time.monotonic()
        time.sleep(SECONDS)
        ended_s = time.monotonic()
        figures = {
            "began_s": began_s,
            "ended_s": ended_s,
            "pid": os.getpid(),
            "heavy": [name for name in HEAVY if name in sys.modules],
        }
        latency_us = 1e6 * SECONDS + zlib.crc32(candidate) % 10_000  # the sampler sees a landscape
        return msgspec.msgpack.encode(
            {
                "number": number,
                "status": "correct",
                "kind": "simulated",
                "latency_us": latency_us,
                "figures": figures,
                "host_s": {"measure": ended_s - began_s},
            }
        )

    return answer
