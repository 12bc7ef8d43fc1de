from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.conformance import BackendConformance
from tests.backends.recordings import recording
from tuner.backends import Backend, Candidate, Problem, Status, evaluate, load_backend, make_backend
from tuner.backends.recording import write_recording
from tuner.backends.recording.values import parameters_of
from tuner.kernel import KernelSource
from tuner.runtime.errors import TunerError
from tuner.space import SearchSpace

CONFIG: dict[str, Any] = {"columns": 512, "engine": "vector", "unroll": False}


def problem(**options: Any) -> Problem:
    return Problem(KernelSource("file", "double", ()), (), "a device", "replay", options=options)


class TestReplay(BackendConformance):
    @pytest.fixture
    def problem(self) -> Problem:
        columns = parameters_of({"columns": (64, 128, 256, 512)})
        small = recording(
            space=SearchSpace.of_rows(columns, np.arange(4)[:, None]),
            time_us=np.array([160.0, 80, 40, 20]),
            spread_us=np.full(4, np.nan),
            cost_s=np.zeros(4),
            status=(Status.CORRECT,) * 4,
            reasons=(),
        )
        return problem(recording=small)


def test_a_config_has_its_recorded_time() -> None:
    mine = recording()
    backend = load_backend(problem(recording=mine))
    for row in range(len(mine.space)):
        result = evaluate(backend, Candidate(row, mine.space.config(row)))
        assert (result.number, result.kind, result.verified) == (row, "measured", False)
        assert result.status == mine.status[row]
        if result.status == Status.CORRECT:
            assert result.latency_us == mine.time_us[row]
            assert result.figures == {"cost_s": row + 1.0, "recorded_spread_us": 0.25}
        else:
            assert (result.latency_us, result.reason) == (None, "no memory")


def test_a_simulated_time_has_its_error() -> None:
    mine = recording(error_percent=np.full(14, 7.0), kind="simulated")
    result = evaluate(load_backend(problem(recording=mine)), Candidate(0, CONFIG))
    assert (result.kind, result.figures["error_percent"]) == ("simulated", 7.0)


@pytest.mark.parametrize(
    "config", [{}, {"columns": 64}, {**CONFIG, "columns": 100}, {**CONFIG, "more": 1}]
)
def test_what_was_not_recorded_fails(config: dict[str, Any]) -> None:
    result = evaluate(load_backend(problem(recording=recording())), Candidate(0, config))
    assert result.status == Status.COMPILE
    assert result.reason == f"not in the recording: {config}"


def test_nothing_is_verified() -> None:
    backend = load_backend(problem(recording=recording()))
    result = evaluate(backend, Candidate(0, CONFIG, verify_with=()))
    assert (result.status, result.verified) == (Status.RUNTIME, False)
    assert result.reason == "a recording has no numbers to check"


def test_the_fingerprint_changes_with_the_times_only() -> None:
    def fingerprint(**changes: Any) -> dict[str, Any]:
        return make_backend(problem(recording=recording(**changes))).fingerprint()

    assert fingerprint(name="other", cost_s=np.ones(14)) == fingerprint()
    assert fingerprint(time_us=recording().time_us * 2) != fingerprint()


def test_a_recording_may_be_a_file_and_travels_to_workers(tmp_path: Path) -> None:
    write_recording(recording(), tmp_path / "x.npz")
    from_file = problem(recording=tmp_path / "x.npz")
    sent: Backend = load_backend(pickle.loads(pickle.dumps(problem(recording=recording()))))
    read = load_backend(from_file)
    results = [evaluate(backend, Candidate(1, CONFIG)) for backend in (sent, read)]
    assert results[0].latency_us == results[1].latency_us == 20
    assert sent.fingerprint() == read.fingerprint()


def test_without_a_recording_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match="the replay backend needs a recording"):
        make_backend(problem())
    with pytest.raises(TunerError, match="No such file"):
        load_backend(problem(recording=tmp_path / "none.npz"))
