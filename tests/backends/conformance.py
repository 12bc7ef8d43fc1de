"""What every backend does, whatever it runs on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.backends.small_kernel import write_kernel
from tuner.backends import Backend, Candidate, Measurement, Problem, Status, evaluate, load_backend
from tuner.kernel import read_kernel

CONFIG: dict[str, Any] = {"columns": 128}


class BackendConformance:
    """A subclass has a fixture `problem`: one that knows the configs of `CONFIG`'s form, with 64
    columns slower than with 512.
    """

    @pytest.fixture
    def backend(self, problem: Problem) -> Backend:
        return load_backend(problem)

    def test_a_measurement_is_a_positive_time_with_figures(self, backend: Backend) -> None:
        result = evaluate(backend, Candidate(3, CONFIG))
        assert (result.number, result.status, result.reason) == (3, Status.CORRECT, "")
        assert result.latency_us is not None
        assert result.latency_us > 0
        assert result.kind == backend.capabilities().kind
        assert result.figures
        assert json.loads(json.dumps(dict(result.figures))) == result.figures
        assert not result.verified

    def test_a_config_changes_the_time(self, backend: Backend) -> None:
        narrow, wide = (evaluate(backend, Candidate(0, {"columns": c})) for c in (64, 512))
        assert narrow.latency_us is not None
        assert wide.latency_us is not None
        assert wide.latency_us < narrow.latency_us

    def test_fingerprint_says_what_times_depend_on(
        self, backend: Backend, problem: Problem
    ) -> None:
        fingerprint = backend.fingerprint()
        assert json.loads(json.dumps(fingerprint)) == fingerprint
        assert fingerprint["device"] == problem.device
        assert fingerprint["backend"] == problem.backend

    def test_capabilities(self, backend: Backend) -> None:
        capabilities = backend.capabilities()
        assert capabilities.kind in ("simulated", "measured")
        assert capabilities.batch >= 1


class KernelConformance(BackendConformance):
    """What a backend does that runs kernels; `problem` is of the small kernel."""

    def checked(self, backend: Backend, problem: Problem, **config: Any) -> Measurement:
        return evaluate(backend, Candidate(0, {**CONFIG, **config}, problem.arguments))

    def other(self, problem: Problem, old: str, new: str, **changes: Any) -> Problem:
        """The problem with other text in its kernel file."""
        path = Path(problem.kernel.file)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        kernel = read_kernel(path, problem.kernel.entry)
        return Problem(**{**vars(problem), "kernel": kernel, **changes})

    def test_a_kernel_that_is_right_is_verified(self, backend: Backend, problem: Problem) -> None:
        result = self.checked(backend, problem)
        assert (result.status, result.verified) == (Status.CORRECT, True)
        assert backend.verify(Candidate(0, CONFIG, problem.arguments)) is None

    def test_a_candidate_may_be_checked_and_not_timed(
        self, backend: Backend, problem: Problem
    ) -> None:
        result = evaluate(backend, Candidate(0, CONFIG, problem.arguments, timed=False))
        assert (result.status, result.verified) == (Status.CORRECT, True)
        assert result.latency_us is None

    def test_one_wrong_element_is_found(self, backend: Backend, problem: Problem) -> None:
        config = {**CONFIG, "fault": "element"}
        mismatch = backend.verify(Candidate(0, config, problem.arguments))
        assert mismatch is not None
        assert mismatch.error > 100 * mismatch.tolerance > 0
        assert "output 0[32, 3] is " in mismatch.at
        result = self.checked(backend, problem, fault="element")
        assert result.status == Status.CORRECTNESS
        assert result.latency_us is None
        assert result.reason == str(mismatch)
        assert not result.verified

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ("shape", "output 0 has shape (256, 513), expected (256, 512)"),
            ("two", "2 outputs, expected 1"),
        ],
    )
    def test_outputs_of_another_form_are_wrong(
        self, backend: Backend, problem: Problem, fault: str, reason: str
    ) -> None:
        result = self.checked(backend, problem, fault=fault)
        assert result.status == Status.CORRECTNESS, result.reason
        assert reason in result.reason

    def test_fingerprint_names_the_code(self, backend: Backend, problem: Problem) -> None:
        assert backend.fingerprint()["kernel_hash"] == problem.kernel.kernel_hash

    def test_fingerprint_changes_with_the_code(self, backend: Backend, problem: Problem) -> None:
        other = load_backend(self.other(problem, "op=nl.add", "op=nl.maximum"))
        assert other.fingerprint()["kernel_hash"] != backend.fingerprint()["kernel_hash"]

    def test_fingerprint_stays_with_the_comments(self, backend: Backend, problem: Problem) -> None:
        other = load_backend(self.other(problem, "# faster, and NaN", "# otherwise put"))
        assert other.fingerprint() == backend.fingerprint()

    def test_making_a_backend_runs_no_kernel_code(self, tmp_path: Path, problem: Problem) -> None:
        from tuner.backends import make_backend

        path = write_kernel(tmp_path)
        trace = tmp_path / "imported"
        path.write_text(f"open({str(trace)!r}, 'w').close()\n{path.read_text()}")
        mine = Problem(**{**vars(problem), "kernel": read_kernel(path, "double")})
        backend = make_backend(mine)
        backend.fingerprint()
        backend.capabilities()
        assert not trace.exists()
        backend.prepare()
        assert trace.exists()
