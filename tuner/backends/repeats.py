"""Times that vary: statistics of a config's samples, and the rule when to stop sampling.

The reported time is the median: a slow outlier (a daemon, a page fault) does not move it. Its
confidence interval comes from order statistics, which hold for any distribution of the noise; below
six samples no two of them enclose the median with 95 %, so there the t interval of log times stands
in, which tells a config that is twice as slow by its second or third sample.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = [
    "Interval",
    "Repeats",
    "Summary",
    "half_width_percent",
    "median_interval",
    "narrow",
    "order_interval",
    "summarize",
]

CONFIDENCE = 0.95
TOLERANCE = 0.005
"""Half-width of an interval, as a share of the median, that is narrow enough for any purpose."""
SETTLED = 6
"""Samples of whatever may be the best: all later configs are compared with it, and an interval of
fewer may be narrow by luck.
"""
MAD_TO_SIGMA = 1.4826
"""Median absolute deviation -> standard deviation, for normal noise."""
_T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Samples -> two-sided 95 % quantile of Student's t with one degree of freedom less."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Repeats:
    """How many samples to take of a config whose times vary.

    Attributes:
        most: Samples at most, at least 1.
        least: Samples at least, unless `most` is lower.
        incumbent_us: Confidence interval of the time to beat; None where there is none yet.
        first: Number of the first sample; made noise is a function of seed, config and this number.
    """

    most: int
    least: int = 2
    incumbent_us: Interval | None = None
    first: int = 0

    def enough(self, samples: Sequence[float]) -> bool:
        """Whether further samples [us] would be spent in vain.

        They are when the config is clearly slower or clearly faster than the incumbent, when its
        time is known well, or at the cap.
        """
        count = len(samples)
        if count >= self.most or count < self.least:
            return count >= self.most
        low, high = median_interval(samples)
        if self.incumbent_us is not None and low > self.incumbent_us[1]:
            return True
        if count < SETTLED:
            return False
        faster = self.incumbent_us is not None and high < self.incumbent_us[0]
        return faster or narrow(samples)


@dataclass(frozen=True)
class Summary:
    """What the samples of one config say, in microseconds.

    Attributes:
        spread_us: Median absolute deviation from the median, times 1.4826: for normal noise the
            standard deviation of one sample.
        ci_us: 95 % confidence interval of the median; None for a single sample.
    """

    median_us: float
    samples: int
    spread_us: float
    ci_us: Interval | None

    def figures(self) -> dict[str, Any]:
        """Returns what a measurement keeps beside the median."""
        ci_us = None if self.ci_us is None else list(self.ci_us)
        return {"samples": self.samples, "spread_us": self.spread_us, "ci_us": ci_us}


def summarize(samples: Sequence[float]) -> Summary:
    """Returns the statistics of samples [us], at least one."""
    median = statistics.median(samples)
    deviation = statistics.median(abs(sample - median) for sample in samples)
    interval = median_interval(samples) if len(samples) > 1 else None
    return Summary(median, len(samples), MAD_TO_SIGMA * deviation, interval)


def narrow(samples: Sequence[float]) -> bool:
    """Whether samples tell their median well enough for any purpose."""
    low, high = median_interval(samples)
    return high - low <= 2 * TOLERANCE * statistics.median(samples)


def median_interval(samples: Sequence[float]) -> Interval:
    """Returns the 95 % confidence interval of the median of positive samples; of one sample
    everything.
    """
    count = len(samples)
    if count < 2:
        return 0.0, math.inf
    if count not in _T_95:
        return order_interval(samples, CONFIDENCE)
    logs = [math.log(sample) for sample in samples]
    center = statistics.fmean(logs)
    half = _T_95[count] * statistics.stdev(logs, center) / math.sqrt(count)
    return math.exp(center - half), math.exp(center + half)


def order_interval(samples: Sequence[float], confidence: float) -> Interval:
    """Returns the narrowest pair of order statistics, equally far from both ends, that encloses the
    median of any continuous distribution with a confidence; where no pair does, everything.
    """
    cut = _cut(len(samples), confidence)
    if cut is None:
        return -math.inf, math.inf
    ranked = sorted(samples)
    return ranked[cut], ranked[-1 - cut]


@cache
def _cut(count: int, confidence: float) -> int | None:
    """Samples that may be left out at each end: the median is below the (c+1)-th of n samples with
    the chance that at most c of n coin flips are heads.
    """
    allowed, flips = (1 - confidence) / 2, 2**count
    tail, ways, cut = 1, 1, 0
    if tail / flips > allowed:
        return None
    while True:
        ways = ways * (count - cut) // (cut + 1)  # C(count, cut + 1), of the one before
        tail += ways
        if tail / flips > allowed:
            return cut
        cut += 1


def half_width_percent(latency_us: float, figures: Mapping[str, Any]) -> float | None:
    """Returns half the width of a stored interval in percent of the median, where there is one."""
    ci_us = figures.get("ci_us")
    return None if not ci_us else 50 * (ci_us[1] - ci_us[0]) / latency_us
