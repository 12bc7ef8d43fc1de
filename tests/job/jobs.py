"""Jobs of the small kernel."""

from __future__ import annotations

import json
from collections.abc import Callable

from tuner.backends import Measurement
from tuner.database import Store, Trial
from tuner.execution import SerialExecutor
from tuner.job import Outcome

Tune = Callable[..., Outcome]
"""Tunes the small kernel in this process; see the fixture `tune_small`."""


def stored(outcome: Outcome) -> list[Trial]:
    """The trials of an outcome's study."""
    with Store(outcome.database.parent.parent) as store:
        return store.trials(outcome.study)


def keys(trials: list[Trial]) -> list[str]:
    return [json.dumps(trial.config, sort_keys=True) for trial in trials]


class Late(SerialExecutor):
    """Brings several at a time, the oldest or the newest first, as workers may."""

    capacity = capacity_ahead = 4
    size = 4
    newest = False

    def wait(self, timeout_s: float | None = None) -> list[Measurement]:
        found = []
        for _ in range(min(self.size, len(self._waiting))):
            self._waiting.rotate(1 if self.newest else 0)
            found += super().wait()
        return found
