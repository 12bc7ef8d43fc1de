"""Which job of a batch may begin, and what it may know of the others.

Jobs that run at the same time must not hear of each other, else results would depend on which was
quicker. So a job hears of exactly those that have surely ended when it begins, by their places in
the file.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from tuner.database import Study
from tuner.job.resuming import job_key

__all__ = ["Order", "began", "seeds_from"]

Identity = tuple[str, ...]
"""Of a job's study, as `job_key` returns it."""


class Order:
    """A window that slides over the jobs in the order of the file.

    A job may begin when all are over that stand `at_once` places before it or further, and all of
    the same workload that stand before it: of these only one may run at a time.

    Args:
        workloads: The workload of each job.
        at_once: How many jobs run at the same time.
    """

    def __init__(self, workloads: Sequence[Hashable], at_once: int) -> None:
        self._workloads = workloads
        self._at_once = at_once
        self._waiting = list(range(len(workloads)))
        self._running: set[int] = set()

    def next(self) -> int | None:
        """Takes the place, from 0, of the first job that may begin; None if none may now."""
        end = min([*self._running, *self._waiting[:1]], default=0) + self._at_once
        taken = {self._workloads[place] for place in self._running}
        for position, place in enumerate(self._waiting):
            if place >= end:
                break
            if self._workloads[place] not in taken:
                self._running.add(place)
                return self._waiting.pop(position)
            taken.add(self._workloads[place])
        return None

    def end(self, place: int) -> None:
        """A job that was taken is over."""
        self._running.remove(place)


def began(studies: Iterable[Study], jobs: Iterable[Identity], now: float) -> float:
    """Returns when a batch began: the same time when it is resumed, as its first study tells."""
    own = set(jobs)
    return min((s.created_at for s in studies if job_key(s.info) in own), default=now)


def seeds_from(
    jobs: Sequence[Identity], place: int, at_once: int, since: float
) -> Callable[[Study], bool]:
    """Returns which studies the job at a place may take configs from: those that are complete, of
    the jobs that stand `at_once` places before it or further, and others from before the batch.

    Args:
        jobs: Every job of the batch.
        place: Place of the job, from 0.
        at_once: How many jobs run at the same time.
        since: When the batch began, as `began` says.
    """
    every, earlier = set(jobs), set(jobs[: max(place - at_once + 1, 0)])

    def takes(study: Study) -> bool:
        if study.finished_at is None:
            return False
        mine = job_key(study.info)
        return mine in earlier if mine in every else study.finished_at <= since

    return takes
