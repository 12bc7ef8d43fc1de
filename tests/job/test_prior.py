from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.backends.small_kernel import CONFIGS, SHAPE, write_space
from tests.job.hardware import STRETCH, install_hardware
from tests.job.jobs import Tune, keys, stored
from tests.job.recordings import record, space_of
from tuner.backends.recording import read_recording, write_recording
from tuner.database import Store
from tuner.job import Outcome, Progress, prior, run
from tuner.job import record as record_all
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config, Parameter
from tuner.search import Search
from tuner.space import SearchSpace

Times = npt.NDArray[np.float64]


class Guided(Search):
    """Keeps the prior that it was given."""

    given: list[Times | None] = []

    def __init__(self, *arguments: Any, prior: Times | None = None, **more: Any) -> None:
        super().__init__(*arguments, prior=prior, **more)
        self.given.append(prior)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Times | None]:
    """The priors of the searches of a test."""
    monkeypatch.setattr(Guided, "given", [])
    monkeypatch.setattr(run, "Search", Guided)
    return Guided.given


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    install_hardware(monkeypatch)


def by_config(space: SearchSpace, times: Times | None) -> dict[str, float]:
    assert times is not None
    return {json.dumps(space.config(row), sort_keys=True): times[row] for row in range(len(space))}


def times_of(outcome: Outcome) -> dict[str, float | None]:
    trials = stored(outcome)
    return dict(zip(keys(trials), [trial.latency_us for trial in trials], strict=True))


@pytest.mark.usefixtures("hardware")
def test_measured_jobs_are_guided_by_the_simulator(
    tune_small: Tune, space_file: Path, given: list[Times | None]
) -> None:
    outcome = tune_small(backend="hardware", trials=9)
    simulated = by_config(space_of(space_file), given[0])
    assert outcome.kind == "measured"
    assert outcome.prior.startswith("simulator: 21 of 21 configs known; took ")
    timed = {key: time for key, time in times_of(outcome).items() if time is not None}
    assert len(timed) > 3
    assert {key: simulated[key] * STRETCH for key in timed} == pytest.approx(timed)


@pytest.mark.usefixtures("hardware")
def test_what_fails_in_the_simulator_is_predicted_to_fail(
    tune_small: Tune, tmp_path: Path, given: list[Times | None]
) -> None:
    space_file = write_space(tmp_path, ("none", "raises"))
    outcome = tune_small(backend="hardware", trials=5)
    simulated = by_config(space_of(space_file), given[0])
    assert len(simulated) == 2 * CONFIGS
    assert all((time == np.inf) == ("raises" in key) for key, time in simulated.items())
    assert outcome.prior.startswith(
        f"simulator: 42 of 42 configs known, {CONFIGS} of them failing;"
    )


@pytest.mark.usefixtures("hardware")
def test_of_a_large_space_a_part_is_simulated(
    tune_small: Tune, given: list[Times | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prior, "MAX_SIMULATED", 7)
    first = tune_small(backend="hardware", trials=3)
    tune_small(backend="hardware", trials=4, resume=True)
    tune_small(backend="hardware", trials=3, seed=1)
    assert first.prior.startswith("simulator: 7 of 21 configs known;")
    known = [np.flatnonzero(~np.isnan(times)).tolist() for times in given if times is not None]
    assert [len(rows) for rows in known] == [7, 7, 7]
    assert known[0] == known[1] != known[2]


@pytest.mark.usefixtures("hardware")
def test_without_a_prior_nothing_is_simulated(tune_small: Tune, given: list[Times | None]) -> None:
    assert tune_small(backend="hardware", prior="none").prior == ""
    told = tune_small(backend="hardware", sampler="random").prior
    assert told == "simulator: the sampler random takes none"
    assert given == [None, None]


def test_a_simulated_job_has_no_prior(tune_small: Tune, given: list[Times | None]) -> None:
    assert tune_small().prior == ""
    assert given == [None]


@pytest.fixture
def recorded(tmp_path: Path, space_file: Path) -> Path:
    """Five configs of the small kernel, one of which failed."""
    path = tmp_path / "other.npz"
    record(path, space_of(space_file), {0: 5.0, 3: 4.0, 7: 3.0, 8: np.inf, 20: 2.0})
    return path


def test_a_recording_is_matched_by_values(
    tune_small: Tune, recorded: Path, given: list[Times | None]
) -> None:
    outcome = tune_small(prior=str(recorded))
    (times,) = given
    assert times is not None
    rows = np.flatnonzero(~np.isnan(times)).tolist()
    assert dict(zip(rows, times[rows].tolist(), strict=True)) == {
        0: 5.0,
        3: 4.0,
        7: 3.0,
        8: np.inf,
        20: 2.0,
    }
    assert outcome.prior.startswith(f"{recorded}: 5 of 21 configs known, 1 of them failing; took ")


def test_the_prior_is_part_of_what_a_study_is(tune_small: Tune, recorded: Path) -> None:
    first = tune_small(trials=2, prior=str(recorded))
    moved = recorded.with_name("moved.npz")
    recorded.rename(moved)
    resumed = tune_small(trials=4, prior=str(moved), resume=True)
    assert (resumed.study, resumed.measured) == (first.study, 2)
    with pytest.raises(TunerError, match=r"cannot resume study 1: prior was \w+, is None"):
        tune_small(trials=4, resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"prior": "simulator"},
            "prior 'simulator': the simulator cannot be its own prior; expected none or the path "
            "of a recording",
        ),
        ({"prior": "simulater"}, "unknown prior 'simulater'; did you mean simulator?"),
        ({"prior": "no/such.npz"}, "unknown prior 'no/such.npz'"),
        ({"prior": "double.toml"}, "prior double.toml: no recording: neither npz nor JSON"),
    ],
)
def test_a_wrong_prior_is_an_error_that_says_what_is_right(
    tune_small: Tune,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TunerError) as error:
        tune_small(**settings)
    assert message in str(error.value)
    assert not (tmp_path / "results").exists()


def other_space(rows: list[list[int]], **values: tuple[Any, ...]) -> SearchSpace:
    parameters = [Parameter(name, given, given[0]) for name, given in values.items()]
    return SearchSpace.of_rows(parameters, np.array(rows))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            other_space([[0, 0]], columns=(64,), tiles=(1,)),
            "its parameters are tiles, columns; expected columns, buffers, engine, fault",
        ),
        (
            other_space(
                [[0, 0, 0, 0]], columns=(64,), buffers=(9,), engine=("vector",), fault=("none",)
            ),
            "none of its configs is valid here",
        ),
    ],
)
def test_a_recording_of_something_else_is_refused(
    tune_small: Tune, tmp_path: Path, space: SearchSpace, message: str
) -> None:
    record(tmp_path / "other.npz", space, {0: 1.0})
    with pytest.raises(TunerError) as error:
        tune_small(prior=str(tmp_path / "other.npz"))
    assert message in str(error.value)


def test_a_recording_is_the_prior_of_its_own_space(
    tune_small: Tune, tmp_path: Path, space_file: Path, given: list[Times | None]
) -> None:
    path = tmp_path / "own.npz"
    record_all(str(space_file), SHAPE, path)
    assert read_recording(path).meta["fixed"] == {"fault": "none"}
    outcome = tune_small(prior=str(path), trials=5)
    assert outcome.prior.startswith(f"{path}: 21 of 21 configs known; ")
    assert min(by_config(space_of(space_file), given[0]).values()) == pytest.approx(
        read_recording(path).optimum_us
    )


def test_a_fixed_value_must_be_the_same(tune_small: Tune, tmp_path: Path, space_file: Path) -> None:
    record_all(str(space_file), SHAPE, tmp_path / "own.npz")
    mine = read_recording(tmp_path / "own.npz")
    other = {**mine.meta, "fixed": {"fault": "raises"}, "default": None}
    write_recording(dataclasses.replace(mine, meta=other), tmp_path / "other.npz")
    with pytest.raises(TunerError, match="none of its configs is valid here"):
        tune_small(prior=str(tmp_path / "other.npz"))


def test_of_more_values_than_the_fixed_one_only_that_one_is_known(
    tune_small: Tune, tmp_path: Path, space_file: Path, given: list[Times | None]
) -> None:
    record_all(str(space_file), SHAPE, tmp_path / "own.npz")
    wide = write_space(tmp_path, ("none", "raises"))
    tune_small(prior=str(tmp_path / "own.npz"), trials=2)
    times = by_config(space_of(wide), given[0])
    assert len(times) == 2 * CONFIGS
    assert all(np.isnan(time) == ("raises" in key) for key, time in times.items())


@pytest.mark.usefixtures("hardware")
def test_ctrl_c_during_the_prior_leaves_no_study(tune_small: Tune, tmp_path: Path) -> None:
    def report(progress: Progress) -> None:
        if progress.note and not progress.stopping:
            assert progress.note == "prior: simulating 21 configs"
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune_small(backend="hardware", progress=report)
    with Store(tmp_path / "results") as store:
        assert store.studies() == []


@pytest.mark.usefixtures("hardware")
def test_a_resumed_study_has_the_same_prior(tune_small: Tune) -> None:
    settings: dict[str, Any] = {"backend": "hardware", "seed": 3}
    tune_small(trials=4, **settings)
    resumed = tune_small(trials=9, resume=True, **settings)
    assert keys(stored(resumed)) == keys(stored(tune_small(trials=9, **settings)))


def test_a_config_above_the_incumbent_is_told_its_bound(
    tune_small: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told(Search):
        configs: dict[int, Config] = {}
        times: dict[str, float | None] = {}

        def ask(self) -> tuple[int, Config]:
            number, config = super().ask()
            self.configs[number] = config
            return number, config

        def tell(self, number: int, latency_us: float | None) -> None:
            super().tell(number, latency_us)
            self.times[json.dumps(self.configs[number], sort_keys=True)] = latency_us

    monkeypatch.setattr(run, "Search", Told)
    outcome = tune_small(trials=20, sampler="random", seed=1)
    trials = stored(outcome)
    bounds = {
        key: trial.figures["bound_us"]
        for key, trial in zip(keys(trials), trials, strict=True)
        if "bound_us" in trial.figures
    }
    assert bounds
    assert {key: Told.times[key] for key in bounds} == bounds
    assert {k: t for k, t in Told.times.items() if k not in bounds} == {
        key: time for key, time in times_of(outcome).items() if key not in bounds
    }
