from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.small_kernel import problem
from tests.execution.conformance import ExecutorConformance
from tuner.backends import Candidate, Problem
from tuner.execution import Executor, SerialExecutor
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError


class TestSerial(ExecutorConformance):
    @classmethod
    def make(cls, problem: Problem) -> Executor:
        return SerialExecutor(problem)


def test_the_oldest_comes_first(kernel_file: Path) -> None:
    executor = SerialExecutor(problem(kernel_file))
    for number in (3, 1, 2):
        executor.submit(Candidate(number, {}))
    assert [executor.wait(0)[0].number for _ in range(3)] == [3, 1, 2]


def test_a_kernel_that_cannot_be_loaded_is_an_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def double(x):\n    pass\nraise OSError('gone')\n")
    with pytest.raises(TunerError, match="cannot be loaded: OSError: gone"):
        SerialExecutor(problem(path, kernel=read_kernel(path, "double")))
