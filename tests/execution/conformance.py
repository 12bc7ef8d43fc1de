"""What every executor does, wherever it runs candidates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.small_kernel import problem, write_kernel
from tuner.backends import Candidate, Measurement, Problem, Status, evaluate, load_backend
from tuner.execution import Executor

WIDTHS = (64, 128, 256, 512)


def drain(executor: Executor) -> list[Measurement]:
    """Waits until nothing is in flight; the results by number."""
    results: list[Measurement] = []
    while some := executor.wait():
        results += some
    return sorted(results, key=lambda result: result.number)


class ExecutorConformance:
    """A subclass makes executors in `make`, which is called twice at most."""

    @classmethod
    def make(cls, problem: Problem) -> Executor:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def small(cls, tmp_path_factory: pytest.TempPathFactory) -> Problem:
        folder: Path = tmp_path_factory.mktemp("executor")
        small = problem(write_kernel(folder))
        evaluate(load_backend(small), Candidate(0, {}))  # compiles the simulator, once a machine
        return small

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, small: Problem) -> Iterator[Executor]:
        executor = cls.make(small)
        yield executor
        executor.close()

    def test_nothing_in_flight_brings_nothing(self, executor: Executor) -> None:
        assert executor.wait(0) == []
        assert executor.wait() == []

    def test_it_has_room_for_candidates(self, executor: Executor) -> None:
        assert executor.capacity_ahead >= executor.capacity >= 1

    def test_every_candidate_comes_back_once_as_the_backend_measures_it(
        self, executor: Executor, small: Problem
    ) -> None:
        candidates = [Candidate(10 + i, {"columns": WIDTHS[i % 4]}) for i in range(21)]
        for candidate in candidates:
            executor.submit(candidate)
        results = drain(executor)
        backend = load_backend(small)
        expected = [evaluate(backend, candidate) for candidate in candidates]
        assert [r.number for r in results] == [c.number for c in candidates]
        assert [r.latency_us for r in results] == [e.latency_us for e in expected]
        assert all(r.status == Status.CORRECT for r in results)
        assert executor.wait(0) == []

    def test_what_fails_comes_back_with_its_status(
        self, executor: Executor, small: Problem
    ) -> None:
        configs = {
            "none": Status.CORRECT,
            "raises": Status.COMPILE,
            "memory": Status.COMPILE,
            "exits": Status.COMPILE,
            "element": Status.CORRECTNESS,
            "skips": Status.CORRECTNESS,
        }
        for number, fault in enumerate(configs):
            executor.submit(Candidate(number, {"fault": fault}, small.arguments))
        results = drain(executor)
        assert [r.status for r in results] == list(configs.values())
        assert [bool(r.reason) for r in results] == [fault != "none" for fault in configs]
        assert [r.verified for r in results] == [fault == "none" for fault in configs]

    def test_more_may_be_submitted_while_some_are_in_flight(self, executor: Executor) -> None:
        executor.submit(Candidate(0, {"columns": 64}))
        first = executor.wait()
        for number in (1, 2, 3):
            executor.submit(Candidate(number, {"columns": 64}))
        second = executor.wait()
        executor.submit(Candidate(4, {"columns": 64}))
        rest = drain(executor)
        assert sorted(r.number for r in (*first, *second, *rest)) == [0, 1, 2, 3, 4]

    def test_closing_drops_what_is_in_flight_and_may_be_done_twice(self, small: Problem) -> None:
        executor = self.make(small)
        for number in range(5):
            executor.submit(Candidate(number, {}))
        executor.wait(0)
        executor.close()
        executor.close()
        assert executor.wait(0) == []
