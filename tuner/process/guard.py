"""The guard: a small process between this one and a child, which cannot be left behind.

It starts one child at a time, watches its memory, and ends it and everything that it started: when
told to, above the limit, and when the process that started the guard is gone, however that ended.
All descendants that lose their parent become the guard's, so none can slip away.

A child is a program, or a copy of the guard that serves candidates: the guard then imports what
these need, once, and never runs code of a kernel itself.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from tuner.process import child
from tuner.process.framing import receive_order, send_order
from tuner.process.scratch import Scratch
from tuner.process.trees import (
    adopt_orphans,
    descendants,
    die_with_parent,
    end_descendants,
    memory_of,
)

__all__ = ["command", "main"]

SOONEST_S, LATEST_S = 0.05, 1.0
"""Between two looks at the memory: as long as filling what is left takes, within these bounds."""
FILLS_PER_S = 4 << 30
NO_MEMORY = 113
"""Exit code of a child that was refused memory."""
HEADROOM = 1.25
"""A process may ask the system for so much more than the limit at once, which it then must not use:
below that its own error, which names the line, comes before the guard's end of it."""


def command(control: int, service: str = "") -> list[str]:
    """Returns the command line of a guard.

    It runs this very package, whatever else of that name its interpreter would find; for programs
    it needs nothing but the standard library, and starts the quicker.

    Args:
        control: The inherited socket.
        service: What answers candidates in its children; empty where they are programs.
    """
    folder = Path(__file__).resolve().parents[1]
    code = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('tuner', {str(folder / '__init__.py')!r}, "
        f"submodule_search_locations=[{str(folder)!r}]); "
        "sys.modules['tuner'] = module = importlib.util.module_from_spec(spec); "
        "spec.loader.exec_module(module); "
        f"from tuner.process.guard import main; main({control}, {service!r})"
    )
    return [sys.executable, *(["-P"] if service else ["-I", "-S"]), "-c", code]


def main(control: int, service: str = "") -> None:
    """Runs a guard until the process that started it is gone."""
    adopt_orphans()
    connection = socket.socket(fileno=control)
    connection.set_inheritable(False)  # or programs would hold it open
    try:
        answer = child.load_service(service) if service else None
        guard = _Guard(connection, answer)
    except Exception as error:
        send_order(connection, {"failed": f"{type(error).__name__}: {error}"})
        return
    gc.collect()
    gc.freeze()  # what is there is shared with the children as long as nobody writes to it
    guard.run()


class _Guard:
    """The loop of a guard."""

    def __init__(self, control: socket.socket, load: child.Load | None) -> None:
        self._control, self._load = control, load
        self._scratch = Scratch()
        self._child: int | None = None
        self._count = 0
        self._limit: int | None = None
        self._looked, self._look_s = 0.0, SOONEST_S
        self._ended_by = ""
        self._ending = False

    def run(self) -> None:
        """Takes orders until there is nobody to give them."""
        woken, wake = os.pipe()
        for end in (woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)
        try:
            send_order(self._control, {"ready": os.getpid()})
            while not self._ending:
                watched = self._child is not None and self._limit is not None
                timeout = self._look_s if watched else None
                control = self._control.fileno()
                ready, _, _ = select.select([control, woken], [], [], timeout)
                if woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                self._watch_memory()
                self._reap()
                if control in ready and not self._take_order():
                    return
        except OSError:  # nobody listens any more
            return
        finally:
            end_descendants()
            self._scratch.close()

    def _end(self, *_: object) -> None:
        self._ending = True

    def _take_order(self) -> bool:
        order, fds = receive_order(self._control)
        if order is None:
            return False
        if order["do"] == "kill" and self._child is not None:
            self._ended_by = "killed"
            os.kill(self._child, signal.SIGKILL)  # it is reaped with all that it started
        elif order["do"] == "spawn":
            self._spawn(order, fds)
        return True

    def _spawn(self, order: dict[str, Any], fds: list[int]) -> None:
        self._count += 1
        self._limit, self._ended_by = order["memory_bytes"], ""
        self._looked, self._look_s = 0.0, SOONEST_S
        folder = self._scratch.path / str(self._count)
        try:
            folder.mkdir()
            guard, pid = os.getpid(), os.fork()
        except OSError as error:
            send_order(self._control, {"failed": str(error)})
            raise
        if pid == 0:
            self._become_child(order, fds, folder, guard)
        self._child = pid
        for fd in fds:
            os.close(fd)
        send_order(self._control, {"spawned": pid})

    def _become_child(
        self, order: dict[str, Any], fds: list[int], folder: Path, guard: int
    ) -> NoReturn:
        """Runs in the copy of the guard, and ends it."""
        code = 127
        try:
            os.setpgid(0, 0)
            die_with_parent(guard)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            self._scratch.forget()
            _set_limits(self._limit)
            *data, out, err = fds
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            if self._load is None:
                os.chdir(order["folder"])
                _become(order["command"])
            os.chdir(folder)
            os.environ["TMPDIR"] = str(folder)
            connection = socket.socket(fileno=os.dup(data[0]))
            _close_all_but(connection.fileno())
            code = child.serve(connection, self._load)
        except MemoryError:
            code = NO_MEMORY
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        finally:
            os._exit(code)

    def _watch_memory(self) -> None:
        if self._child is None or self._limit is None or self._ended_by:
            return
        now = time.monotonic()
        if now < self._looked + self._look_s:
            return
        left = self._limit - memory_of(descendants(os.getpid()))
        self._looked, self._look_s = now, min(max(left / FILLS_PER_S, SOONEST_S), LATEST_S)
        if left < 0:
            self._ended_by = "memory"
            os.kill(self._child, signal.SIGKILL)

    def _reap(self) -> None:
        """Says how the child ended, once nothing of it is left."""
        status = None
        try:
            while (done := os.waitpid(-1, os.WNOHANG))[0]:
                status = done[1] if done[0] == self._child else status
        except ChildProcessError:
            pass
        if status is None:
            return
        end_descendants()
        shutil.rmtree(self._scratch.path / str(self._count), ignore_errors=True)
        code = os.waitstatus_to_exitcode(status)
        by = self._ended_by or ("signal" if code < 0 else "exit")
        if by == "exit" and code == NO_MEMORY and self._load is not None:
            by = "memory"
        self._child = None
        send_order(self._control, {"ended": by, "code": abs(code)})


def _become(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise OSError(error.errno, error.strerror, command[0]) from None


def _set_limits(memory_bytes: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes is not None:
        most = int(memory_bytes * HEADROOM)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _close_all_but(kept: int) -> None:
    """Closes the guard's own files in its copy: who waits for their end must not wait for it."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))
