from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tuner.process import Reaper, Scratch
from tuner.process.trees import has_ended, marked

GONE_S = 10.0
OWNER = """
import os, subprocess, sys
from tuner.process import Reaper, Scratch
scratch = Scratch()
reaper = Reaper(scratch.path)
sleeper = ["sleep", "1000"]
started = subprocess.Popen(sleeper, env={**os.environ, **reaper.mark}, start_new_session=True)
print(started.pid, scratch.path, flush=True)
sys.stdin.read()
"""


def sleeper(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"], env={**os.environ, **environment})


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Scratch()


@pytest.mark.slow
def test_closing_ends_what_is_marked_and_removes_the_folder(scratch: Scratch) -> None:
    reaper = Reaper(scratch.path)
    mine, other = sleeper(reaper.mark), sleeper({})
    reaper.close()
    reaper.close()
    assert mine.wait(30) == -signal.SIGKILL
    assert other.poll() is None
    assert not scratch.path.exists()
    other.kill()
    other.wait()


def test_what_ends_by_itself_is_left_to(scratch: Scratch) -> None:
    reaper = Reaper(scratch.path)
    mine = subprocess.Popen(["sleep", "0.5"], env={**os.environ, **reaper.mark})
    reaper.close()
    assert mine.wait(30) == 0


@pytest.mark.slow
def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    assert Path(folder).is_dir()
    reapers = [child for child in children(owner.pid) if child != int(pid)]
    owner.kill()
    owner.communicate()
    assert has_ended(int(pid), GONE_S)
    assert all(has_ended(reaper, GONE_S) for reaper in reapers)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_signals_that_end_a_job_do_not_end_its_reaper(scratch: Scratch) -> None:
    reaper = Reaper(scratch.path)
    mine = sleeper(reaper.mark)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for child in children(os.getpid()):
            if child != mine.pid and is_reaper(child, scratch):
                os.kill(child, number)
    reaper.close()
    assert mine.wait(30) == -signal.SIGKILL


def test_nothing_carries_a_mark_that_nobody_gave() -> None:
    assert marked("NKI_TUNER_SESSION=0123456789abcdef") == []


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_reaper(pid: int, scratch: Scratch) -> bool:
    return str(scratch.path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
