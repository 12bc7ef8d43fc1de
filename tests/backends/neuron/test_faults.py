"""What goes wrong while a kernel is compiled or run, each with its status and reason."""

from __future__ import annotations

import fcntl
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.backends.conformance import CONFIG
from tests.backends.neuron.fake import Fake
from tests.backends.neuron.test_backend import made
from tuner.backends import (
    Backend,
    Candidate,
    Measurement,
    Problem,
    Status,
    evaluate,
    load_backend,
)
from tuner.backends.neuron.backend import NeuronBackend
from tuner.space import Argument

TENSORS = (Argument("x", (128, 64), "float32"),)


@pytest.fixture
def backend(kernel_file: Path, fake: Fake) -> Backend:
    backend = load_backend(made(kernel_file, fake))
    assert backend.capabilities().noisy  # all trials are over
    return backend


def measured(backend: Backend, fake: Fake, *faults: str) -> Measurement:
    fake.faults(*faults)
    return evaluate(backend, Candidate(0, CONFIG))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("sbuf", r"sbuf out of memory: \[ERROR\] Out of memory in sbuf: 300000 > 196608$"),
        ("psum", r"psum out of memory: \[ERROR\] Out of memory in psum: 300000 > 196608$"),
        ("ncc", "NCC_IBIR441: transposes need a dst of the same dtype$"),
        ("validation", "NkiValidationError: dst of nc_matmul must be in psum$"),
        ("assertion", "AssertionError: free size 513 > 512$"),
        ("compile-crash", "compiler crash: killed by SIGSEGV: about to die$"),
        ("compile-exit", "no result of compile$"),
        ("no-neff", "compiler error: RuntimeError: NRT_INIT: there is no core 65535$"),
    ],
)
def test_of_the_compiler(backend: Backend, fake: Fake, fault: str, reason: str) -> None:
    result = measured(backend, fake, fault)
    assert result.status == Status.COMPILE
    assert re.match(reason, result.reason), result.reason


def test_of_the_kernel_itself(backend: Backend) -> None:
    result = evaluate(backend, Candidate(0, {**CONFIG, "fault": "raises"}))
    assert result.status == Status.COMPILE
    assert result.reason == "compiler error: ValueError: two lines"


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("oob", Status.RUNTIME, r"NRT_EXEC_OOB\(1006\): NrtError: nrt_execute failed$"),
        ("nrt-timeout", Status.TIMEOUT, r"NRT_TIMEOUT\(5\): "),
        ("run-crash", Status.RUNTIME, "killed by SIGSEGV in measure: about to die$"),
        ("run-exit", Status.RUNTIME, "no result of measure$"),
        ("odd", Status.RUNTIME, "time failed: 11 durations of 10 calls$"),
        ("no-events", Status.RUNTIME, r"no device timestamps \(no nc_exec_running events were "),
    ],
)
def test_of_the_runtime(
    backend: Backend, fake: Fake, fault: str, status: Status, reason: str
) -> None:
    result = measured(backend, fake, fault)
    assert result.status == status
    assert re.match(reason, result.reason), result.reason
    assert result.latency_us is None


def test_a_check_that_fails_says_where(backend: Backend, fake: Fake) -> None:
    fake.faults("run-crash")
    result = evaluate(backend, Candidate(0, CONFIG, TENSORS))
    assert (result.status, result.verified) == (Status.RUNTIME, False)
    assert result.reason.startswith("killed by SIGSEGV in verify")


def test_one_compiled_for_another_device(backend: Backend, fake: Fake) -> None:
    fake.device(2, "trn3")
    try:
        result = measured(backend, fake)
    finally:
        fake.device(2)
    assert (result.status, result.reason) == (
        Status.RUNTIME,
        "NRT_FAILURE(6) on load: compiled for another target than this device, or damaged",
    )


def test_a_core_that_a_stranger_holds(backend: Backend, fake: Fake) -> None:
    with (fake.folder / "state" / "held-0").open("w") as stranger:
        fcntl.flock(stranger, fcntl.LOCK_EX)
        result = measured(backend, fake)
    assert (result.status, result.reason) == (
        Status.RUNTIME,
        "NRT_RESOURCE(4): NrtError: core 0 is held by another process",
    )


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["compile", "run"])
def test_one_that_hangs_is_ended_with_its_children(
    kernel_file: Path, fake: Fake, phase: str
) -> None:
    backend = load_backend(made(kernel_file, fake, compile_timeout_s=5, timeout_s=5))
    assert backend.capabilities().noisy  # all trials are over
    fake.faults(f"{phase}-hang")
    started = time.monotonic()
    result = evaluate(backend, Candidate(0, CONFIG))
    assert time.monotonic() - started < 60
    named = "compile" if phase == "compile" else "measure"
    assert (result.status, result.reason) == (Status.TIMEOUT, f"took longer than 5 s in {named}")
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert [line for line in listed.stdout.splitlines() if str(fake.folder) in line] == []


@pytest.mark.parametrize(
    ("phase", "status"), [("compile", Status.COMPILE), ("run", Status.RUNTIME)]
)
def test_one_that_fills_the_memory(
    kernel_file: Path, fake: Fake, phase: str, status: Status
) -> None:
    backend = load_backend(made(kernel_file, fake, memory_gb=0.3))
    result = measured(backend, fake, f"{phase}-memory")
    named = "compile" if phase == "compile" else "measure"
    assert (result.status, result.reason) == (status, f"memory: more than 0.3 GiB in {named}")


def test_a_neff_counts_though_the_run_after_it_failed(
    kernel_file: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where no route has been tried yet
    fake.faults("never-hidden")
    backend = load_backend(made(kernel_file, fake))
    assert len(backend.capabilities().stages) == 1
    result = measured(backend, fake, "never-hidden", "run-fails")
    assert (result.status, result.reason) == (Status.CORRECT, "")
    assert result.latency_us is not None


def test_a_neff_counts_though_its_process_crashed_after_it(kernel_file: Path, fake: Fake) -> None:
    backend = load_backend(made(kernel_file, fake))
    assert backend.capabilities().noisy  # all trials are over
    result = measured(backend, fake, "neff-crash")
    assert (result.status, result.reason) == (Status.CORRECT, "")


def test_a_damaged_neff_is_not_kept(kernel_file: Path, fake: Fake, tmp_path: Path) -> None:
    backend = load_backend(made(kernel_file, fake, neff_cache=str(tmp_path / "neffs")))
    assert backend.capabilities().noisy  # all trials are over
    for tensors in (None, TENSORS):  # found when it is timed, and when it is checked
        fake.faults("torn")
        candidate = Candidate(0, {"columns": 64}, tensors, timed=tensors is None)
        failed = evaluate(backend, candidate)
        assert failed.status == Status.RUNTIME
        assert failed.reason.startswith("NRT_FAILURE(6) on load: ")
        fake.faults()
        assert evaluate(backend, candidate).status == Status.CORRECT


def test_a_core_that_does_not_get_free_is_worth_another_try(kernel_file: Path, fake: Fake) -> None:
    problem = made(kernel_file, fake)
    compiled = load_backend(problem).compile(Candidate(0, CONFIG))
    options = {**problem.options, "route": "hidden", "timeout_s": 0.2, "compile_timeout_s": 0.2}
    backend = NeuronBackend(Problem(**{**vars(problem), "options": options}))
    with backend._cores.held(), backend._cores.held():
        started = time.monotonic()
        result = evaluate(backend, Candidate(0, CONFIG, stage="time", artifact=compiled))
    assert time.monotonic() - started >= 0.4
    assert (result.status, result.again) == (Status.RUNTIME, True)
    assert result.reason.startswith("no NeuronCore got free within 0.4 s (held: 0 by process ")
