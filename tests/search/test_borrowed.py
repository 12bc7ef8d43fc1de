from __future__ import annotations

import logging
from importlib.util import find_spec

import numpy as np
import optuna
import pytest

from tests.search.studies import block_space, mean_best, run, small_space, smooth
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config
from tuner.search import Search, suggest
from tuner.search.borrowed import BorrowedSampler, optuna_samplers


def test_the_samplers_of_optuna_that_need_no_more_than_a_seed() -> None:
    known = {"CmaEsSampler", "NSGAIISampler", "QMCSampler", "RandomSampler", "TPESampler"}
    assert known <= set(optuna_samplers())
    assert not {"BaseSampler", "GridSampler", "PartialFixedSampler"} & set(optuna_samplers())


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_what_is_not_installed_is_said_in_one_line() -> None:
    with pytest.raises(TunerError, match=r"sampler GPSampler cannot be used here: .*torch") as told:
        run(Search(small_space(), "GPSampler"), 20, lambda config: 1.0)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("sampler", ["QMCSampler", "CmaEsSampler"])
def test_conditional_parameters_bring_no_warnings(
    sampler: str, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("optuna")
    logger.addHandler(caplog.handler)
    run(Search(small_space(), sampler), 15, lambda config: float(config["width"]))
    logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == []


def test_tpe_finds_better_configs_than_chance() -> None:
    space = block_space()
    ours, chance = (mean_best(space, s, 60, smooth) for s in ("TPESampler", "random"))
    assert ours - 10 < 0.8 * (chance - 10)


def test_tpe_avoids_failures() -> None:
    def time(config: Config) -> float | None:
        return 10.0 if config["cache"] else None

    late = run(Search(block_space(), "TPESampler", 1), 50, time)[25:]
    assert sum(time(config) is None for config in late) < 0.3 * len(late)


def test_failures_are_told_to_optuna_as_slow_and_are_never_the_best() -> None:
    space = small_space()
    search = Search(space, "TPESampler")
    for latency_us in (None, 5.0, None):
        search.tell(search.ask()[0], latency_us)
    assert [trial.value for trial in search._study.trials] == [2e6, 5.0, 10.0]
    assert search.best_us == 5.0


def test_a_proposal_is_the_nearest_valid_config_that_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = small_space()
    wanted: Config = {"width": 8, "order": "nm", "keep": True, "depth": 2.0}  # breaks a constraint

    def same(self: object, study: object, trial: object, name: str, values: object) -> object:
        return wanted[name]

    monkeypatch.setattr(optuna.samplers.RandomSampler, "sample_independent", same)
    sampler = BorrowedSampler("RandomSampler", space, default=False)
    study = optuna.create_study(sampler=sampler)
    rows = [space.row(suggest(study.ask(), space)) for _ in range(3)]
    taken = np.zeros(len(space), bool)
    for row in rows:
        assert row == space.nearest(wanted, taken)
        taken[row] = True
