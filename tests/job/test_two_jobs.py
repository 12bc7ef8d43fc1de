"""Two drivers in one results folder, each a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.backends.small_kernel import write_space
from tuner.database import Store

ROOT = Path(__file__).parents[2]
RUN = "import sys; from tuner.cli import main; main(sys.argv[1:])"


def started(folder: Path, shape: str, *more: str) -> subprocess.Popen[str]:
    space = str(folder / "double.toml")
    words = ["tune", space, "--shape", shape, "--ray", "serial", "--results", str(folder / "r")]
    command = [sys.executable, "-c", RUN, *words, "--sampler", "random", "--verify", "none", *more]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_jobs_of_other_workloads_run_side_by_side(tmp_path: Path) -> None:
    write_space(tmp_path)
    jobs = [started(tmp_path, f"M={M},N=512", "--trials", "12") for M in (128, 256)]
    for job in jobs:
        _, err = job.communicate(timeout=200)
        assert job.returncode == 0, err
    with Store(tmp_path / "r") as store:
        numbers = {s.info.shape: [t.number for t in store.trials(s.id)] for s in store.studies()}
    assert numbers == {f"M={M},N=512": list(range(12)) for M in (128, 256)}


@pytest.mark.slow
def test_a_second_driver_on_one_job_is_told_who_is_the_first(tmp_path: Path) -> None:
    write_space(tmp_path, faults=("none", "sleeps"))
    first = started(tmp_path, "M=256,N=512", "--trials", "40")
    try:
        until = time.monotonic() + 100
        while not list(tmp_path.glob("r/local/double*.lock")) and time.monotonic() < until:
            time.sleep(0.1)
        second = started(tmp_path, "M=256,N=512", "--trials", "40")
        _, err = second.communicate(timeout=100)
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 2
    told = (
        rf"error: this job is running already in .*: process {first.pid} of \S+ on \S+, for \d+ s"
    )
    assert re.fullmatch(told, err.strip()), err
