from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import service
from tests.process.processes import running
from tuner.process import Failure, Worker
from tuner.process.trees import descendants, has_ended

SERVICE = service.__file__
ENOUGH = {"": 30.0}
MEMORY_BYTES = 300 << 20
GONE_S = 10.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker]:
    worker = Worker(SERVICE, memory_bytes=MEMORY_BYTES)
    yield worker
    worker.close()


@pytest.fixture
def own() -> Iterator[Worker]:
    worker = Worker(SERVICE)
    yield worker
    worker.close()


def ask(
    worker: Worker, words: str = "", seconds: float = 30.0, problem: bytes = b"P"
) -> list[str] | Failure:
    answer = worker.answer(problem, 5, words.encode(), {"": 30.0, "compile": seconds})
    return answer if isinstance(answer, Failure) else answer.decode().split()


def failed(worker: Worker, words: str, seconds: float = 30.0) -> Failure:
    answer = ask(worker, words, seconds)
    assert isinstance(answer, Failure)
    return answer


def answered(worker: Worker, problem: bytes = b"P") -> list[str]:
    answer = ask(worker, problem=problem)
    assert isinstance(answer, list)
    return answer


def test_one_child_answers_again_and_again(shared: Worker) -> None:
    problem, number, pid, _ = answered(shared)
    assert (problem, number) == ("P", "5")
    assert answered(shared)[2] == pid != str(os.getpid())


def test_a_child_knows_several_problems(shared: Worker) -> None:
    pids = {(answer := answered(shared, each))[0]: answer[2] for each in (b"A", b"B", b"A")}
    assert list(pids) == ["A", "B"]
    assert len(set(pids.values())) == 1


def test_a_refused_problem_says_why(shared: Worker) -> None:
    failure = shared.load(b"refused")
    assert failure is not None
    assert (failure.kind, failure.said) == ("problem", "no such problem")
    assert answered(shared)[0] == "P"


@pytest.mark.parametrize("fault", ["hangs", "ignores"])
def test_a_hanging_child_is_replaced_at_its_deadline(shared: Worker, fault: str) -> None:
    failure = failed(shared, fault, 0.5)
    assert (failure.kind, failure.phase) == ("timeout", "compile")
    assert 0.5 <= failure.took_s < 2.5
    assert answered(shared)[0] == "P"


def test_each_phase_has_a_deadline_of_its_own(shared: Worker) -> None:
    deadlines = {"compile": 0.5, "measure": 10.0}
    assert isinstance(shared.answer(b"P", 1, b"slow 0.9", deadlines), bytes)
    failure = shared.answer(b"P", 1, b"slow 20", {"compile": 20.0, "measure": 0.3})
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.phase) == ("timeout", "measure")


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("crashes", "signal", signal.SIGSEGV),
        ("killed", "signal", signal.SIGKILL),
        ("exits", "exit", 7),
    ],
)
def test_a_child_that_dies_is_told_and_replaced(
    shared: Worker, fault: str, kind: str, code: int
) -> None:
    failure = failed(shared, fault)
    assert (failure.kind, failure.code, failure.phase) == (kind, code, "compile")
    assert answered(shared)[0] == "P"


def test_a_child_that_closes_its_connection_is_ended_at_once(shared: Worker) -> None:
    began = time.monotonic()
    assert failed(shared, "deaf").kind == "exit"
    assert time.monotonic() - began < 8
    assert answered(shared)[0] == "P"


def test_a_child_forgets_problems_rather_than_growing(shared: Worker) -> None:
    for number in range(20):
        assert answered(shared, str(number).encode())[0] == str(number)
    assert answered(shared, b"0")[0] == "0"


def test_last_words_are_kept_and_those_of_others_are_not(shared: Worker) -> None:
    assert failed(shared, "exits").said == "last words\n"
    assert failed(shared, "crashes").said == ""


@pytest.mark.parametrize("fault", ["hogs", "asks"])
def test_a_child_that_wants_more_than_its_memory_is_ended(shared: Worker, fault: str) -> None:
    assert failed(shared, fault).kind == "memory"
    assert answered(shared)[0] == "P"


def test_what_a_child_leaves_behind_is_ended(shared: Worker) -> None:
    seconds = f"98{os.getpid()}"
    assert failed(shared, f"litters {seconds}").kind == "exit"
    assert running(seconds) == []


def test_output_without_end_blocks_nobody(shared: Worker) -> None:
    assert ask(shared, "talks") != []
    assert answered(shared)[0] == "P"


def test_nonsense_on_the_childs_socket_ends_the_child_only(own: Worker) -> None:
    for fd in range(3, 10):
        answer = ask(own, f"babbles {fd}", 2.0)
        if isinstance(answer, Failure):
            assert answered(own)[0] == "P"


def test_scratch_folders_go_with_their_child(own: Worker) -> None:
    before = Path(answered(own)[3])
    assert before.is_dir()
    failed(own, "exits")
    assert not before.exists()
    after = Path(answered(own)[3])
    own.close()
    assert not after.parent.exists()


def test_a_killed_guard_takes_its_child_along_and_is_replaced(own: Worker) -> None:
    pid = int(answered(own)[2])
    (guard,) = [each for each in descendants(os.getpid()) if pid in descendants(each)]
    os.kill(guard, signal.SIGKILL)
    assert has_ended(pid, GONE_S)
    assert failed(own, "").kind == "lost"
    assert answered(own)[0] == "P"


def test_what_a_child_of_a_killed_guard_started_is_ended(own: Worker) -> None:
    seconds = f"98{os.getpid()}"

    def kill_guard() -> None:
        while not running(seconds):
            time.sleep(0.02)
        (stray,) = running(seconds)
        guard, _ = [each for each in descendants(os.getpid()) if stray in descendants(each)]
        os.kill(guard, signal.SIGKILL)

    answered(own)
    killer = threading.Thread(target=kill_guard)
    killer.start()
    assert failed(own, f"strays {seconds}").kind == "lost"
    killer.join()
    assert running(seconds) == []


def test_closing_ends_all_and_may_be_done_twice() -> None:
    worker = Worker(SERVICE)
    pid = int(answered(worker)[2])
    worker.close()
    worker.close()
    assert has_ended(pid, GONE_S)


def test_a_service_that_cannot_be_imported_says_so() -> None:
    worker = Worker("tuner.no_such_service")
    failure = worker.load(b"P")
    assert failure is not None
    assert failure.kind == "start"
    assert "tuner.no_such_service" in failure.said


def test_everything_ends_with_the_process_that_started_it() -> None:
    end, other = os.pipe()
    parent = os.fork()
    if parent == 0:
        worker = Worker(SERVICE)
        os.write(other, f"{answered(worker)[2]}\n".encode())
        time.sleep(1000)
    pid = int(os.read(end, 100))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert has_ended(pid, GONE_S)
