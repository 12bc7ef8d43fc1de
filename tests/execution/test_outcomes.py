from __future__ import annotations

import signal

import pytest

from tuner.backends import Status
from tuner.execution.outcomes import from_outside, told, verdict
from tuner.process import Failure

DEADLINES = {"": 5.0, "compile": 60.0}


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (
            Failure("timeout", "compile", 60.2),
            Status.TIMEOUT,
            "took longer than 60 s in compile",
        ),
        (Failure("timeout", "measure", 5.2), Status.TIMEOUT, "took longer than 5 s in measure"),
        (
            Failure("memory", "compile", 1.0, 9),
            Status.COMPILE,
            "memory: more than a worker may have, in compile",
        ),
        (
            Failure("signal", "measure", 1.0, signal.SIGSEGV, "first\nlast words\n\n"),
            Status.RUNTIME,
            "killed by SIGSEGV in measure: last words",
        ),
        (Failure("signal", "compile", 1.0, 99), Status.COMPILE, "killed by signal 99 in compile"),
        (Failure("exit", "verify", 1.0, 7), Status.RUNTIME, "ended with code 7 in verify"),
        (
            Failure("problem", "start", 0.1, said="k.py: cannot be loaded: gone"),
            Status.RUNTIME,
            "the kernel's file cannot be loaded: k.py: cannot be loaded: gone",
        ),
    ],
)
def test_a_failure_of_a_candidate_has_a_status_and_a_reason(
    failure: Failure, status: Status, reason: str
) -> None:
    assert not from_outside(failure)
    found = verdict(3, failure, "measured", DEADLINES)
    assert (found.number, found.status, found.reason) == (3, status, reason)
    assert (found.kind, found.latency_us) == ("measured", None)
    assert found.host_s == {failure.phase: failure.took_s}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure("signal", "compile", 1.0, signal.SIGKILL), "killed by SIGKILL in compile"),
        (Failure("signal", "measure", 1.0, signal.SIGTERM), "killed by SIGTERM in measure"),
        (Failure("lost", "measure", 1.0), "its process was killed in measure"),
        (Failure("start", "start", 1.0, said="no room"), "no start: no room"),
        (Failure("signal", "start", 1.0, signal.SIGSEGV), "killed by SIGSEGV in start"),
    ],
)
def test_what_comes_from_outside_is_no_fault_of_the_candidate(
    failure: Failure, reason: str
) -> None:
    assert from_outside(failure)
    assert told(failure, DEADLINES) == reason
