from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.conformance import CONFIG
from tests.backends.neuron.fake import Fake, machine
from tests.backends.neuron.test_backend import ONE_STAGE, made
from tests.backends.small_kernel import KERNEL
from tuner.backends import Candidate, Problem, Repeats, Status, evaluate, load_backend
from tuner.backends.neuron.backend import NeuronBackend
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A trn1 with SDK 2.28 and Beta 1."""
    settings = {"nki": None, "nrtpy": None, "beta1": "2.23.6484.0", "family": "trn1"}
    return machine(tmp_path / "sdk", monkeypatch, **settings)


@pytest.fixture
def problem(tmp_path: Path, old: Fake) -> Problem:
    file = tmp_path / "old.py"
    text = KERNEL.replace("import nki.", "import neuronxcc.nki.")
    file.write_text(text.replace("import nki\n", "import neuronxcc.nki as nki\n"))
    known = made(file, old)
    kernel = read_kernel(file, "double")
    return Problem(**{**vars(known), "kernel": kernel, "device": "trn1"})


def test_one_call_compiles_and_times(problem: Problem, old: Fake) -> None:
    backend = load_backend(problem)
    assert backend.capabilities().stages == ONE_STAGE
    candidate = Candidate(0, CONFIG, problem.arguments, repeats=Repeats(most=2))
    result = evaluate(backend, candidate)
    assert (result.status, result.reason, result.verified) == (Status.CORRECT, "", True)
    assert result.latency_us == pytest.approx(34 * 1.05)
    figures = result.figures
    assert (figures["metric"], figures["samples"]) == ("benchmark_time_us", 2)
    assert figures["p99_us"] == pytest.approx(34 * 1.099)
    compiled = [line for line in old.log() if line.startswith("compiles")]
    assert len(compiled) == 3  # two samples and a check


def test_wrong_numbers(problem: Problem) -> None:
    mismatch = load_backend(problem).verify(Candidate(0, {**CONFIG, "fault": "element"}))
    assert mismatch is not None
    assert mismatch.at.startswith("output 0[32, 3] is ")


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("sbuf", Status.COMPILE, "sbuf out of memory: "),
        ("compile-crash", Status.COMPILE, "compiler crash: killed by SIGSEGV"),
        ("oob", Status.RUNTIME, "NRT_EXEC_OOB(1006): "),
    ],
)
def test_failures(problem: Problem, old: Fake, fault: str, status: Status, reason: str) -> None:
    backend = load_backend(problem)
    old.faults(fault)
    result = evaluate(backend, Candidate(0, CONFIG))
    assert result.status == status
    assert result.reason.startswith(reason), result.reason


def test_a_new_sdk_does_not_time_on_trn1(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = machine(tmp_path / "new", monkeypatch, family="trn1")
    problem = Problem(**{**vars(made(kernel_file, fake)), "device": "trn1"})
    message = (
        r"^device trn1: nki 0\.6\.0 does not support trn1 and inf2 on hardware .*: use AWS's SDK "
        r"2\.28 and a Beta-1 kernel \(--timing beta1 --beta1-python PYTHON\), or --backend simulat"
    )
    with pytest.raises(TunerError, match=message):
        NeuronBackend(problem).fingerprint()


@pytest.mark.slow
def test_both_limits_are_told(problem: Problem, old: Fake) -> None:
    options = {**problem.options, "compile_timeout_s": 2, "timeout_s": 1}
    backend = load_backend(Problem(**{**vars(problem), "options": options}))
    old.faults("compile-hang")
    result = evaluate(backend, Candidate(0, CONFIG))
    expected = "took longer than 2 s to compile and 1 s to run"
    assert (result.status, result.reason) == (Status.TIMEOUT, expected)
