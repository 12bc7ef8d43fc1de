from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cli.console import Call
from tests.job.batches.files import JOBS, write_jobs
from tuner.cli import batch_progress
from tuner.cli.batch_progress import batch_shown
from tuner.job import BatchProgress, Done, Progress
from tuner.job.tuning import run_job
from tuner.neuroncore import device


@pytest.fixture
def jobs(tmp_path: Path, space_file: Path) -> Path:
    assert space_file.parent == tmp_path
    return write_jobs(tmp_path)


def test_a_batch_prints_a_line_a_job_and_a_table(call: Call, jobs: Path, tmp_path: Path) -> None:
    said = call("batch", str(jobs), "--export", str(tmp_path / "t.json"))
    assert said.code == 0
    lines = sorted(said.err.splitlines())
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
    first = "job 1 of 3: double M=128,N=512 float32 on trn2: anew, changed: search space"
    assert said.err.splitlines()[0] == first
    assert said.err.count("anew, changed: search space") == 3
    more = call("batch", str(jobs), "--trials", "3")
    assert more.err.count(": goes on\n") == 3


def test_how_many_at_once_may_be_stated(call: Call, jobs: Path, tmp_path: Path) -> None:
    table = str(tmp_path / "t.json")
    assert call("batch", str(jobs), "--at-once", "3", "--export", table).code == 0
    again = call("batch", str(jobs), "--at-once", "0")
    assert (again.code, again.err) == (
        2,
        f"error: {jobs}: at_once=0: expected a whole number from 1 to 64\n",
    )


def running(number: int, done: int, **more: object) -> BatchProgress:
    tuning = Progress(done, 200, done, 12.5, 20.0, "simulated", {}, 2.0, **more)  # type: ignore[arg-type]
    return BatchProgress(number, 136, f"xuv M={number}", tuning=tuning, left_s=754.0)


STATES = [
    BatchProgress(12, 136, "jobs.toml: entry 2", checking=True),
    BatchProgress(1, 136, "xuv M=1", resumed=True),
    BatchProgress(2, 136, "xuv M=2"),
    running(1, 35),
    running(2, 20),
    BatchProgress(1, 136, "xuv M=1", done=Done("xuv M=1", failed="no config ran"), left_s=700.0),
    running(2, 80),
    running(2, 80, stopping=True),
    running(2, 81, stopping=True),
]


def test_in_a_log_a_line_now_and_then_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_progress, "CHECKED_EVERY_S", 0.0)
    monkeypatch.setattr(batch_progress, "LINE_EVERY_S", 0.0)
    with batch_shown() as report:
        for state in STATES:
            report(state)
    assert capsys.readouterr().err.splitlines() == [
        "checking job 12 of 136",
        "job 1 of 136: xuv M=1: goes on",
        "0 of 136 jobs done, 2 running (job 1: 35/200 trials, job 2 begins); about 13 min left",
        "0 of 136 jobs done, 2 running (job 1: 35/200 trials, job 2: 20/200 trials); "
        "about 13 min left",
        "job 1 of 136: xuv M=1: failed: no config ran; about 12 min left",
        "1 of 136 jobs done, 1 running (job 2: 80/200 trials); about 13 min left",
        "stopping, Ctrl-C again to abort",
    ]


def test_between_its_lines_a_log_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with batch_shown() as report:
        for state in (STATES[0], *STATES[2:5]):
            report(state)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_for_each_job_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "200")
    shown = []
    with batch_shown() as report:
        for state in STATES:
            report(state)
            shown.append([(task.description, task.completed) for task in report._bars.tasks])
    assert shown[0] == [("checking job 12 of 136", 11)]
    assert shown[2] == [("jobs done", 0), ("job 1: xuv M=1", 0), ("job 2: xuv M=2", 0)]
    assert shown[4] == [("jobs done", 0), ("job 1: xuv M=1", 35), ("job 2: xuv M=2", 20)]
    assert shown[5] == [("jobs done", 1), ("job 2: xuv M=2", 20)]
    said = screen.getvalue()
    assert "job 1 of 136: xuv M=1: failed: no config ran; about 12 min left" in said
    assert "best 12.5 us (simulated)" in said
    assert "about 13 min left" in said
