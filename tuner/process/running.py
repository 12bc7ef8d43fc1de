"""Runs one program to its end, within limits."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.process.framing import receive_order, send_order
from tuner.process.guard import command as guard_command
from tuner.process.trees import end_marked

__all__ = ["Finished", "Tail", "new_mark", "open_guard", "run"]

TAIL_BYTES = 64 << 10
START_S = 60.0
SETTLE_S = 10.0


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        ended: "exit", "signal", "timeout" or "memory".
        code: Its exit code or the number of the signal.
        stderr: The last that it wrote there, at most 64 KiB.
        stdout: The same.
        elapsed_s: Wall-clock seconds.
    """

    ended: str
    code: int | None
    stderr: str
    stdout: str
    elapsed_s: float


class Tail:
    """The reading end of a pipe, and the last that came through it."""

    def __init__(self) -> None:
        self.end, self.other = os.pipe()
        os.set_blocking(self.end, False)
        self._bytes = bytearray()
        self.open = True

    def read(self) -> None:
        """Reads what there is."""
        while self.open:
            try:
                some = os.read(self.end, TAIL_BYTES)
            except BlockingIOError:
                return
            self.open = bool(some)
            self._bytes += some
            del self._bytes[:-TAIL_BYTES]
            if len(some) < TAIL_BYTES:
                return

    @property
    def text(self) -> str:
        """What came last."""
        return self._bytes.decode(errors="replace")

    def clear(self) -> None:
        """Forgets it."""
        self._bytes.clear()

    def close_other(self) -> None:
        """Closes this process's copy of the writing end."""
        if self.other >= 0:
            os.close(self.other)
            self.other = -1

    def close(self) -> None:
        """Closes both ends."""
        self.close_other()
        if self.end >= 0:
            os.close(self.end)
            self.end = -1


def new_mark() -> str:
    """Returns a variable by which a guard's processes are known, as NAME=VALUE."""
    return f"NKI_TUNER_GUARD={secrets.token_hex(8)}"


def open_guard(
    service: str = "",
    timeout_s: float = START_S,
    mark: str = "",
    environment: Mapping[str, str] | None = None,
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Starts a guard and returns it with the socket that takes orders.

    Args:
        service: What answers candidates in its children; empty where they are programs.
        timeout_s: What its start may take.
        mark: A variable, NAME=VALUE, of its environment and that of its children.
        environment: The rest of it; None for that of this process, without its secrets.

    Raises:
        OSError: It did not start; says why, and its exit code, if that is why, as `errno`.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        guard = subprocess.Popen(
            guard_command(theirs.fileno(), service),
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            env={
                **(_own_environment() if environment is None else environment),
                **dict([mark.split("=")] if mark else []),
            },
            process_group=0,
        )
    ours.settimeout(timeout_s)
    try:
        greeting, _ = receive_order(ours)
    except TimeoutError:
        greeting = {"failed": f"not ready within {timeout_s:g} s"}
    if greeting is None or "ready" not in greeting:
        ours.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.wait(SETTLE_S if greeting is None else 0)
        guard.kill()
        code = guard.wait()
        said = (greeting or {}).get("failed", f"it ended with code {code}")
        raise OSError(code if greeting is None else 0, said)
    ours.settimeout(None)
    return guard, ours


def _own_environment() -> dict[str, str]:
    """This process's environment without what lets one into its Ray."""
    return {name: value for name, value in os.environ.items() if "RAY_AUTH" not in name}


def run(
    command: Sequence[str],
    *,
    deadline_s: float,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    memory_bytes: int | None = None,
) -> Finished:
    """Runs a program; whatever it started has ended too when this returns.

    Args:
        command: The program and its arguments.
        deadline_s: Wall-clock seconds that it may take.
        folder: Its working directory.
        environment: Its whole environment; None for that of this process, without its secrets.
        memory_bytes: Resident bytes that it and what it starts may have together.
    """
    started = time.monotonic()
    mark = new_mark()
    tails = (Tail(), Tail())
    out, err = tails
    try:
        guard, control = open_guard(mark=mark, environment=environment)
    except OSError as error:
        for tail in tails:
            tail.close()
        return Finished("exit", 127, str(error), "", time.monotonic() - started)
    try:
        order = {
            "do": "spawn",
            "command": [os.fspath(word) for word in command],
            "folder": os.fspath(folder),
            "memory_bytes": memory_bytes,
        }
        send_order(control, order, (out.other, err.other))
        for tail in tails:
            tail.close_other()
        ended, code = _follow(control, tails, started + deadline_s)
    except OSError:  # the guard is gone
        ended, code = "signal", None
    finally:
        control.close()
        try:
            guard.wait(2 * SETTLE_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        if guard.returncode:
            end_marked(mark)  # what a guard that was killed has left
        for tail in tails:
            tail.read()
            tail.close()
    return Finished(ended, code, err.text, out.text, time.monotonic() - started)


def _follow(
    control: socket.socket, tails: tuple[Tail, Tail], until: float
) -> tuple[str, int | None]:
    """Reads what a program says until it has ended; ends it when its time is over."""
    late = False
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        for tail in tails:
            selector.register(tail.end, selectors.EVENT_READ, tail)
        while True:
            left = until - time.monotonic()
            if left <= 0 and late:
                return "timeout", None
            if left <= 0:
                late, until = True, time.monotonic() + SETTLE_S
                send_order(control, {"do": "kill"})
                continue
            for key, _ in selector.select(left):
                if key.data is not None:
                    key.data.read()
                    if not key.data.open:
                        selector.unregister(key.fd)
                    continue
                said, _ = receive_order(control)
                if said is None:
                    return "signal", None
                if "ended" in said:
                    by = "timeout" if said["ended"] == "killed" else said["ended"]
                    return by, said["code"]
