"""What goes between the pool of workers and those who have candidates for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tuner.process import Failure

__all__ = ["Call", "Client", "Kind"]

SLACK_S = 150.0


@dataclass(frozen=True)
class Kind:
    """What a worker is: what its children run, and what its node must have."""

    service: str
    resources: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Call:
    """Some work for one worker.

    Attributes:
        problem: What it is for.
        key: Names the problem.
        candidates: Number and content of each; none only loads the problem.
        deadlines: Seconds by phase of a candidate.
        tag: Whatever the client wants to know it by.
    """

    problem: bytes
    key: bytes
    candidates: list[tuple[int, bytes]]
    deadlines: Mapping[str, float]
    tag: Any = None

    @property
    def longest_s(self) -> float:
        """Seconds after which the worker itself must have broken down."""
        each_s = sum(self.deadlines.values()) + 2 * self.deadlines[""]
        return len(self.candidates) * each_s + SLACK_S


class Client(Protocol):
    """Who has work for the pool; all of this happens under the pool's lock."""

    running: int
    """Calls that workers have of it."""

    def next_call(self, kind: Kind, free: int, busy: bool) -> Call | None:
        """Takes the next call for a worker of a kind, of which so many are free, or so many busy
        with one call only.
        """

    def take(self, call: Call, answers: list[bytes | Failure]) -> None:
        """Learns what came of a call."""

    def lose(self, call: Call, begun: bool, why: str) -> None:
        """Learns that the worker is gone that had a call, and whether it had begun with it."""
