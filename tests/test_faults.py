"""Which runs of pytest take the tests in tests/faults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["tests", "-m", "faults"], True),
        (["tests", "-m", "not faults"], False),
        (["tests"], False),
        (["tests", "-m", "not slow"], False),
        (["tests/faults"], True),
        (["tests/faults/test_killed_writer.py", "-m", "not slow"], True),
    ],
)
def test_only_a_run_that_names_the_faults_takes_them(words: list[str], taken: bool) -> None:
    quick = ["--collect-only", "-qq", "--ignore-glob=tests/[!f]*"]
    command = [sys.executable, "-m", "pytest", *quick, *words]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert taken == ("tests/faults/test_killed_writer.py" in listed)
