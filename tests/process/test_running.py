from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from tests.process.processes import running
from tuner.process import Finished, run
from tuner.process.trees import has_ended

GONE_S = 10.0


def sh(
    script: str, folder: Path, deadline_s: float = 30.0, memory_bytes: int | None = None
) -> Finished:
    command = ["sh", "-c", script]
    return run(command, deadline_s=deadline_s, folder=folder, memory_bytes=memory_bytes)


def test_a_program_runs_to_its_end(tmp_path: Path) -> None:
    done = sh("echo out; echo err >&2; pwd; exit 3", tmp_path)
    assert (done.ended, done.code, done.stderr) == ("exit", 3, "err\n")
    assert done.stdout.split() == ["out", str(tmp_path)]


def test_the_environment_is_what_was_given(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "ONLY": "this"}
    done = run(["env"], deadline_s=30, folder=tmp_path, environment=environment)
    assert "ONLY=this" in done.stdout.splitlines()
    assert "HOME=" not in done.stdout


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    seconds = f"97{os.getpid()}"
    done = sh(f"setsid sleep {seconds} & sleep {seconds}", tmp_path, 0.5)
    assert done.ended == "timeout"
    assert 0.5 <= done.elapsed_s < 3
    assert running(seconds) == []


def test_what_a_program_leaves_behind_is_ended(tmp_path: Path) -> None:
    seconds = f"96{os.getpid()}"
    assert sh(f"sleep {seconds} >/dev/null 2>&1 &", tmp_path).code == 0
    assert running(seconds) == []


def test_a_signal_is_told(tmp_path: Path) -> None:
    done = sh("kill -SEGV $$", tmp_path)
    assert (done.ended, done.code) == ("signal", signal.SIGSEGV)


def test_memory_is_counted_over_all_that_a_program_starts(tmp_path: Path) -> None:
    hog = f"{sys.executable} -c \"x = b'x' * (150 << 20); import time; time.sleep(20)\""
    done = sh(f"{hog} & {hog} & wait", tmp_path, memory_bytes=250 << 20)
    assert done.ended == "memory"
    assert done.elapsed_s < 20


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = run(["/no/such/program"], deadline_s=30, folder=tmp_path)
    assert (done.ended, done.code) == ("exit", 127)
    assert "/no/such/program" in done.stderr


def test_only_the_last_of_much_output_is_kept(tmp_path: Path) -> None:
    done = sh("yes | head -c 10000000; echo the end", tmp_path)
    assert done.stdout.endswith("the end\n")
    assert len(done.stdout) <= 64 << 10


def test_a_program_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    parent = os.fork()
    if parent == 0:
        sh(f"echo $$ > {mark}.new; mv {mark}.new {mark}; sleep 1000", tmp_path, 1000)
    while not mark.exists():
        time.sleep(0.02)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert has_ended(int(mark.read_text()), GONE_S)


def test_a_program_of_a_guard_that_is_killed_is_ended(tmp_path: Path) -> None:
    seconds = f"95{os.getpid()}"

    def kill_guard() -> None:
        while not (found := running(seconds)):
            time.sleep(0.02)
        guard = int(Path(f"/proc/{found[0]}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guard, signal.SIGKILL)

    killer = threading.Thread(target=kill_guard)
    killer.start()
    command = ["sleep", seconds]
    assert run(command, deadline_s=60, folder=tmp_path).ended == "signal"
    killer.join()
    assert running(seconds) == []


def test_a_large_environment_is_handed_on(tmp_path: Path) -> None:
    many = {f"MODULE_{i}": "x" * 10_000 for i in range(60)}
    environment = {"PATH": os.environ["PATH"], **many}
    done = run(
        ["sh", "-c", "echo ${#MODULE_59}"], deadline_s=30, folder=tmp_path, environment=environment
    )
    assert done.stdout == "10000\n"


def test_signals_mean_to_a_program_what_they_mean_in_a_shell(tmp_path: Path) -> None:
    ignored = sh("grep SigIgn /proc/self/status", tmp_path).stdout.split()[1]
    assert int(ignored, 16) & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)) == 0
