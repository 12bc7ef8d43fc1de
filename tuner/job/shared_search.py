"""The search of a job whose study is shared with other drivers."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from tuner.backends import Measurement, Status
from tuner.database import REMEASURED, Trial
from tuner.execution import Executor
from tuner.job.searching import Keeper, told
from tuner.job.stopping import Stopping
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config
from tuner.search import Search
from tuner.search.shared import Entry, SharedStudy, config_key

__all__ = [
    "FROM",
    "SharedKeeper",
    "SharedSearching",
]

POLL_S = 0.25
READ_EVERY_S = 1.0

FROM = "driver"
"""Figure of a trial that another driver measured: which one."""


class SharedKeeper(Keeper, Protocol):
    """Who keeps the trials of a study that is shared."""

    def finished(self) -> Sequence[Trial]:
        """Returns all finished trials."""

    def learn(self, done: Sequence[tuple[Config, Measurement]]) -> None:
        """Commits what other drivers measured."""

    def say(self, note: str) -> None:
        """Tells what the job is waiting for; empty for nothing any more."""


@dataclass
class _Flying:
    """A config that this driver measures or checks.

    Attributes:
        entry: Its claim; None where another driver had measured it, and it is only checked.
        checked: Whether its numbers were sent to be checked.
    """

    config: Config
    entry: Entry | None
    checked: bool = False


@dataclass
class SharedSearching:
    """One driver's part of a search that several share.

    Every config that any driver claims is known to this one's sampler as running, and its result as
    soon as it is read; results are told as they come, so that nothing is repeatable. The number of
    trials is that of all drivers. At the end it waits for what others still measure, and takes over
    what a dead one has left.
    """

    search: Search
    stopping: Stopping
    executor: Executor
    keeper: SharedKeeper
    stop: threading.Event
    shared: SharedStudy
    _numbers: dict[str, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _flying: dict[int, _Flying] = field(default_factory=dict)
    _spare: list[Config] = field(default_factory=list)
    _entries: Sequence[Entry] = ()
    _read_at: float = float("-inf")

    def run(self) -> None:
        """Searches to the end, or until `stop` is set."""
        try:
            self._take_up()
            while not self.stop.is_set():
                self._learn()
                if (room := self._room()) and (left := self._left()):
                    self._take_over(left[:room])
                elif wanted := min(room, self._wanted()):
                    self._ask(wanted)
                elif self._flying:
                    self._receive(self.executor.wait(POLL_S))
                elif self._over():
                    break
                else:
                    self._wait()
            self._learn(now=True)
        finally:
            with suppress(TunerError):
                self.shared.release(f.entry for f in self._flying.values() if f.entry)
        if not self.search.exhausted and not self.stop.is_set():
            self.stopping.begins(0.0)

    def _take_up(self) -> None:
        """Measures what an earlier run of this driver had begun, and shares what it had not."""
        self._entries = self.shared.read()
        there = {entry.key: entry for entry in self._entries}
        for trial in self.keeper.finished():
            entry = there.get(config_key(trial.config))
            if entry is None:
                self.shared.add(trial.config, _measurement(trial))
            elif self._is_mine(entry):
                self.shared.finish(entry, _measurement(trial))
        self._learn(now=True)
        for entry in self._entries:
            if self._is_mine(entry) and not self.stop.is_set():
                self._submit(entry)

    def _is_mine(self, entry: Entry) -> bool:
        return entry.owner == self.shared.driver and entry.result is None

    def _room(self) -> int:
        """Returns how many more configs may be in flight."""
        if self.stopping.is_late(self.keeper.elapsed_s()):
            self.stopping.rule = self.stopping.rule or "time"
        left = self.executor.capacity - len(self._flying)
        return 0 if self.stopping.rule else max(left, 0)

    def _wanted(self) -> int:
        """Returns how many configs the search may still begin."""
        if self.stopping.is_late(self.keeper.elapsed_s()):
            self.stopping.rule = "time"
            return 0
        left = self.stopping.trials - len(self._entries)
        return max(0, left if not self.search.exhausted else min(left, len(self._spare)))

    def _left(self) -> list[Entry]:
        return [entry for entry in self._entries if self.shared.is_left(entry)]

    def _over(self) -> bool:
        """Whether nothing is left to begin and to wait for."""
        return bool(self.stopping.rule) or all(entry.result for entry in self._entries)

    def _wait(self) -> None:
        count = sum(entry.result is None for entry in self._entries)
        self.keeper.say(f"waiting for {count} config(s) that other drivers measure")
        self.stop.wait(POLL_S)

    def _learn(self, now: bool = False) -> None:
        """Takes what other drivers claimed and finished."""
        if not now and time.monotonic() - self._read_at < READ_EVERY_S:
            return
        self._note(self.shared.read())

    def _note(self, entries: Sequence[Entry]) -> None:
        self._entries, self._read_at = entries, time.monotonic()
        self.stopping.begun = len(entries)
        flying = {config_key(each.config) for each in self._flying.values()}
        new = [e for e in entries if e.key not in self._told and e.key not in flying]
        self.keeper.learn(
            [
                (entry.config, _from(entry))
                for entry in new
                if entry.result is not None and self.keeper.trial(entry.config) is None
            ]
        )
        for entry in new:
            number = self._number(entry.config)
            if entry.result is not None:
                trial = self.keeper.trial(entry.config)
                assert trial is not None, "it was just kept"
                self._settle(number, _Flying(entry.config, None), trial)

    def _number(self, config: Config) -> int:
        """Returns the sampler's number of a config; it learns of it if need be."""
        key = config_key(config)
        if key not in self._numbers:
            self._numbers[key] = self.search.adopt(config)
        return self._numbers[key]

    def _ask(self, count: int) -> None:
        """Claims so many configs and measures those that nobody else had claimed before."""
        asked, self._spare = self._spare[:count], self._spare[count:]
        while len(asked) < count and not self.search.exhausted:
            number, config = self.search.ask()
            self._numbers[config_key(config)] = number
            asked.append(config)
        self._claim(asked, self.stopping.trials)

    def _take_over(self, left: Sequence[Entry]) -> None:
        """Claims what dead drivers have left."""
        self.shared.release(left)
        self._claim([entry.config for entry in left], None)  # one for one

    def _claim(self, configs: Sequence[Config], limit: int | None) -> None:
        entries = {e.key: e for e in self.shared.claim(configs, limit)}
        for config in configs:
            entry = entries.get(config_key(config))
            if entry is None:
                self._spare.append(config)
            elif self._is_mine(entry):
                self._submit(entry)
        self._note(list(entries.values()))

    def _submit(self, entry: Entry) -> None:
        number = self._number(entry.config)
        self._flying[number] = _Flying(entry.config, entry)
        self.stopping.asked += 1
        self.executor.submit(self.keeper.candidate(number, entry.config, self.search.best_us))

    def _receive(self, measurements: Sequence[Measurement]) -> None:
        done = [(self._flying.pop(m.number), m) for m in measurements]
        self.keeper.keep([(each.config, m) for each, m in done if not each.checked])
        for each, measurement in done:
            trial = self.keeper.trial(each.config)
            assert trial is not None, "it was just kept"
            if each.checked:
                trial = self.keeper.keep_check(trial, measurement)
            self._settle(measurement.number, each, trial)

    def _settle(self, number: int, each: _Flying, trial: Trial) -> None:
        """Shares a result and tells it; one that reaches the target is checked before."""
        latency_us = told(trial)
        right = trial.status == Status.CORRECT
        if self.stopping.reaches_target(latency_us):
            check = self.keeper.check(number, trial) if right and not each.checked else None
            if check is not None:
                self._flying[number] = dataclasses.replace(each, checked=True)
                self.executor.submit(check)
                return
            latency_us = latency_us if right else None
        if each.entry is not None:
            self.shared.finish(each.entry, _measurement(trial))
        self._told.add(config_key(each.config))
        self.search.tell(number, latency_us)
        self.stopping.tell(latency_us)


def _measurement(trial: Trial) -> Measurement:
    """Returns a trial as the search was told it."""
    figures = {name: value for name, value in trial.figures.items() if name != REMEASURED}
    before = trial.figures.get(REMEASURED)
    status, latency_us = trial.status, trial.latency_us
    if before is not None:
        status, latency_us = Status.CORRECT, before["latency_us"]
        figures |= {name: value for name, value in before.items() if name != "latency_us"}
    return Measurement(
        trial.number,
        status,
        "",
        latency_us,
        trial.reason,
        figures,
        trial.verified,
        trial.host_s,
    )


def _from(entry: Entry) -> Measurement:
    assert entry.result is not None
    figures = {name: value for name, value in entry.result.figures.items() if name != REMEASURED}
    return dataclasses.replace(entry.result, figures={**figures, FROM: entry.owner})
