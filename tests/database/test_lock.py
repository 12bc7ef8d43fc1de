from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    said = rf"this job is running already in {re.escape(str(tmp_path))}: process {owner.pid} since "
    assert re.match(said + r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", str(error.value))
    take(tmp_path)


def test_one_process_cannot_take_it_twice(tmp_path: Path) -> None:
    with locked(tmp_path, "job"), pytest.raises(TunerError, match=f"process {os.getpid()} since"):
        take(tmp_path)


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, "job"):
        _ = 1 / 0
    take(tmp_path)


def test_the_last_owner_is_the_one_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    lock = tmp_path / "local" / "job.lock"
    lock.write_text("process 4194303 since a very long time ago, and more\n")
    with locked(tmp_path, "job"):
        assert re.fullmatch(rf"process {os.getpid()} since [-: \d]{{19}}\n", lock.read_text())


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
