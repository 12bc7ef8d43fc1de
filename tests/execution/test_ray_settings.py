from __future__ import annotations

import subprocess
import sys

import pytest

TWICE = """
from tuner.execution import Session

for _ in range(2):
    Session("local", 1).close()
print("both")
"""


@pytest.mark.slow
def test_one_process_starts_a_ray_of_its_own_again_and_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.splitlines()[-1:] == ["both"], done.stderr[-2000:]
