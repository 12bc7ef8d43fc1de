from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.console import Call
from tests.job.batches.files import JOBS, write_jobs
from tuner.job.run import run_job
from tuner.neuroncore import device


@pytest.fixture
def jobs(tmp_path: Path, space_file: Path) -> Path:
    assert space_file.parent == tmp_path
    return write_jobs(tmp_path)


def test_a_batch_prints_a_line_a_job_and_a_table(call: Call, jobs: Path, tmp_path: Path) -> None:
    said = call("batch", str(jobs), "--export", str(tmp_path / "t.json"))
    assert said.code == 0
    lines = said.err.splitlines()
    assert len(lines) == 3
    first = "job 1 of 3: double M=128,N=512 float32 on trn2: best "
    assert lines[0].startswith(first)
    assert all("(simulated), " in line and "x the default" in line for line in lines)
    assert "workload default best speed-up share of roofline" in said.flat
    assert said.out.count("double M=") == 3
    assert said.out.count("(simulated)") == 4 * 3
    assert "3 of 3 jobs done, 0 of them before" in said.out
    assert f"wrote 3 record(s) to {tmp_path}/t.json" in said.out
    assert "note:" not in said.out
    again = call("batch", str(jobs))
    assert again.err.count(": finished before, best ") == 3
    assert "3 of 3 jobs done, 3 of them before" in again.out
    assert f"next: nki-tuner export {tmp_path}/results -o TABLE.json" in again.out


def test_a_failed_job_gives_exit_code_1(call: Call, tmp_path: Path, space_file: Path) -> None:
    kernel = space_file.with_suffix(".py")
    kernel.write_text(kernel.read_text() + "\nraise OSError('gone')\n")
    said = call("batch", str(write_jobs(tmp_path)))
    assert said.code == 1
    told = f"failed: {kernel}: cannot be loaded: OSError: gone"
    assert (said.err.count(told), said.flat.count(told)) == (3, 3)
    assert "3 of 3 jobs done, 0 of them before, 3 failed" in said.out


def test_an_interrupted_batch_says_how_to_go_on(
    call: Call, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun = run_job, []

    def stops(*arguments: object, **options: object) -> object:
        begun.append(arguments)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("tuner.job.batches.threads.run_job", stops)
    said = call("batch", str(jobs), "--at-once", "1")
    assert said.code == 130
    assert "1 of 3 jobs done, 0 of them before" in said.out
    assert "interrupted: the same command goes on" in said.out
    monkeypatch.undo()
    assert "3 of 3 jobs done, 1 of them before" in call("batch", str(jobs)).out


def test_the_note_of_a_device_is_printed(call: Call, jobs: Path, tmp_path: Path) -> None:
    table, results = str(tmp_path / "t.json"), str(tmp_path / "results")
    said = call("batch", str(jobs), "--device", "trn1", "--trials", "1", "--export", table)
    assert f"note: {device('trn1').note}\n" in said.out
    shape = ("--shape", "M=128,N=128")
    looked = call("lookup", table, "double", *shape, "--dtype", "bfloat16")
    assert f"; note: {device('trn1').note}\n" in looked.out
    space = str(tmp_path / "double.toml")
    options = ("--trials", "1", "--ray", "serial", "--results", results)
    tuned = call("tune", space, *shape, *options, "--device", "trn1")
    assert f"note {device('trn1').note}" in tuned.flat
    assert device("trn1").note not in call("tune", space, *shape, *options).flat
    assert said.code == looked.code == tuned.code == 0


def test_a_wrong_file_is_one_line_and_exit_code_2(
    call: Call, tmp_path: Path, space_file: Path
) -> None:
    path = write_jobs(tmp_path, JOBS.replace("M=128,N=128", "M=128"))
    assert space_file.exists()
    said = call("batch", str(path))
    where = f"{path}: entry 2 of [[jobs]] (M=128)"
    assert (said.code, said.out) == (2, "")
    assert said.err == f"error: {where}: double needs a size for N (its dims: M, N)\n"


def test_a_job_that_is_done_anew_says_why(call: Call, jobs: Path, space_file: Path) -> None:
    call("batch", str(jobs))
    space_file.write_text(space_file.read_text().replace("[1, 2, 4]", "[1, 2, 8]"))
    said = call("batch", str(jobs), "--trials", "2")
    assert said.err.splitlines()[0] == (
        "job 1 of 3: double M=128,N=512 float32 on trn2: anew, changed: search space"
    )
    assert said.err.count("anew, changed: search space") == 3
    more = call("batch", str(jobs), "--trials", "3")
    assert more.err.count(": goes on\n") == 3
