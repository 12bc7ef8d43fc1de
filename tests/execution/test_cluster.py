from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.backends.small_kernel import problem, write_kernel
from tests.cli.console import console
from tests.execution.conformance import ExecutorConformance, drain
from tuner.backends import Candidate, Measurement, Problem, Status
from tuner.execution import Executor, RayExecutor, Session, pool
from tuner.execution.serving import write_answer
from tuner.kernel import read_kernel
from tuner.process.code import package_folder
from tuner.runtime.errors import TunerError

SHAPE = "M=256,K=512,N=1024"


@pytest.mark.usefixtures("ray_session")
class TestRay(ExecutorConformance):
    @classmethod
    def make(cls, problem: Problem) -> Executor:
        return RayExecutor(problem, workers=1)

    def test_close_leaves_the_callers_ray_alone(self, small: Problem) -> None:
        import ray

        self.make(small).close()
        assert ray.is_initialized()
        assert ray.get(ray.put(5)) == 5

    def test_one_for_each_worker_and_a_few_more_or_a_batch_for_each(
        self, executor: Executor
    ) -> None:
        assert executor.capacity == 2
        assert executor.capacity_ahead == 4

    def test_workers_that_run_other_code_are_refused(
        self, small: Problem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool, "code_hash", lambda: "mine")
        with pytest.raises(TunerError, match=r"a Ray worker runs other code: .*\(mine\)") as error:
            RayExecutor(small, workers=1)
        assert str(package_folder()) in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_kernel_that_cannot_be_loaded_is_an_error_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.py"
        path.write_text("def double(x):\n    pass\nraise OSError('gone')\n")
        with pytest.raises(TunerError, match="cannot be loaded: OSError: gone"):
            RayExecutor(problem(path, kernel=read_kernel(path, "double")), workers=1)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
class TestBadCandidates:
    """One worker, so that all candidates share its batches."""

    @pytest.fixture
    def executor(self, kernel_file: Path) -> Iterator[RayExecutor]:
        executor = RayExecutor(problem(kernel_file), workers=1, timeout_s=5)
        yield executor
        executor.close()

    def statuses(self, executor: RayExecutor, faults: list[str]) -> dict[str, tuple[Status, str]]:
        for number, fault in enumerate(faults):
            executor.submit(Candidate(number, {"columns": 128, "fault": fault}))
        results = drain(executor)
        assert [r.number for r in results] == list(range(len(faults)))
        return {faults[r.number]: (r.status, r.reason) for r in results}

    def test_one_that_never_ends_is_the_only_one_to_time_out(self, executor: RayExecutor) -> None:
        faults = ["none", "loops", "skips", "element", "column"]
        found = self.statuses(executor, faults)
        assert found.pop("loops") == (Status.TIMEOUT, "took longer than 5 s in compile")
        assert set(found.values()) == {(Status.CORRECT, "")}

    def test_one_that_kills_its_worker_is_the_only_one_to_fail(self, executor: RayExecutor) -> None:
        faults = ["none", "dies", "skips", "element", "column"]
        found = self.statuses(executor, faults)
        status, reason = found.pop("dies")
        assert (status, reason) == (Status.COMPILE, "ended with code 7 in compile")
        assert set(found.values()) == {(Status.CORRECT, "")}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_answers_that_wait_while_a_worker_is_replaced_are_not_late(kernel_file: Path) -> None:
    executor = RayExecutor(problem(kernel_file), workers=2, timeout_s=2)
    for number in range(12):
        fault = "loops" if number == 0 else "sleeps"
        executor.submit(Candidate(number, {"columns": 128, "fault": fault}))
    found = {result.number: result.status for result in drain(executor)}
    executor.close()
    assert found.pop(0) == Status.TIMEOUT
    assert found == dict.fromkeys(range(1, 12), Status.CORRECT)


@pytest.mark.slow
def test_another_tuner_package_in_the_working_directory_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "tuner").mkdir()
    (tmp_path / "tuner" / "__init__.py").write_text("raise ImportError('the wrong tuner')\n")
    done = console(f"tune matmul --shape {SHAPE} --trials 5 --workers 1", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "trials 5 of 17,028 configs; failed: none" in done.flat
    assert "best verified yes" in done.flat


IMPATIENT = """
from tuner.execution import pool
pool.RETRY_STARTS_S = 0.0
from tuner.cli import main
main()
"""


@pytest.mark.slow
def test_who_is_ended_by_ray_itself_for_want_of_memory_is_told_so(tmp_path: Path) -> None:
    always = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}
    words = f"tune matmul --shape {SHAPE} --trials 2 --workers 1".split()
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPATIENT, *words],
        cwd=tmp_path,
        env={**os.environ, **always, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    why = "memory: Ray ended the worker, as its node ran low"
    assert (done.returncode, done.stderr) == (2, f"error: Ray workers do not start: {why}\n")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:{port}", "Connection refused"),
        ("ray://127.0.0.1:{port}", "Connection refused"),
        ("somewhere", "Invalid address format"),
    ],
)
def test_an_address_where_no_ray_is_gives_one_line(
    tmp_path: Path, address: str, message: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
        done = console(f"tune matmul --shape {SHAPE} --trials 2 --ray {address}", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: cannot reach Ray at '{address}': ")
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.fixture
def session(ray_session: None) -> Iterator[Session]:
    session = Session("local", 1)
    yield session
    session.close()


def ran(executor: RayExecutor, *faults: str) -> list[Status]:
    for number, fault in enumerate(faults):
        executor.submit(Candidate(number, {"columns": 128, "fault": fault}))
    return [result.status for result in drain(executor)]


def actors(session: Session) -> list[Any]:
    return [worker.actor for worker in session.pool._workers]


@pytest.mark.slow
class TestSession:
    """Several executors, one pool of workers."""

    def test_executors_share_idle_workers_and_end_busy_ones(
        self, session: Session, kernel_file: Path
    ) -> None:
        import ray

        small = problem(kernel_file)
        first = RayExecutor(small, session=session)
        (actor,) = actors(session)
        assert ran(first, "none") == [Status.CORRECT]
        first.close()
        second = RayExecutor(small, session=session)
        assert actors(session) == [actor]
        second.submit(Candidate(0, {"columns": 128, "fault": "loops"}))
        assert second.wait(0) == []
        second.close()
        assert actors(session) != [actor]
        third = RayExecutor(small, session=session)
        assert ran(third, "none") == [Status.CORRECT]
        session.close()
        assert actors(session) == []
        assert ray.is_initialized()

    def test_a_kernel_that_cannot_be_loaded_takes_no_room(
        self, session: Session, tmp_path: Path
    ) -> None:
        path = tmp_path / "broken.py"
        path.write_text("def double(x):\n    pass\nraise OSError('gone')\n")
        for _ in range(3):
            with pytest.raises(TunerError, match="cannot be loaded: OSError: gone"):
                RayExecutor(problem(path, kernel=read_kernel(path, "double")), session=session)
        assert len(actors(session)) == 1

    def test_workers_are_shared_fairly(self, session: Session, kernel_file: Path) -> None:
        """A long queue of one does not keep another waiting."""
        small = problem(kernel_file)
        long, short = (RayExecutor(small, session=session) for _ in "ab")
        for number in range(40):
            long.submit(Candidate(number, {"columns": 128, "fault": "sleeps"}))
        long.wait(0)
        assert ran(short, "none", "none") == [Status.CORRECT] * 2
        assert len(drain(long)) == 40

    def test_threads_may_wait_at_the_same_time(self, session: Session, kernel_file: Path) -> None:
        small = problem(kernel_file)
        found: dict[int, list[Status]] = {}

        def work(number: int) -> None:
            executor = RayExecutor(small, session=session)
            found[number] = ran(executor, *["none", "raises", "dies"] * 3)
            executor.close()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        expected = [Status.CORRECT, Status.COMPILE, Status.COMPILE] * 3
        assert found == dict.fromkeys(range(4), expected)

    def test_a_worker_that_is_killed_costs_nothing(
        self, session: Session, kernel_file: Path
    ) -> None:
        import ray

        executor = RayExecutor(problem(kernel_file), session=session)
        for number in range(8):
            executor.submit(Candidate(number, {"columns": 128, "fault": "sleeps"}))
        first = executor.wait()
        ray.kill(*actors(session))
        rest = drain(executor)
        assert sorted(r.number for r in (*first, *rest)) == list(range(8))
        assert {r.status for r in (*first, *rest)} == {Status.CORRECT}

    def test_what_kills_its_worker_from_outside_is_tried_three_times(
        self, session: Session, tmp_path: Path
    ) -> None:
        marks = tmp_path / "marks"
        write_kernel(tmp_path)
        path = tmp_path / "double.py"
        path.write_text(path.read_text().replace("os._exit(7)", _LEAVE_A_MARK.format(marks)))
        executor = RayExecutor(problem(path), session=session)
        assert ran(executor, "none", "dies", "none") == [
            Status.CORRECT,
            Status.RUNTIME,
            Status.CORRECT,
        ]
        assert marks.read_text() == "xxx"


_LEAVE_A_MARK = "open('{}', 'a').write('x'); os.kill(os.getpid(), 9)"


class NoPool:
    """What a pool is to an executor that is its own only worker."""

    def join(self, *_: object) -> None: ...

    leave = wait = join

    def locked(self) -> AbstractContextManager[None]:
        return nullcontext()


def test_one_whose_machine_lacked_something_is_tried_again_twice(tmp_path: Path) -> None:
    session: Any = SimpleNamespace(pool=NoPool(), workers=1)
    executor = RayExecutor(problem(write_kernel(tmp_path)), session=session)
    (kind,) = executor._kinds
    load = executor.next_call(kind, 1, False)
    assert load is not None
    executor.take(load, [None])  # type: ignore[list-item]
    executor.submit(Candidate(3, {"columns": 512}))
    lacking = Measurement(3, Status.RUNTIME, "measured", reason="no core", again=True)
    calls = 0
    while call := executor.next_call(kind, 1, False):
        executor.take(call, [write_answer(lacking)])
        calls += 1
    (result,) = executor.wait()
    assert (calls, result.status, result.reason) == (3, Status.RUNTIME, "tried 3 times: no core")
