"""Which runs of pytest take the tests that take long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "faults", "slow"),
    [
        ([], False, False),
        (["tests"], False, False),
        (["-m", "faults"], True, False),
        (["-m", "slow"], False, True),
        (["-m", "slow or faults"], True, True),
        (["-m", "not faults"], False, False),
        (["tests/faults"], True, False),
        (["tests/faults/test_killed_writer.py"], True, False),
        (["tests/test_long_tests.py"], False, True),
        (
            ["tests", "tests/test_long_tests.py::test_only_a_run_that_names_them_takes_them"],
            False,
            True,
        ),
    ],
)
def test_only_a_run_that_names_them_takes_them(words: list[str], faults: bool, slow: bool) -> None:
    quick = ["--collect-only", "-qq", "--ignore-glob=tests/[!ft]*"]
    command = [sys.executable, "-m", "pytest", *quick, *words]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert faults == ("tests/faults/test_killed_writer.py" in listed)
    assert slow == ("tests/test_long_tests.py" in listed)
