"""Feeds inputs to a function in a child process that may do nothing but read them."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.configuration
from hypothesis import strategies as st

__all__ = ["survives"]

SPARE_BYTES = 1 << 30
INPUT_CPU_S = 10.0
"""Processor time that one input may take."""
INPUT_S = 150.0
"""Wall-clock time that one input may take: the machine may be busy with other things."""
POLL_S = 2.0
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod"}
_CHANGES |= {"os.truncate", "os.chown", "sqlite3.connect", "shutil.rmtree", "shutil.move"}
_RUNS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn"}
_RUNS |= {"pickle.find_class", "ctypes.dlopen", "socket.connect", "sqlite3.load_extension"}


def survives(
    target: Callable[[Any], None],
    inputs: st.SearchStrategy[Any],
    count: int,
    folder: Path,
    runs_kernels: bool = False,
) -> int:
    """Calls `target` with at least `count` inputs, in children that are watched.

    Args:
        target: Raises for what is wrong; it may write to `folder` only.
        inputs: What it is called with.
        count: How many inputs.
        folder: Where it may write.
        runs_kernels: It may run the Python files in the folder.

    Returns:
        How many inputs there were.

    Raises:
        AssertionError: It raised, hung, needed much memory, died, wrote elsewhere or ran something.
    """
    done = seed = 0
    while done < count:
        done += _child(target, inputs, count - done, folder, seed, runs_kernels)
        seed += 1
        assert seed < 100, f"only {done} different inputs"
    return done


def _child(
    target: Callable[[Any], None],
    inputs: st.SearchStrategy[Any],
    count: int,
    folder: Path,
    seed: int,
    runs_kernels: bool,
) -> int:
    heard, told = os.pipe()
    failure = folder / "failure.txt"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _feed(target, inputs, count, folder, seed, runs_kernels, told)
            code = 0
        except BaseException:
            lines = [line[:300] for line in traceback.format_exc().splitlines()]
            failure.write_text("\n".join(lines[-60:]), errors="replace")
        finally:
            os._exit(code)
    os.close(told)
    try:
        done = _beats(heard, child)
    finally:
        os.close(heard)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    told_of = failure.read_text() if failure.exists() else f"see {folder}"
    assert ended != -signal.SIGKILL, f"an input took too long: {told_of}"
    assert ended == 0, f"input {done} ended the process with {ended}: {told_of}"
    return done


def _beats(pipe: int, child: int) -> int:
    """Counts the inputs that a child begins; kills it where it stays with one too long."""
    done = 0
    since, used_s = time.monotonic(), _cpu_s(child)
    while True:
        if select.select([pipe], [], [], POLL_S)[0]:
            beats = os.read(pipe, 4096)
            if not beats:
                return done
            done += len(beats)
            since, used_s = time.monotonic(), _cpu_s(child)
        elif _cpu_s(child) - used_s > INPUT_CPU_S or time.monotonic() - since > INPUT_S:
            os.kill(child, signal.SIGKILL)


def _cpu_s(child: int) -> float:
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _feed(
    target: Callable[[Any], None],
    inputs: st.SearchStrategy[Any],
    count: int,
    folder: Path,
    seed: int,
    runs_kernels: bool,
    pipe: int,
) -> None:
    hypothesis.configuration.set_hypothesis_home_dir(folder / "hypothesis")
    sys.dont_write_bytecode = True
    tempfile.tempdir = str(folder)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _watch(folder, runs_kernels)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(inputs)
    def one(given: Any) -> None:
        os.write(pipe, b".")
        target(given)

    one()


def _watch(folder: Path, runs_kernels: bool) -> None:
    """From now on this process fails where it writes outside the folder or runs something."""
    allowed = (str(folder), "/dev/null")

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _RUNS:
            raise AssertionError(f"{event}{arguments}")
        writes = event in _CHANGES
        if event == "open":
            _, mode, flags = arguments
            writes = bool((flags or 0) & _WRITING) or (mode or "r")[0] not in "r"
        if writes and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsdecode(arguments[0]).removeprefix("file://").partition("?")[0]
            if path != ":memory:" and not os.path.realpath(path).startswith(allowed):
                raise AssertionError(f"{event} of {path}")
        if (
            event == "exec"
            and not runs_kernels
            and str(arguments[0].co_filename).startswith(allowed)
        ):
            raise AssertionError(f"ran {arguments[0].co_filename}")

    sys.addaudithook(check)
