"""How good a run of a search was on a recorded space: its gain over random search, and how near to
the optimum it came.

The score follows doi 10.1016/j.future.2024.05.021 on the axis of evaluations, with an exact
baseline and failures counted as evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tuner.runtime.errors import TunerError

__all__ = ["MARKS", "Baseline", "baseline", "expected_random"]

MARKS = (25, 50, 100, 200)
"""Evaluations at which the fraction of the optimum is reported."""
START, END = 0.01, 0.95
"""How far random search has come from median to optimum where scoring starts, and where it ends."""
TINY = 1e-12

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Baseline:
    """What the runs on one recorded space are scored against.

    Attributes:
        times_us: Shape (configs,): time of each row; a failed one has the slowest valid time.
        optimum_us: The fastest time.
        random_us: Shape (horizon,) or less in a small space: expected best of random search after
            1, 2, ... evaluations.
        start, end: First and last number of evaluations that is scored.
    """

    times_us: Times
    optimum_us: float
    random_us: Times
    start: int
    end: int

    def best_us(self, rows: Sequence[int], count: int) -> Times:
        """Best time after 1..count evaluations of a run; one that ended early keeps its best."""
        if not rows:
            raise TunerError("a run without a single evaluation has no score")
        best = np.minimum.accumulate(self.times_us[list(rows[:count])])
        return np.append(best, np.full(count - len(best), best[-1]))

    def score(self, rows: Sequence[int]) -> float:
        """Mean gain over random search: 0 is as good, 1 is the optimum at once.

        Where random search is sure to have the optimum itself, having it counts 1 and else 0.
        """
        expected = self.random_us[self.start - 1 : self.end]
        best = self.best_us(rows, self.end)[self.start - 1 :]
        possible = expected - self.optimum_us
        open_ = possible > TINY * self.optimum_us
        reached = (best <= self.optimum_us).astype(float)
        gain = np.where(open_, (expected - best) / np.where(open_, possible, 1.0), reached)
        return float(gain.mean())

    def fraction(self, rows: Sequence[int], count: int) -> Times:
        """Optimum / best after 1..count evaluations, shape (count,)."""
        return self.optimum_us / self.best_us(rows, count)


def expected_random(times_us: Times, draws: int) -> Times:
    """Exact expectation of the best of 1..draws configs drawn without replacement.

    Args:
        times_us: Shape (configs,), all finite.
        draws: At most as many as there are configs.
    """
    ordered = np.sort(times_us)
    steps = np.diff(ordered)
    size = len(ordered)
    slower = size - np.arange(1, size)
    missed = np.ones(size - 1)  # chance that none of the fastest 1, 2, ... was drawn yet
    expected = np.empty(draws)
    for draw in range(draws):
        missed *= np.maximum(slower - draw, 0) / (size - draw)
        expected[draw] = ordered[0] + steps @ missed
    return expected


def baseline(time_us: Times, horizon: int) -> Baseline:
    """Returns the baseline of a recorded space.

    Args:
        time_us: Shape (configs,); inf where a config failed.
        horizon: Most evaluations that are scored.

    Raises:
        TunerError: Every config failed.
    """
    valid = np.isfinite(time_us)
    if not valid.any():
        raise TunerError("every config of the recording failed")
    times_us = np.where(valid, time_us, time_us[valid].max())
    optimum_us, median_us = float(times_us.min()), float(np.median(time_us[valid]))
    expected = expected_random(times_us, min(horizon, len(times_us)))

    def reached(share: float) -> int:
        there = expected <= optimum_us + (median_us - optimum_us) * (1 - share)
        return int(np.argmax(there)) + 1 if there.any() else len(expected)

    return Baseline(times_us, optimum_us, expected, reached(START), reached(END))
