from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.small_kernel import problem
from tests.cli.console import console
from tests.execution.conformance import ExecutorConformance, drain
from tuner.backends import Candidate, Problem, Status
from tuner.execution import Executor, RayExecutor, Session, cluster
from tuner.execution.code import package_folder
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError

SHAPE = "M=256,K=512,N=1024"


@pytest.mark.slow
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

    def test_a_batch_for_each_worker(self, executor: Executor) -> None:
        assert executor.capacity == 4

    def test_workers_that_run_other_code_are_refused(
        self, small: Problem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster, "code_hash", lambda: "mine")
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
        assert found.pop("loops") == (Status.TIMEOUT, "took longer than 5 s")
        assert set(found.values()) == {(Status.CORRECT, "")}

    def test_one_that_kills_its_worker_is_the_only_one_to_fail(self, executor: RayExecutor) -> None:
        faults = ["none", "dies", "skips", "element", "column"]
        found = self.statuses(executor, faults)
        status, reason = found.pop("dies")
        assert status == Status.RUNTIME
        assert reason.startswith("the worker died 3 times: ")
        assert "\n" not in reason
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


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_executors_of_a_session_share_idle_workers_and_end_busy_ones(kernel_file: Path) -> None:
    import ray

    session = Session("local", 1)
    small = problem(kernel_file)
    first = RayExecutor(small, workers=1, session=session)
    actor = first._workers[0].actor
    first.submit(Candidate(0, {"columns": 128}))
    assert [result.status for result in drain(first)] == [Status.CORRECT]
    first.close()
    assert session.idle == [actor]
    second = RayExecutor(small, workers=1, session=session)
    assert second._workers[0].actor is actor
    second.submit(Candidate(0, {"columns": 128, "fault": "loops"}))
    assert second.wait(0) == []
    second.close()
    assert session.idle == []
    third = RayExecutor(small, workers=1, session=session)
    third.submit(Candidate(0, {"columns": 128}))
    assert [result.status for result in drain(third)] == [Status.CORRECT]
    third.close()
    session.close()
    assert session.idle == []
    assert ray.is_initialized()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_kernel_that_cannot_be_loaded_takes_no_room_in_a_session(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def double(x):\n    pass\nraise OSError('gone')\n")
    session = Session("local", 1)
    for _ in range(6):  # more than there are cores
        with pytest.raises(TunerError, match="cannot be loaded: OSError: gone"):
            RayExecutor(problem(path, kernel=read_kernel(path, "double")), 1, session=session)
    assert session.idle == []
