"""The search of a job: asks, hands out and tells until a rule ends it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tuner.backends import Candidate, Measurement, Status
from tuner.database import REMEASURED, Trial
from tuner.execution import Executor
from tuner.job.stopping import Stopping
from tuner.runtime.rules import Config
from tuner.search import Search

__all__ = ["Keeper", "Searching", "told"]

POLL_S = 0.25
AHEAD = 8
"""Asked and not yet told, for each in flight, where nothing depends on results: enough for one
trial in a hundred to take twenty times as long as the others.
"""


class Keeper(Protocol):
    """Who keeps the trials of a study."""

    def elapsed_s(self) -> float:
        """Returns the seconds of search so far, of all runs of the study."""

    def trial(self, config: Config) -> Trial | None:
        """Returns a finished trial."""

    def candidate(self, number: int, config: Config, best_us: float | None) -> Candidate:
        """Returns what to measure of a config, given the best time so far."""

    def check(self, number: int, trial: Trial) -> Candidate | None:
        """Returns what to check of a trial before it counts as correct; None if nothing."""

    def keep(self, done: Sequence[tuple[Config, Measurement]]) -> None:
        """Commits measurements; only then does anybody learn of them."""

    def keep_check(self, trial: Trial, checked: Measurement) -> Trial:
        """Commits what the check of a trial found, and returns the trial."""


@dataclass
class _Asked:
    """A trial that was asked for and not yet told.

    Attributes:
        back: Whether its time is known.
        checked: Whether its numbers were sent to be checked.
    """

    number: int
    config: Config
    back: bool = False
    latency_us: float | None = None
    checked: bool = False


@dataclass
class Searching:
    """One search.

    The sampler is told in the order of asking, and only when the window of asked trials is full: so
    each proposal depends on the results before it, not on when they arrived, and a run can be
    repeated. What is in flight when a rule ends it is waited for, unless `stop` is set.

    A trial that takes long holds up the telling, and once the window is full the asking: where no
    proposal and no rule depends on results, the window is so wide that workers do not idle for it.
    """

    search: Search
    stopping: Stopping
    executor: Executor
    keeper: Keeper
    stop: threading.Event
    _untold: deque[_Asked] = field(default_factory=deque)
    _in_flight: dict[int, _Asked] = field(default_factory=dict)

    def run(self) -> None:
        """Searches to the end, or until `stop` is set."""
        learns = self.search.learns or self.stopping.learns
        while not self.stop.is_set():
            capacity = self.executor.capacity_ahead
            if self.search.learns:  # the less is in flight, the more each proposal knows
                capacity = self.executor.capacity
            window = capacity if learns or capacity == 1 else AHEAD * capacity
            room = len(self._untold) < window and not self.search.exhausted
            if room and len(self._in_flight) >= capacity:
                self._receive(self.executor.wait(POLL_S))
            elif room and self.stopping.asks(self.keeper.elapsed_s()):
                self._ask()
            elif self._untold and self._untold[0].back:
                self._tell()
            elif self._untold:
                self._receive(self.executor.wait(POLL_S))
            else:
                break

    def _ask(self) -> None:
        """Asks for a config; measures it unless it is known or the budget is used up."""
        asked = _Asked(*self.search.ask())
        trial = self.keeper.trial(asked.config)
        if trial is not None:
            asked.back, asked.latency_us = True, told(trial)
        elif not self.stopping.begins(self.keeper.elapsed_s()):
            return
        else:
            candidate = self.keeper.candidate(asked.number, asked.config, self.search.best_us)
            self._submit(asked, candidate)
        self._untold.append(asked)

    def _tell(self) -> None:
        """Tells the oldest trial; one that reaches the target is checked first."""
        asked = self._untold[0]
        if self.stopping.reaches_target(asked.latency_us) and not asked.checked:
            trial = self.keeper.trial(asked.config)
            assert trial is not None, "it came back"
            check = self.keeper.check(asked.number, trial) if _right(trial) else None
            asked.latency_us = asked.latency_us if _right(trial) else None
            asked.back, asked.checked = check is None, True
            if check is not None:
                self._submit(asked, check)
                return
        self._untold.popleft()
        self.search.tell(asked.number, asked.latency_us)
        self.stopping.tell(asked.latency_us)

    def _submit(self, asked: _Asked, candidate: Candidate) -> None:
        self._in_flight[asked.number] = asked
        self.executor.submit(candidate)

    def _receive(self, measurements: Sequence[Measurement]) -> None:
        done = [(self._in_flight.pop(m.number), m) for m in measurements]
        self.keeper.keep([(asked.config, m) for asked, m in done if not asked.checked])
        for asked, measurement in done:
            trial = self.keeper.trial(asked.config)
            assert trial is not None, "it was just kept"
            if asked.checked:
                trial = self.keeper.keep_check(trial, measurement)
            wrong = asked.checked and not _right(trial)
            asked.back, asked.latency_us = True, None if wrong else told(trial)


def _right(trial: Trial) -> bool:
    """Whether a trial may reach the target: one that was found wrong, or failed, since it was timed
    may not.
    """
    return trial.status == Status.CORRECT


def told(trial: Trial) -> float | None:
    """Returns what the search learns: the time, or what it is at least where it was not worth
    timing; of a trial that was measured again what it learned then, so that a resumed search takes
    the same way.
    """
    if REMEASURED in trial.figures:
        return float(trial.figures[REMEASURED]["latency_us"])
    return trial.latency_us if trial.latency_us is not None else trial.figures.get("bound_us")
