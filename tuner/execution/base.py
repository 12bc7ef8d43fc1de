"""What an executor is, and the simplest one."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from tuner.backends import Candidate, Measurement, Problem, evaluate, load_backend

__all__ = ["Executor", "SerialExecutor"]


class Executor(Protocol):
    """Takes candidates and brings their measurements, in any order, each once."""

    @property
    def capacity(self) -> int:
        """Candidates in flight that keep all workers busy: one each, and a few on their way."""

    @property
    def capacity_ahead(self) -> int:
        """The same where no candidate depends on another's result: more, if workers take several
        at a time.
        """

    def submit(self, candidate: Candidate) -> None:
        """Takes a candidate."""

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        """Returns at least one measurement, or none when the time is over or nothing is in
        flight.
        """

    def close(self) -> None:
        """Drops what is in flight and frees everything; may be called twice."""


class SerialExecutor:
    """Runs candidates one after the other in this process. It has no deadline and no isolation.

    Raises:
        TunerError: The kernel's file cannot be loaded.
    """

    capacity = capacity_ahead = 1

    def __init__(self, problem: Problem) -> None:
        self._backend = load_backend(problem)
        self._waiting: deque[Candidate] = deque()

    def submit(self, candidate: Candidate) -> None:
        """Takes a candidate."""
        self._waiting.append(candidate)

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        """Runs the oldest candidate to its end, whatever the timeout."""
        return [evaluate(self._backend, self._waiting.popleft())] if self._waiting else []

    def close(self) -> None:
        """Drops what waits."""
        self._waiting.clear()
