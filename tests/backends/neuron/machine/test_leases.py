from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.backends.neuron.machine.leases import NoCoreError, leased, parse_cores, visible_cores
from tuner.runtime.errors import TunerError

HOLDER = """
import sys, time
from pathlib import Path
from tuner.runtime.errors import TunerError
from tuner.backends.neuron.machine.leases import leased
with leased([0, 1], folder=Path(sys.argv[1])) as core:
    print(core, flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "0\n"
    return child


def test_another_process_takes_another_core(tmp_path: Path) -> None:
    child = holder(tmp_path)
    try:
        with leased([0, 1], folder=tmp_path) as core:
            assert core == 1
            with pytest.raises(NoCoreError) as raised, leased([0], folder=tmp_path):
                pass
        assert str(raised.value) == (
            f"no NeuronCore got free within 0 s (held: 0 by process {child.pid})"
        )
    finally:
        child.kill()
        child.wait()
    with leased([0], folder=tmp_path) as core:  # its lock went with it
        assert core == 0


def test_a_core_is_waited_for(tmp_path: Path) -> None:
    child = holder(tmp_path)
    child.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(NoCoreError), leased([0], wait_s=0.3, folder=tmp_path):
        pass
    assert time.monotonic() - started >= 0.3
    child.kill()
    with leased([0], wait_s=30, folder=tmp_path) as core:
        assert core == 0
    child.wait()


def test_the_neighbour_stays_idle_where_the_hbm_is_exclusive(tmp_path: Path) -> None:
    with leased([3], exclusive_hbm=True, folder=tmp_path) as core:
        assert core == 3
        for busy in (2, 3):
            with pytest.raises(NoCoreError), leased([busy], folder=tmp_path):
                pass
        with leased([1], folder=tmp_path):
            pass


def test_a_logical_core_holds_its_physical_ones(tmp_path: Path) -> None:
    with leased([1], lnc=2, folder=tmp_path):
        for busy in (2, 3):
            with pytest.raises(NoCoreError), leased([busy], folder=tmp_path):
                pass
        with leased([0], lnc=2, folder=tmp_path):
            pass


def _work(folder: Path, shared: Path, times: int) -> None:
    for _ in range(times):
        with leased([0, 1, 2], exclusive_hbm=True, wait_s=60, folder=folder) as core:
            mark = shared / str(core // 2)
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails where two hold one
            time.sleep(0.001)
            mark.unlink()


def test_many_processes_never_hold_the_same(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    spawn = multiprocessing.get_context("fork")
    children = [spawn.Process(target=_work, args=(tmp_path / "locks", shared, 20)) for _ in "abcd"]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert list(shared.iterdir()) == []


def test_no_core() -> None:
    with (
        pytest.raises(NoCoreError, match="there is no NeuronCore on this machine"),
        leased([]),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "cores"),
    [("0", (0,)), ("1-3", (1, 2, 3)), ("0,2", (0, 2)), ("4, 0-1,0", (4, 0, 1))],
)
def test_cores_by_name(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cores(text) == cores


@pytest.mark.parametrize("text", ["", "x", "3-1", "-1", "0,,1", "0-99999999", "1-2-3", "٣-0"])
def test_what_names_no_cores(text: str) -> None:
    with pytest.raises(TunerError, match="NEURON_RT_VISIBLE_CORES="):
        parse_cores(text)


@given(st.lists(st.integers(0, 99), min_size=1, unique=True))
def test_cores_come_back_as_they_were_named(cores: list[int]) -> None:
    assert parse_cores(",".join(str(core) for core in cores)) == tuple(cores)


def test_cores_that_ray_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEURON_RT_VISIBLE_CORES", raising=False)
    assert visible_cores(2) == (0, 1)
    monkeypatch.setenv("NEURON_RT_VISIBLE_CORES", "5")
    assert visible_cores(2) == (5,)
