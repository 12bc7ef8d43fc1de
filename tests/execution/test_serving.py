from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.small_kernel import problem
from tuner.backends import Candidate, Measurement, Status, evaluate, load_backend
from tuner.execution.serving import load, read_answer, write_answer
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError


def test_a_child_answers_what_the_backend_measures(kernel_file: Path) -> None:
    small = problem(kernel_file)
    candidate = Candidate(7, {"columns": 128}, small.arguments)
    phases: list[str] = []
    found = read_answer(load(pickle.dumps(small))(7, pickle.dumps(candidate), phases.append))
    expected = evaluate(load_backend(small), candidate)
    assert (found.number, found.status, found.verified) == (7, Status.CORRECT, True)
    assert found.latency_us == expected.latency_us
    assert found.figures == expected.figures
    assert phases == ["compile", "verify", "measure"]


def test_a_kernel_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def double(x):\n    pass\nraise OSError('gone')\n")
    with pytest.raises(TunerError, match="cannot be loaded: OSError: gone"):
        load(pickle.dumps(problem(path, kernel=read_kernel(path, "double"))))


def test_a_measurement_goes_and_comes_unchanged() -> None:
    measurement = Measurement(
        3,
        Status.TIMEOUT,
        "measured",
        None,
        reason="a\udc80".encode(errors="replace").decode(),
        figures={"busy_us": {"pe": np.float64(1.5)}, "n": np.int64(3), "list": [1, None, "x"]},
        host_s={"compile": 0.25},
        artifact=b"\0\xff",
    )
    found = read_answer(write_answer(measurement))
    assert found.figures == {"busy_us": {"pe": 1.5}, "n": 3, "list": [1, None, "x"]}
    assert (found.latency_us, found.artifact, found.host_s) == (
        None,
        b"\0\xff",
        {"compile": 0.25},
    )


@pytest.mark.parametrize("latency_us", [float("nan"), float("inf"), -3.0, 0.0])
def test_a_time_that_cannot_be_is_refused(latency_us: float) -> None:
    answer = write_answer(Measurement(3, Status.CORRECT, "measured", latency_us))
    with pytest.raises(ValueError, match="correct in"):
        read_answer(answer)


def test_what_failed_has_no_time() -> None:
    answer = write_answer(Measurement(3, Status.RUNTIME, "measured", 5.0))
    with pytest.raises(ValueError, match="runtime in"):
        read_answer(answer)


@given(st.binary(max_size=200))
def test_what_is_no_measurement_is_refused(answer: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError)):
        read_answer(answer)
