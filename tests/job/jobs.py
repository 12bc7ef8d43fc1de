"""Jobs of the small kernel."""

from __future__ import annotations

import json
from collections.abc import Callable

from tuner.database import Store, Trial
from tuner.job import Outcome

Tune = Callable[..., Outcome]
"""Tunes the small kernel in this process; see the fixture `tune_small`."""


def stored(outcome: Outcome) -> list[Trial]:
    """The trials of an outcome's study."""
    with Store(outcome.database.parent.parent) as store:
        return store.trials(outcome.study)


def keys(trials: list[Trial]) -> list[str]:
    return [json.dumps(trial.config, sort_keys=True) for trial in trials]
