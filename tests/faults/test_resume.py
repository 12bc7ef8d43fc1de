from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import write_space
from tests.faults.drivers import new_driver
from tuner.database import Store, Trial, best_trial
from tuner.runtime.errors import TunerError

pytestmark = pytest.mark.faults

SETTINGS: dict[str, dict[str, Any]] = {
    "random": {"sampler": "random", "trials": 18},
    "gp": {"trials": 18},
    "tpe": {"sampler": "tpe", "trials": 18},
    "noisy": {"sampler": "random", "trials": 16, "noise": 0.05, "repeats": 8, "remeasure": 4},
    "noisy gp": {"trials": 14, "noise": 0.05, "repeats": 8, "remeasure": 4},
    "target": {"sampler": "random", "trials": 18, "target_us": 15.0, "verify": "all"},
}
KILLS = 12
COMPARED = ("config", "status", "latency_us", "reason", "verified", "figures")


def drive(space: Path, settings: dict[str, Any], kill_after_s: float | None) -> tuple[bool, float]:
    """Runs a driver, and kills it after so long; returns whether it ended itself, and how long that
    took.
    """
    driver = new_driver(space, settings)
    began = time.monotonic()
    driver.start()
    driver.join(kill_after_s)
    ended = driver.exitcode is not None
    if not ended:
        os.kill(driver.pid, signal.SIGKILL)
        driver.join()
    elif driver.exitcode:
        raise AssertionError(f"the driver ended with {driver.exitcode}")
    return ended, time.monotonic() - began


def stored(results: Path) -> list[Trial]:
    """The trials of the only study, by number; none before there is one."""
    try:
        with Store(results) as store:
            studies = store.studies()
            assert len(studies) <= 1
            return store.trials(studies[0].id) if studies else []
    except TunerError as error:
        if "no results in" not in str(error):
            raise
        return []


def told(trials: list[Trial]) -> list[tuple[Any, ...]]:
    return [tuple(getattr(trial, name) for name in COMPARED) for trial in trials]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_job_that_is_killed_again_and_again_ends_like_one_that_was_not(
    name: str, tmp_path: Path, record_faults: Counter[str], amount: Callable[[int], int]
) -> None:
    space = write_space(tmp_path)
    settings = {"ray": "serial", "seed": 4, **SETTINGS[name]}
    whole = tmp_path / "whole"
    drive(space, {**settings, "results": str(whole)}, None)
    _, needs_s = drive(space, {**settings, "results": str(tmp_path / "again")}, None)
    expected = told(stored(whole))
    assert told(stored(tmp_path / "again")) == expected
    chance = random.Random(name)
    kills = jobs = 0
    while kills < amount(KILLS):
        results, ended, before = tmp_path / f"job-{jobs}", False, list[Trial]()
        while not ended:
            after_s = chance.uniform(0, needs_s) if kills < amount(KILLS) else None
            ended, _ = drive(space, {**settings, "results": str(results)}, after_s)
            kills += not ended
            now = stored(results)
            kept = [(t.number, t.config, t.finished_at) for t in now[: len(before)]]
            assert kept == [(t.number, t.config, t.finished_at) for t in before]
            before = now
        assert told(before) == expected
        assert best_trial(before) is not None
        jobs += 1
    record_faults["driver killed"] += kills
