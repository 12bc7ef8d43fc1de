"""What the trials of a run say: how busy the workers were, and what the driver can keep up with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Busy", "Model", "Point", "Sleep", "busy", "fit", "slope"]

EASY = 0.5
"""A run with less than this share of what the cores can do is not held up by them."""


@dataclass(frozen=True)
class Sleep:
    """One trial as the worker saw it, in seconds of the machine's monotonic clock."""

    began_s: float
    ended_s: float


@dataclass(frozen=True)
class Busy:
    """How busy the workers of a run were.

    Steady is from when as many trials as there are workers have begun until the last trial begins:
    all the time there is a trial for every worker, so that a worker that sleeps none is a loss.

    Attributes:
        steady_s: Length of the steady part.
        share: Useful seconds of the steady part over workers times its length.
        whole: The same from the first trial's begin to the last one's end.
        tail_s: From the last begin to the last end.
        per_s: Trials begun a second in the steady part.
    """

    steady_s: float
    share: float
    whole: float
    tail_s: float
    per_s: float


def busy(sleeps: Sequence[Sleep], workers: int, seconds: float) -> Busy:
    """Returns how busy workers were.

    Args:
        sleeps: All trials of a run.
        workers: Those that were asked for, whether they came or not.
        seconds: What a trial was to sleep; what it slept longer is no use.

    Raises:
        ValueError: No part of the run is steady.
    """
    begins = sorted(sleep.began_s for sleep in sleeps)
    if len(begins) < 2 * workers:
        raise ValueError(f"{len(begins)} trials: expected at least two for each of {workers}")
    begin, end, last = begins[workers - 1], begins[-1], max(s.ended_s for s in sleeps)
    useful = sum(
        max(min(s.ended_s, end) - max(s.began_s, begin), 0.0)
        * min(seconds / max(s.ended_s - s.began_s, 1e-9), 1.0)
        for s in sleeps
    )
    return Busy(
        steady_s=end - begin,
        share=useful / (workers * (end - begin)),
        whole=len(sleeps) * seconds / (workers * (last - begins[0])),
        tail_s=last - end,
        per_s=(len(begins) - workers) / (end - begin),
    )


def slope(marks: Sequence[tuple[int, float]], trials: int) -> float:
    """Returns what a trial costs when so many are finished: from a fifth fewer to a fifth more, or
    what there is of it.

    Args:
        marks: (finished trials, what they cost so far), rising.
        trials: Finished trials.
    """
    first, before = max((m for m in marks if m[0] <= 0.8 * trials), default=marks[0])
    last, after = min((m for m in marks if m[0] >= 1.2 * trials), default=marks[-1])
    return (after - before) / (last - first) if last > first else math.nan


@dataclass(frozen=True)
class Model:
    """How many trials a second the driver gets through: as many as the workers finish, until they
    are more than one process can look after.

    Attributes:
        gap_s: Between two trials of a worker.
        driver_s: CPU seconds of the driver for a trial.
        others_s: CPU seconds of Ray and the workers for a trial, on the driver's machine.
        idle: Cores that Ray keeps busy for each worker, whatever that does.
        cores: Cores that all of them share.
    """

    gap_s: float
    driver_s: float
    others_s: float
    idle: float
    cores: int

    @property
    def driver_per_s(self) -> float:
        """Trials a second at which the driver is all busy."""
        return 1 / self.driver_s

    def machine_per_s(self, workers: int) -> float:
        """Returns trials a second at which the cores are, where all processes are on one
        machine.
        """
        return max(self.cores - self.idle * workers, 0.0) / (self.driver_s + self.others_s)

    def per_s(self, workers: int, seconds: float) -> float:
        """Returns trials a second of so many workers on one machine."""
        asked = workers / (seconds + self.gap_s)
        return min(asked, self.driver_per_s, self.machine_per_s(workers))

    def workers(self, seconds: float) -> float:
        """Returns how many workers one driver keeps busy where they have machines of their own."""
        return (seconds + self.gap_s) / self.driver_s


@dataclass(frozen=True)
class Point:
    """What a run says to the model.

    Attributes:
        per_s: Trials a second.
        driver_s: CPU seconds of the driver for a trial.
        others_s: Those of the other processes.
    """

    workers: int
    seconds: float
    per_s: float
    driver_s: float
    others_s: float


def fit(points: Sequence[Point], saturated: Point, cores: int) -> Model:
    """Fits the model.

    Args:
        points: Runs of any number of workers.
        saturated: The one that says what a trial costs: its trials take no time, and beside so many
            of them the rest is little.
        cores: Cores of the machine.
    """
    most = max(points, key=lambda point: point.workers)  # what Ray takes for itself counts least
    idle = max(most.others_s - saturated.others_s, 0.0) * most.per_s / most.workers
    bare = Model(0.0, saturated.driver_s, saturated.others_s, idle, cores)
    free = [p for p in points if p.per_s < EASY * bare.machine_per_s(p.workers)]
    gaps = [p.workers / p.per_s - p.seconds for p in free]
    return dataclasses.replace(bare, gap_s=max(median(gaps), 0.0) if gaps else 0.0)
