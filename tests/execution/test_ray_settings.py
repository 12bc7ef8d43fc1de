from __future__ import annotations

import subprocess
import sys

import pytest

from tuner.execution.ray_settings import listed_cores
from tuner.runtime.errors import TunerError

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


def test_neuron_cores_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    name, asked = "NEURON_RT_VISIBLE_CORES", {"neuron_cores": 4.0}
    monkeypatch.setenv(name, "4-7")  # which Ray takes for one core
    assert listed_cores(asked) == {name: "4,5,6,7"}
    assert listed_cores({}) == {}
    monkeypatch.delenv(name)
    assert listed_cores(asked) == {}
    monkeypatch.setenv(name, "4:7")
    with pytest.raises(TunerError, match="NEURON_RT_VISIBLE_CORES='4:7': expected numbers"):
        listed_cores(asked)
