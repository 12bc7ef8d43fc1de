"""Runs of our own search, told through ask and tell as a job does."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.search_quality.methods import Method
from tuner.backends.recording import Recording
from tuner.search import Search

__all__ = ["run"]


def run(
    method: Method,
    recording: Recording,
    seed: int,
    budget: int,
    prior: npt.NDArray[np.float64] | None,
) -> tuple[list[int], float]:
    """Returns the rows in the order of asking, and the seconds spent in ask and tell.

    Raises:
        RuntimeError: The sampler proposed a config twice.
    """
    space = recording.space
    extra: dict[str, Any] = {} if prior is None else {"prior": prior}
    known = "default" in recording.meta  # else it is the middle of the space, no default
    search = Search(space, method.name, seed, default=known, **extra)
    rows: list[int] = []
    seen: set[int] = set()
    pending: deque[tuple[int, float | None]] = deque()
    spent_s = 0.0
    while len(rows) < min(budget, len(space)):
        begun = time.perf_counter()
        if len(pending) == method.pending:
            search.tell(*pending.popleft())
        number, config = search.ask()
        spent_s += time.perf_counter() - begun
        row = space.row(config)
        if row in seen:
            raise RuntimeError(
                f"{method.text} proposed a config of {recording.name} twice: {config}"
            )
        latency_us = float(recording.time_us[row])
        pending.append((number, latency_us if math.isfinite(latency_us) else None))
        rows.append(row)
        seen.add(row)
    return rows, spent_s
