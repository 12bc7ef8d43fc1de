from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import KERNEL
from tests.job.jobs import stored
from tuner.backends import Measurement, Status
from tuner.database import Store
from tuner.job import Job, Outcome, prepare, tune
from tuner.job.warm_start import Seed, nearby, seeds_of, settings_of
from tuner.runtime.rules import Config

TuneAt = Callable[..., Outcome]


@pytest.fixture
def tune_at(tmp_path: Path, space_file: Path) -> TuneAt:
    """Tunes the small kernel for a shape."""

    def call(shape: str, **settings: Any) -> Outcome:
        chosen = {"results": str(tmp_path / "results"), "ray": "serial", "trials": 6, **settings}
        return tune(str(space_file), shape, **chosen)

    return call


class Records:
    """A database into which a test puts the best config of workloads."""

    def __init__(self, folder: Path, space_file: Path) -> None:
        self.space_file = space_file
        self.store = Store(folder, create=True)

    def add(self, shape: str, config: Config, latency_us: float | None = 10.0, **job: Any) -> None:
        info = prepare(Job(str(self.space_file), shape, **job)).info
        study = self.store.start(info)
        status = Status.COMPILE if latency_us is None else Status.CORRECT
        done = Measurement(0, status, "simulated", latency_us)
        self.store.append(study.id, [(config, done)])

    def near(self, shape: str, **job: Any) -> list[Seed]:
        prepared = prepare(Job(str(self.space_file), shape, **job))
        return nearby(self.store, prepared.info, prepared.space)


@pytest.fixture
def records(tmp_path: Path, space_file: Path) -> Records:
    return Records(tmp_path / "results", space_file)


def config(columns: int, buffers: int = 2) -> Config:
    engine = {} if columns == 64 else {"engine": "vector"}
    return {"columns": columns, "buffers": buffers, **engine, "fault": "none"}


def test_the_nearest_workloads_come_first_and_not_more_than_three(records: Records) -> None:
    records.add("M=4096,N=512", config(512))
    records.add("M=512,N=512", config(256))
    records.add("M=256,N=4096", config(128))
    records.add("M=128,N=1024", config(64))
    assert records.near("M=256,N=512") == [
        Seed("M=512,N=512", config(256)),
        Seed("M=128,N=1024", config(64)),
        Seed("M=256,N=4096", config(128)),
    ]


def test_of_several_studies_the_best_trial_is_taken(records: Records) -> None:
    records.add("M=512,N=512", config(256), 12.0)
    records.add("M=512,N=512", config(128), 11.0, seed=1)
    records.add("M=512,N=512", config(512), None, seed=2)
    assert records.near("M=256,N=512") == [Seed("M=512,N=512", config(128))]


def test_what_is_not_valid_here_becomes_the_nearest_that_is(records: Records) -> None:
    records.add("M=256,N=512", config(512))
    assert records.near("M=256,N=128") == [Seed("M=256,N=512", config(128))]


def test_seeds_are_distinct_and_not_the_default(records: Records) -> None:
    records.add("M=512,N=512", config(64, buffers=1))  # the default
    records.add("M=1024,N=512", config(256))
    records.add("M=2048,N=512", config(256))
    records.add("M=4096,N=512", config(512))
    records.add("M=8192,N=512", config(128))
    assert records.near("M=256,N=512") == [
        Seed("M=1024,N=512", config(256)),
        Seed("M=4096,N=512", config(512)),
        Seed("M=8192,N=512", config(128)),
    ]


def test_only_what_can_be_compared_counts(records: Records, tmp_path: Path) -> None:
    records.add("M=512,N=512", config(512), device="trn1")
    records.add("M=512,N=512", config(512), dtype="bfloat16")
    records.add("M=512,N=512", config(512), policy="beta1")
    records.add("M=512,N=512", config(512), None)
    records.add("M=256,N=512", config(512))  # the workload itself
    assert records.near("M=256,N=512") == []
    assert records.near("M=256,N=512", device="trn1") == [Seed("M=512,N=512", config(512))]
    (tmp_path / "double.py").write_text(KERNEL.replace("buffers=1", "buffers=2"))
    assert records.near("M=256,N=512", device="trn1") == []


def test_settings_keep_seeds() -> None:
    seeds = [Seed("M=512,N=512", config(512)), Seed("M=1024,N=512", config(64))]
    assert seeds_of(settings_of(seeds)) == seeds
    assert seeds_of({"seed": 0}) == []


def configs(outcome: Outcome) -> list[Config]:
    return [trial.config for trial in stored(outcome)]


@pytest.mark.parametrize("sampler", ["tpe", "random", "exhaustive"])
def test_seeds_are_tried_right_after_the_default(tune_at: TuneAt, sampler: str) -> None:
    near = tune_at("M=512,N=512", trials=21)
    assert near.best is not None
    assert near.seeds == ()
    outcome = tune_at("M=256,N=512", sampler=sampler)
    default = outcome.default.config if outcome.default else None
    assert outcome.seeds == (Seed("M=512,N=512", near.best.config),)
    assert configs(outcome)[:2] == [default, near.best.config]


def test_without_a_warm_start_no_other_workload_counts(tune_at: TuneAt) -> None:
    cold = configs(tune_at("M=256,N=512", sampler="random"))
    tune_at("M=512,N=512", trials=21)
    again = tune_at("M=256,N=512", sampler="random", warm_start=False)
    assert again.seeds == ()
    assert configs(again) == cold


def test_a_resumed_study_keeps_its_seeds(tune_at: TuneAt) -> None:
    """Whatever the database holds by then."""
    tune_at("M=512,N=512", trials=21)
    warm = tune_at("M=256,N=512", trials=8, sampler="random")
    first = tune_at("M=256,N=512", trials=3, sampler="random", seed=1)
    tune_at("M=128,N=512", trials=21, warm_start=False)
    tune_at("M=256,N=256", trials=15, warm_start=False)
    resumed = tune_at("M=256,N=512", trials=8, sampler="random", resume=True)
    assert (resumed.study, resumed.seeds, resumed.measured) == (warm.study, warm.seeds, 0)
    more = tune_at("M=256,N=512", trials=8, sampler="random", seed=1, resume=True)
    assert (more.study, more.seeds, more.measured) == (first.study, warm.seeds, 5)
    assert configs(more)[1] == warm.seeds[0].config
    cold = tune_at("M=256,N=512", trials=9, sampler="random", resume=True, warm_start=False)
    assert (cold.study, cold.seeds, cold.measured) == (warm.study, warm.seeds, 1)


def test_a_study_without_seeds_gets_none_when_it_is_resumed(tune_at: TuneAt) -> None:
    first = tune_at("M=256,N=512", trials=2)
    tune_at("M=512,N=512", trials=21)
    resumed = tune_at("M=256,N=512", trials=4, resume=True)
    assert (resumed.study, resumed.seeds, resumed.trials) == (first.study, (), 4)
