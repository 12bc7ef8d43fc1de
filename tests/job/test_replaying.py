from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuner
from tests.backends.recordings import SHIPPED, recording
from tests.cli.console import Call
from tests.job.jobs import keys
from tuner.backends.recording import read_recording, write_recording
from tuner.database import Store, export
from tuner.job import Job, prepare, replay
from tuner.runtime.errors import TunerError

SMALL = SHIPPED / "matmul-512x128x512.npz"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "double.npz"
    write_recording(recording(), path)
    return path


def test_a_replay_tries_configs_and_finds_recorded_times(file: Path) -> None:
    done = replay(file, trials=10, sampler="random", seed=3)
    mine = done.recording
    assert len(set(keys(list(done.trials)))) == len(done.trials) == done.outcome.trials == 10
    for trial in done.trials:
        row = mine.space.row(trial.config)
        assert trial.latency_us == (mine.time_us[row] if np.isfinite(mine.time_us[row]) else None)
        assert trial.status == mine.status[row]
    assert done.trials[0].config == mine.space.config(mine.space.default)
    rows = [mine.space.row(trial.config) for trial in done.trials]
    assert done.cost_s == mine.cost_s[rows].sum()


def test_all_trials_find_the_optimum(file: Path) -> None:
    done = replay(file, trials=100, sampler="random")
    assert done.outcome.trials == len(done.recording.space) == 14
    assert done.outcome.best is not None
    assert done.outcome.best.latency_us == done.recording.optimum_us
    assert done.outcome.failures == {"compile": 1, "timeout": 1}
    assert (done.outcome.kind, done.outcome.roofline_share) == ("measured", None)
    assert done.fraction_after(100) == 1.0


def test_the_fraction_grows_with_the_best_so_far() -> None:
    done = replay(SMALL, trials=60, sampler="random", seed=1)
    times = [trial.latency_us or np.inf for trial in done.trials]
    for trials in (1, 10, 60):
        expected = done.recording.optimum_us / min(times[:trials])
        assert done.fraction_after(trials) == pytest.approx(expected)
    places = [place for place, _ in done.improvements]
    assert places[0] == 1
    assert [times[place - 1] for place in places] == sorted({min(times[:p]) for p in places})[::-1]
    assert min(times) == times[places[-1] - 1]


def test_where_everything_failed_the_fraction_is_zero(file: Path) -> None:
    done = replay(file, trials=100, sampler="random")
    failed = tuple(trial for trial in done.trials if trial.latency_us is None)
    none = type(done)(done.outcome, done.recording, failed, 0.0)
    assert (none.best_after(5), none.fraction_after(5), none.improvements) == (None, 0.0, [])


def test_a_replay_can_be_repeated() -> None:
    first, second = (replay(SMALL, trials=30, sampler="random", seed=5) for _ in "ab")
    assert keys(list(first.trials)) == keys(list(second.trials))
    assert keys(list(replay(SMALL, trials=30, sampler="random", seed=6).trials)) != keys(
        list(first.trials)
    )


def test_from_python(file: Path) -> None:
    assert tuner.replay(file, trials=2, sampler="random").outcome.trials == 2


def test_nothing_is_left_behind(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    done = replay(file, trials=3, sampler="random")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert not done.outcome.database.exists()


def test_a_results_folder_keeps_the_study(file: Path, tmp_path: Path) -> None:
    first = replay(file, trials=4, results=tmp_path / "kept", sampler="random")
    again = replay(file, trials=9, results=tmp_path / "kept", sampler="random", resume=True)
    assert again.outcome.measured == 5
    assert keys(list(again.trials))[:4] == keys(list(first.trials))
    with Store(tmp_path / "kept") as store:
        (study,) = store.studies()
    assert (study.info.kernel, study.info.device) == ("double", "a device")
    assert study.info.fingerprint["recording_hash"] == again.recording.content_hash


def test_a_changed_recording_is_another_study(file: Path, tmp_path: Path) -> None:
    replay(file, trials=2, results=tmp_path / "kept", sampler="random")
    write_recording(recording(time_us=recording().time_us * 2), file)
    with pytest.raises(TunerError, match="cannot resume study 1: recording_hash was"):
        replay(file, trials=4, results=tmp_path / "kept", sampler="random", resume=True)


def test_replayed_times_are_never_exported(file: Path, tmp_path: Path) -> None:
    replay(file, trials=3, results=tmp_path / "kept", sampler="random")
    with pytest.raises(TunerError, match="no correct trial to export"):
        export(tmp_path / "kept", tmp_path / "table.json")


def test_the_stored_command_repeats_the_replay(file: Path, tmp_path: Path, call: Call) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    replay(file, trials=7, seed=2, sampler="random", results=first)
    with Store(first) as store:
        command = shlex.split(store.studies()[0].info.command)
        expected = keys(store.trials(1))
    assert command.pop(0) == "nki-tuner"
    assert call(*command, "--results", str(second)).code == 0
    with Store(second) as store:
        assert keys(store.trials(1)) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "trials=0: expected a whole number from 1"),
        ({"sampler": "best"}, "unknown sampler 'best'"),
        ({"resume": True}, "a replay without a results folder leaves nothing to resume"),
        ({"speed": 9}, "unknown setting of a job: 'speed'"),
    ],
)
def test_a_wrong_setting_is_named(file: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        replay(file, **settings)


def test_a_recording_has_no_sizes(file: Path) -> None:
    with pytest.raises(TunerError, match="a recording has no sizes to choose"):
        prepare(Job(str(file), {"M": 5}, backend="replay"))


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"none.npz: No such file"):
        replay(tmp_path / "none.npz")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_ray_workers_replay_the_same_times() -> None:
    done = replay(SMALL, trials=20, sampler="random", ray="local", workers=2)
    known = read_recording(SMALL)
    assert len(set(keys(list(done.trials)))) == 20
    for trial in done.trials:
        assert trial.latency_us == known.time_us[known.space.row(trial.config)]
