from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.conformance import CONFIG, KernelConformance
from tests.backends.small_kernel import problem as small_problem
from tuner.backends import Backend, Candidate, Problem, Status, evaluate, load_backend, make_backend
from tuner.backends.checking import random_values
from tuner.runtime.errors import TunerError


class TestSimulator(KernelConformance):
    @pytest.fixture
    def problem(self, kernel_file: Path) -> Problem:
        return small_problem(kernel_file)

    def test_the_largest_of_several_errors_is_named(
        self, backend: Backend, problem: Problem
    ) -> None:
        x = random_values(problem.arguments)["x"].astype(float)
        error = np.abs(x) / (np.abs(2 * x) + 2 * np.sqrt(np.mean(x * x)))  # 3x instead of 2x
        row = int(error[:128, 3].argmax())
        config = {**CONFIG, "fault": "column"}
        mismatch = backend.verify(Candidate(0, config, problem.arguments))
        assert mismatch is not None
        assert mismatch.error == pytest.approx(error[row, 3], rel=1e-5)
        assert mismatch.at.startswith(f"output 0[{row}, 3] is ")

    def test_what_is_never_written_is_nan_and_wrong(
        self, backend: Backend, problem: Problem
    ) -> None:
        result = self.checked(backend, problem, fault="skips")
        assert result.status == Status.CORRECTNESS
        assert "output 0[0, 384] is nan" in result.reason


def test_times_are_the_same_in_every_process(kernel_file: Path) -> None:
    first, second = (
        evaluate(load_backend(small_problem(kernel_file)), Candidate(0, CONFIG)) for _ in "ab"
    )
    assert first.latency_us == second.latency_us
    assert first.figures == second.figures


def test_fingerprint_knows_policy_model_and_device(kernel_file: Path) -> None:
    mine = make_backend(small_problem(kernel_file)).fingerprint()
    other = make_backend(small_problem(kernel_file, device="trn1")).fingerprint()
    assert mine["policy"] == "nki:2026"
    assert {name for name in mine if mine[name] != other[name]} == {"device", "device_hash"}
    assert "model_hash" in mine


def test_fingerprint_changes_with_the_policy(kernel_file: Path) -> None:
    mine = make_backend(small_problem(kernel_file)).fingerprint()
    for options, changed in (
        ({"policy": "nki:guide"}, {"policy", "policy_hash"}),
        ({"on_overflow": "spill"}, {"policy_hash"}),
        ({"cores_busy": 2}, {"cores_busy"}),
        ({"policy": "nki:2026", "on_overflow": "error", "cores_busy": 1}, set()),
    ):
        other = make_backend(small_problem(kernel_file, options=options)).fingerprint()
        assert {name for name in mine if mine[name] != other[name]} == changed, options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "gcc"}, "gcc"),
        ({"on_overflow": "crash"}, "crash"),
        ({"cores_busy": 9}, r"cores_busy=9: expected 1 to 8 \(trn2\)"),
        ({"cores_busy": -1}, "cores_busy=-1: expected 1 to 8"),
    ],
)
def test_unknown_options_are_refused(
    kernel_file: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TunerError, match=message):
        make_backend(small_problem(kernel_file, options=options))


def test_without_a_reference_nothing_can_be_checked(kernel_file: Path) -> None:
    problem = small_problem(kernel_file, reference=None)
    result = evaluate(load_backend(problem), Candidate(0, CONFIG, problem.arguments))
    assert (result.status.value, result.reason) == (
        "runtime",
        "there is no reference to check against",
    )


TOO_LARGE = """
import nki.isa as nisa
import nki.language as nl

def double(x):
    out = nl.ndarray((384, 24576), dtype=nl.float32, buffer=nl.shared_hbm)
    tiles = []
    for _ in range(3):
        tile = nl.ndarray((128, 24576), dtype=nl.float32, buffer=nl.sbuf)
        nisa.memset(tile, 0.0)
        tiles.append(tile)
    for k in range(3):
        nisa.dma_copy(out[128 * k : 128 * k + 128], tiles[k])
    return out
"""
COMPILED_IN_PREPARE = """
import sys
from dataclasses import replace
from numba.core.dispatcher import Dispatcher
from tests.backends.small_kernel import problem
from tuner.backends import Candidate, evaluate, load_backend
from tuner.job import Job, prepare

kernel, large, core, policy = sys.argv[1:]
options = {"policy": policy, "on_overflow": "spill"}
small = load_backend(problem(kernel, device=core, options=options))
modules = [module for name, module in sys.modules.items() if name.startswith("tuner.")]
functions = {f for m in modules for f in vars(m).values() if isinstance(f, Dispatcher)}
before = {f: list(f.signatures) for f in functions}
assert any(before.values()), before
product = prepare(Job("matmul", "M=256,K=512,N=1024", device=core)).problem
problems = [replace(product, options=options), problem(large, device=core, options=options)]
backends = [small, *map(load_backend, problems)]
results = [evaluate(backend, Candidate(0, {})) for backend in backends]
assert [r.status for r in results] == ["correct"] * 3, results
assert results[2].figures["spill_saved_bytes"] >= 128 * 98304, results[2]
late = [f.py_func.__qualname__ for f in functions if list(f.signatures) != before[f]]
assert not late, late
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "name"), [("trn2", "nki"), ("trn2", "nki:guide"), ("trn1", "beta1")]
)
def test_a_candidate_finds_the_simulator_compiled(kernel_file: Path, core: str, name: str) -> None:
    large = kernel_file.with_name("large.py")
    large.write_text(TOO_LARGE)
    words = [sys.executable, "-c", COMPILED_IN_PREPARE, str(kernel_file), str(large), core, name]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
