from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuner.database import lock as lock_module
from tuner.database import locked
from tuner.runtime.errors import TunerError

HOLD = """
import sys, time
from tuner.database import locked
with locked(sys.argv[1], "job"):
    print("held", flush=True)
    time.sleep(300)
"""


def take(results: Path, name: str = "job") -> None:
    with locked(results, name):
        pass


def test_another_process_is_refused_and_the_owner_named_until_it_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "held\n"
            with pytest.raises(TunerError) as error:
                take(tmp_path)
            take(tmp_path, "another job")
        finally:
            owner.kill()
    who = f"process {owner.pid} of {getpass.getuser()} on {socket.gethostname()}, for"
    said = f"this job is running already in {tmp_path}: {who}"
    assert re.fullmatch(rf"{re.escape(said)} \d+ s", str(error.value))
    take(tmp_path)


def test_one_process_cannot_take_it_twice(tmp_path: Path) -> None:
    with locked(tmp_path, "job"), pytest.raises(TunerError, match=f"process {os.getpid()} of"):
        take(tmp_path)


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, "job"):
        _ = 1 / 0
    take(tmp_path)


def test_the_last_owner_is_the_one_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    lock = tmp_path / "local" / "job.lock"
    lock.write_text('{"process": 4194303, "user": "somebody with quite a long name"}' * 9)
    with locked(tmp_path, "job"):
        assert os.getpid() == json.loads(lock.read_text())["process"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (119, "119 s"), (300, "5 min"), (7200, "2 h"), (200_000, "2 days"), (-99, "0 s")],
)
def test_the_owners_age_is_told(tmp_path: Path, seconds: float, told: str) -> None:
    lock = tmp_path / "local" / "job.lock"
    with locked(tmp_path, "job"):
        since = time.time() - seconds
        lock.write_text(json.dumps({"process": 7, "user": "a", "host": "b", "since": since}))
        with pytest.raises(TunerError, match=f": process 7 of a on b, for {told}$"):
            take(tmp_path)


@pytest.mark.parametrize("text", ["", "[" * 5000, '{"since": "x"}', "\0", "9" * 5000])
def test_an_owner_that_cannot_be_read_is_another_process(tmp_path: Path, text: str) -> None:
    with locked(tmp_path, "job"):
        (tmp_path / "local" / "job.lock").write_text(text)
        with pytest.raises(TunerError, match=r": another process$"):
            take(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "precious").write_text("text")
    (tmp_path / "local" / "job.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(TunerError, match=r"job\.lock: Too many levels of symbolic links"):
        take(tmp_path)
    assert (tmp_path / "precious").read_text() == "text"


def test_who_waits_is_refused_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "WAIT_S", 0.1)
    with (
        locked(tmp_path, "database"),
        pytest.raises(TunerError, match="the database is locked in"),
        locked(tmp_path, "database", wait=True),
    ):
        pass


def test_another_results_folder_is_another_job(tmp_path: Path) -> None:
    with locked(tmp_path / "a", "job"):
        take(tmp_path / "b")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TunerError, match="file/local"):
        take(tmp_path / "file")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "x" * 300, "\u00e4" * 300, "a/b", ".."])
def test_any_name_can_be_locked(tmp_path: Path, name: str) -> None:
    with locked(tmp_path, name):
        with pytest.raises(TunerError, match="running already"):
            take(tmp_path, name)
        take(tmp_path, f"{name}2")
    files = sorted((tmp_path / "local").iterdir())
    assert len(files) == 2
    assert all(len(file.name.encode()) < 130 for file in files)
