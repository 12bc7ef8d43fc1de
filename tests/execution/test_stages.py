"""Candidates that are compiled by workers of one kind and timed by those of another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.small_kernel import problem
from tests.execution import staged
from tests.execution.conformance import drain
from tuner.backends import Backend, Candidate, Capabilities, Stage, Status, make_backend
from tuner.execution import RayExecutor, Session, cluster

STAGES = (Stage("compile"), Stage("time", {"neuron_cores": 1}))


@pytest.fixture
def executor(
    ray_session: None, kernel_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RayExecutor]:
    def staged_backend(given: object) -> Backend:
        backend = make_backend(problem(kernel_file))
        able = Capabilities("measured", 1, stages=STAGES)
        monkeypatch.setattr(backend, "capabilities", lambda: able)
        return backend

    monkeypatch.setattr(cluster, "make_backend", staged_backend)
    session = Session("local", 2)
    yield RayExecutor(problem(kernel_file), session=session, service=staged.__file__)
    session.close()


@pytest.mark.slow
def test_each_stage_runs_where_it_belongs(executor: RayExecutor) -> None:
    assert executor.capacity == executor.capacity_ahead == 5
    for number in range(6):
        executor.submit(Candidate(number, {"columns": 64 + number}))
    executor.submit(Candidate(6, {"columns": 9, "fault": "raises"}))
    *found, failed = drain(executor)
    assert [r.latency_us for r in found] == [64.0 + number for number in range(6)]
    made = [f"{64 + number} compiled on cores none" for number in range(6)]
    assert [r.figures["made"] for r in found] == made
    assert {r.figures["core"] for r in found} <= {"0", "1"}
    assert [r.host_s for r in found] == [{"compile": 1.5, "measure": 0.5}] * 6
    assert [r.artifact for r in found] == [None] * 6
    assert (failed.status, failed.reason) == (Status.COMPILE, "NCC_X1: no")
