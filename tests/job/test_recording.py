from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuner
from tests.backends.recordings import SHIPPED
from tests.backends.small_kernel import CONFIGS, SHAPE, write_space
from tuner.backends import Candidate, Status, evaluate, load_backend
from tuner.backends.recording import read_recording
from tuner.database import Store
from tuner.job import Job, Progress, prepare, record
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config

SMALL = SHIPPED / "matmul-512x128x512.npz"


def varied(config: Config) -> Config:
    """A config as recordings have it: without the parameter that has one value only."""
    return {name: value for name, value in config.items() if name != "fault"}


def test_every_config_has_the_time_that_the_simulator_gives(
    tmp_path: Path, space_file: Path
) -> None:
    path = tmp_path / "double.npz"
    done = record(str(space_file), SHAPE, path)
    mine = read_recording(path)
    prepared = prepare(Job(str(space_file), SHAPE))
    backend = load_backend(prepared.problem)
    assert (done.configs, done.done, done.measured) == (CONFIGS, CONFIGS, CONFIGS)
    assert len(mine.space) == CONFIGS
    assert mine.error_percent is not None
    for row in range(CONFIGS):
        config = prepared.space.config(row)
        exact = evaluate(backend, Candidate(0, config))
        there = mine.space.row(varied(config))
        assert mine.time_us[there] == pytest.approx(exact.latency_us, rel=1e-12)
        assert mine.error_percent[there] == pytest.approx(exact.figures["error_percent"], rel=1e-6)
        assert mine.cost_s[there] > 0


@pytest.mark.slow
def test_a_recording_says_what_it_is(tmp_path: Path, space_file: Path) -> None:
    record(str(space_file), SHAPE, tmp_path / "x.npz", device="trn1", policy="beta1")
    mine = read_recording(tmp_path / "x.npz")
    assert (mine.kind, mine.device, mine.kernel) == ("simulated", "trn1", "double")
    assert mine.name == "double-M=256,N=512-float32-trn1"
    assert mine.meta["fingerprint"]["policy"].startswith("beta1")
    assert mine.meta["command"].endswith(
        f"--shape {SHAPE} --dtype float32 --device trn1 --policy beta1 -o x.npz"
    )
    prepared = prepare(Job(str(space_file), SHAPE))
    assert mine.space.config(mine.space.default) == varied(prepared.info.default)


def test_a_parameter_with_one_value_is_fixed(tmp_path: Path, space_file: Path) -> None:
    record(str(space_file), SHAPE, tmp_path / "x.npz")
    mine = read_recording(tmp_path / "x.npz")
    assert [p.name for p in mine.space.parameters] == ["columns", "buffers", "engine"]
    assert mine.meta["fixed"] == {"fault": "none"}


def test_failures_keep_status_and_reason(tmp_path: Path) -> None:
    space = write_space(tmp_path, ("none", "raises", "memory"))
    done = record(str(space), SHAPE, tmp_path / "x.npz")
    mine = read_recording(tmp_path / "x.npz")
    assert done.recording is not None
    assert mine.failed == done.recording.failed == 2 * CONFIGS
    for row in range(len(mine.space)):
        fault = mine.space.config(row)["fault"]
        expected = Status.CORRECT if fault == "none" else Status.COMPILE
        assert mine.status[row] == expected
        if fault == "raises":
            assert mine.reason(row).startswith("ValueError: two lines (double.py:")
    assert len(np.unique(mine.time_us[np.isfinite(mine.time_us)])) > 1


def test_interrupted_it_goes_on_where_it_was(tmp_path: Path, space_file: Path) -> None:
    path = tmp_path / "x.npz"
    seen: list[Progress] = []

    def stop(state: Progress) -> None:
        seen.append(state)
        if state.done >= 5 and not state.stopping:
            signal.raise_signal(signal.SIGINT)

    def run(**more: Any) -> Any:
        return record(str(space_file), SHAPE, path, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuner.job.recording.COMMIT_S", 0.0)
        first = run(progress=stop)
    assert first.recording is None
    assert 5 <= first.done < CONFIGS
    assert seen[-1].done == first.done
    assert not path.exists()
    with Store(first.partial) as store:
        kept = store.trials(1)
    assert len(kept) == first.done
    second = run()
    assert second.measured == CONFIGS - first.done
    assert second.done == CONFIGS
    assert len(read_recording(path).space) == CONFIGS
    assert not first.partial.exists()


def test_of_another_kernel_nothing_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, space = tmp_path / "x.npz", write_space(tmp_path)
    monkeypatch.setattr("tuner.job.recording.COMMIT_S", 0.0)

    def fail(state: Progress) -> None:
        raise RuntimeError(state.done)

    with pytest.raises(RuntimeError):
        record(str(space), SHAPE, path, progress=fail)
    kernel = space.with_suffix(".py")
    kernel.write_text(kernel.read_text().replace("op=nl.add", "op=nl.maximum"))
    assert record(str(space), SHAPE, path).measured == CONFIGS


def test_the_folder_of_somebody_else_stays(tmp_path: Path, space_file: Path) -> None:
    partial = tmp_path / "x.npz.partial"
    (partial / "local").mkdir(parents=True)
    (partial / "local" / "mine.txt").write_text("mine")
    record(str(space_file), SHAPE, tmp_path / "x.npz")
    assert [path.name for path in partial.rglob("*")] == ["local", "mine.txt"]


def test_a_space_above_the_limit_is_refused_with_the_time_it_would_take(
    tmp_path: Path, space_file: Path
) -> None:
    with pytest.raises(TunerError) as error:
        record(str(space_file), SHAPE, tmp_path / "x.npz", limit=20)
    assert str(error.value).startswith(
        "21 configs are more than the limit of 20: one process would take about "
    )
    assert " min; " in str(error.value)
    assert not list(tmp_path.glob("x.npz*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": "x.json"}, "x.json: expected a file that ends in .npz"),
        ({"output": "no/x.npz"}, "no/x.npz: expected a file that ends in .npz, in a folder that"),
        ({"kernel": "matmull"}, "unknown kernel 'matmull'; did you mean matmul"),
        ({"shape": "M=256"}, "matmul needs a size for K, N"),
        ({"device": "trn22"}, "unknown device 'trn22'"),
        ({"backend": "replay", "kernel": "x.npz", "shape": {}}, "x.npz: No such file"),
        ({"noise": 0.1}, "noise=0.1: a recording holds exact times"),
        ({"backend": "replay", "kernel": str(SMALL), "shape": {}}, "is a recording already"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"kernel": "matmul", "shape": "M=256,K=512,N=1024", "output": "x.npz", **settings}
    with pytest.raises(TunerError) as error:
        record(**given)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_from_python_what_was_recorded_can_be_replayed(tmp_path: Path, space_file: Path) -> None:
    done = tuner.record(str(space_file), SHAPE, tmp_path / "x.npz")
    assert done.recording is not None
    replayed = tuner.replay(tmp_path / "x.npz", trials=CONFIGS, sampler="random")
    assert replayed.recording.content_hash == read_recording(tmp_path / "x.npz").content_hash
    assert replayed.fraction_after(CONFIGS) == 1.0
    best = replayed.outcome.best
    assert best is not None
    assert (replayed.outcome.kind, best.figures["error_percent"] > 0) == ("simulated", True)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_ray_workers_record_the_same_times(tmp_path: Path, space_file: Path) -> None:
    record(str(space_file), SHAPE, tmp_path / "serial.npz")
    record(str(space_file), SHAPE, tmp_path / "ray.npz", ray="local", workers=2)
    one, other = (read_recording(tmp_path / f"{name}.npz") for name in ("serial", "ray"))
    assert one.content_hash == other.content_hash


def test_only_a_recording_is_replaced(tmp_path: Path, space_file: Path) -> None:
    folder, text = tmp_path / "folder.npz", tmp_path / "text.npz"
    folder.mkdir()
    text.write_text("precious")
    for path in (folder, text):
        with pytest.raises(TunerError, match=path.name):
            record(str(space_file), SHAPE, path)
        assert not path.with_name(f"{path.name}.partial").exists()
    assert text.read_text() == "precious"
    again = tmp_path / "again.npz"
    first = record(str(space_file), SHAPE, again)
    assert record(str(space_file), SHAPE, again).measured == first.measured
