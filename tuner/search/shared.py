"""A study that several drivers share: who tries which config, and what came out.

It is a study of Optuna in a database. A driver claims a config by adding a trial that runs; the
database numbers trials one after the other, so of two claims of one config everybody sees which was
first, and only that counts. A trial that ended without a result is void: its config is free again.
All of it is JSON: what is read is checked, and nothing of it is run.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from optuna import create_study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from tuner.backends import Measurement, Status
from tuner.runtime.rules import Config
from tuner.search.heartbeat import Heartbeat
from tuner.search.history import row_of
from tuner.search.storage import Link, connect
from tuner.space import SearchSpace

__all__ = ["Entry", "SharedStudy", "config_key", "plain", "shared_study"]

OWNER, RESULT, ABOUT = "nki-tuner:owner", "nki-tuner:result", "nki-tuner:about"
MAX_TEXT, MAX_RESULT = 500, 100_000


def config_key(config: Config) -> str:
    """Returns a text that two configs share only if they are the same."""
    return json.dumps(config, sort_keys=True)


class _Result(msgspec.Struct, frozen=True):
    """A measurement as the study holds it; fields as in `Measurement`."""

    status: Status
    kind: str
    latency_us: float | None
    reason: str
    verified: bool
    figures: dict[str, Any]
    host_s: dict[str, float]


class _Figures(msgspec.Struct, frozen=True):
    """The figures that are more than shown."""

    error_percent: float | None = None
    samples: int = 1
    spread_us: float | None = None
    ci_us: tuple[float, float] | None = None
    bound_us: float | None = None


@dataclass(frozen=True)
class Entry:
    """A config that somebody tries or has tried.

    Attributes:
        trial: Optuna's number of its trial, in the whole database.
        owner: The driver that tries it.
        result: What came out; None while it runs.
    """

    trial: int
    config: Config
    key: str
    owner: str
    result: Measurement | None


@dataclass
class SharedStudy:
    """One driver's view of a study that it shares.

    Attributes:
        name: The study's name in the database.
        others: What the storage's newest other study of the workload was made of; None where this
            study was there before, or no other is.
        driver: Name of this driver; empty before it joined.
    """

    link: Link
    name: str
    space: SearchSpace
    study: int
    others: Mapping[str, Any] | None = None
    driver: str = ""
    heartbeat: Heartbeat | None = None
    _finished: dict[int, Entry | None] = field(default_factory=dict)
    _distributions: dict[str, BaseDistribution] = field(init=False)

    def __post_init__(self) -> None:
        self._distributions = {
            parameter.name: CategoricalDistribution(parameter.values)
            for parameter in self.space.parameters
        }

    def join(self, driver: str, seed: int = 0) -> int:
        """Takes part from now on, under a name, and returns the seed that goes with it: drivers
        with one and the same would propose the same configs.
        """
        self.driver = driver
        self.heartbeat = Heartbeat(self.link, self.study, driver)
        self.link.call(self.heartbeat.start)
        return seed ^ zlib.crc32(driver.encode())

    def leave(self) -> None:
        """Takes part no longer."""
        if self.heartbeat is not None:
            self.heartbeat.stop()

    def read(self) -> list[Entry]:
        """Returns the configs that were tried or are, each once, in the order of their claims.

        Raises:
            TunerError: The database cannot be read, or another process is this driver too.
        """
        if self.heartbeat is not None:
            self.heartbeat.check()
        trials = self.link.call(self.link.storage.get_all_trials, self.study, deepcopy=False)
        found: dict[str, Entry] = {}
        for trial in trials:
            entry = self._entry(trial)
            if entry is not None:
                found.setdefault(entry.key, entry)
        return list(found.values())

    def claim(self, configs: Sequence[Config], limit: int | None = None) -> list[Entry]:
        """Claims configs, and returns all that are in the study then: among them those that are
        this driver's, and those where another was quicker.

        Args:
            configs: What this driver would try.
            limit: Configs that the study may have; claims beyond it are withdrawn.
        """
        made = {self._add(config, TrialState.RUNNING) for config in configs}
        wanted = {config_key(config) for config in configs}
        kept = self.read()
        for place, entry in enumerate(kept):
            beyond = limit is not None and place >= limit
            if entry.owner == self.driver and entry.key in wanted and not beyond:
                made.discard(entry.trial)
        for trial in made:
            self._void(trial)
        return [entry for entry in kept if entry.trial not in made]

    def finish(self, entry: Entry, result: Measurement) -> None:
        """Stores what came out of a config that this driver had claimed.

        Where it was taken over meanwhile, the result is stored beside, and counts if it is the
        first.
        """
        told = _written(result)
        storage = self.link.storage
        state, values = _ended(result)
        try:
            self.link.call(storage.set_trial_user_attr, entry.trial, RESULT, told)
            self.link.call(storage.set_trial_state_values, entry.trial, state, values)
        except UpdateFinishedTrialError:
            self.add(entry.config, result)

    def add(self, config: Config, result: Measurement) -> None:
        """Stores what came out of a config that nobody had claimed."""
        self._add(config, _ended(result)[0], result)

    def release(self, entries: Iterable[Entry]) -> None:
        """Gives up configs whose result will not come: another may try them."""
        for entry in entries:
            self._void(entry.trial)

    def is_left(self, entry: Entry) -> bool:
        """Whether a config runs with a driver that is dead."""
        dead = self.heartbeat is not None and self.heartbeat.dead(entry.owner)
        return dead and entry.result is None and entry.owner != self.driver

    def _add(self, config: Config, state: TrialState, result: Measurement | None = None) -> int:
        attributes: dict[str, Any] = {OWNER: self.driver}
        values = None
        if result is not None:
            attributes[RESULT] = _written(result)
            values = _ended(result)[1]
        template = FrozenTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=datetime.now(),
            datetime_complete=datetime.now() if state.is_finished() else None,
            params=dict(config),
            distributions={name: self._distributions[name] for name in config},
            user_attrs=attributes,
            system_attrs={},
            intermediate_values={},
        )
        return self.link.call(self.link.storage.create_new_trial, self.study, template)

    def _void(self, trial: int) -> None:
        try:
            self.link.call(self.link.storage.set_trial_state_values, trial, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return  # somebody was quicker, or its result came after all

    def _entry(self, trial: FrozenTrial) -> Entry | None:
        """Returns what a trial says; None where it is void, or no config of the space."""
        if trial.number in self._finished:
            return self._finished[trial.number]
        result = _read(trial) if trial.state.is_finished() else None
        void = trial.state.is_finished() and result is None
        row = -1 if void else row_of(self.space, trial.params)
        entry = None
        if row >= 0:
            owner = plain(str(trial.user_attrs.get(OWNER, "")))
            config = self.space.config(row)
            entry = Entry(trial._trial_id, config, config_key(config), owner, result)
        if trial.state.is_finished():
            self._finished[trial.number] = entry
        return entry


@contextmanager
def shared_study(
    url: str, name: str, about: Mapping[str, Any], space: SearchSpace
) -> Iterator[SharedStudy]:
    """Opens a study in a database, and makes it where it is not there yet.

    Args:
        url: The database.
        name: The study's name; drivers that give the same one share it.
        about: What the study is made of, for people and `SharedStudy.others`; its "workload" tells
            the studies that are comparable but for their settings.
        space: The search space.

    Raises:
        TunerError: The URL is wrong, or the database cannot be used.
    """
    with connect(url) as link:
        known = link.call(link.storage.get_all_studies)
        similar = [s for s in known if _about(s.user_attrs).get("workload") == about["workload"]]
        there = any(study.study_name == name for study in known)
        study = link.call(create_study, storage=link.storage, study_name=name, load_if_exists=True)
        if not there:
            link.call(study.set_user_attr, ABOUT, dict(about))
        newest = max(similar, key=lambda each: each._study_id, default=None)
        others = None if there or newest is None else _about(newest.user_attrs)
        shared = SharedStudy(link, name, space, study._study_id, others)
        try:
            yield shared
        finally:
            shared.leave()


def _about(attributes: Mapping[str, Any]) -> dict[str, Any]:
    about = attributes.get(ABOUT)
    return about if isinstance(about, dict) else {}


def _ended(result: Measurement) -> tuple[TrialState, list[float] | None]:
    """Returns how Optuna calls a result: a failure is one to people who look at the study."""
    if result.latency_us is None:
        return TrialState.FAIL, None
    return TrialState.COMPLETE, [result.latency_us]


def _written(result: Measurement) -> dict[str, Any]:
    names = _Result.__struct_fields__
    return {name: value for name, value in asdict(result).items() if name in names}


def _read(trial: FrozenTrial) -> Measurement | None:
    """Returns the result of a finished trial; None where it has none, or none that can be."""
    try:
        told = msgspec.convert(trial.user_attrs.get(RESULT), _Result)
        msgspec.convert(told.figures, _Figures)
        if len(json.dumps(trial.user_attrs[RESULT])) > MAX_RESULT:
            return None
    except (msgspec.ValidationError, ValueError):
        return None
    time_us = told.latency_us
    if time_us is not None and not (math.isfinite(time_us) and time_us > 0):
        return None
    if (time_us is not None) > (told.status == Status.CORRECT):
        return None
    return Measurement(
        trial.number,
        told.status,
        plain(told.kind),
        time_us,
        plain(told.reason),
        told.figures,
        told.verified,
        told.host_s,
    )


def plain(text: str) -> str:
    """Returns a text that may be shown: one line, without what steers a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_TEXT])
