"""A worker: one long-lived child that answers candidates, replaced when one of them breaks it."""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.process.child import (
    ANSWER,
    BEGINS,
    CANDIDATE,
    KEY,
    LOADED,
    NUMBER,
    PROBLEM,
    REFUSED,
)
from tuner.process.framing import Inbox, receive_order, send_message, send_order
from tuner.process.running import SETTLE_S, Tail, new_mark, open_guard
from tuner.process.trees import end_marked

__all__ = ["START", "START_S", "Failure", "Worker", "problem_key"]

START_S = 120.0
PRELOAD_S = 900.0
"""What a service imports may have to be compiled first, and others may be before it in that."""
MAX_PROBLEMS = 8
GONE_S = 1.0
"""What lies between the end of a child and word of it, at most."""
START = "start"
"""Phase before a candidate's first."""


@dataclass(frozen=True)
class Failure:
    """How a child failed to answer.

    Attributes:
        kind: "timeout", "memory", "signal", "exit", "lost" (its guard is gone), "start" (it cannot
            be started) or "problem" (it refuses the problem).
        phase: What it was doing.
        took_s: Wall-clock seconds since that began.
        code: Number of the signal, or exit code.
        said: The last that it wrote to standard error, or why it did not start.
    """

    kind: str
    phase: str
    took_s: float
    code: int | None = None
    said: str = ""


def problem_key(problem: bytes) -> bytes:
    """Returns what names a problem."""
    return hashlib.sha256(problem).digest()[:KEY]


class Worker:
    """Answers candidates in a child that may hang, crash or hog memory without harm.

    Args:
        service: The module, or path of a file, whose `load` answers in the child.
        memory_bytes: Resident bytes that a child may have; None for no limit.
    """

    def __init__(self, service: str, memory_bytes: int | None = None) -> None:
        self._service, self._memory_bytes = service, memory_bytes
        self._guard: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._data: socket.socket | None = None
        self._inbox: Inbox | None = None
        self._said: Tail | None = None
        self._mark = new_mark()
        self._loaded: set[bytes] = set()

    def answer(
        self, problem: bytes, number: int, candidate: bytes, deadlines: Mapping[str, float]
    ) -> bytes | Failure:
        """Answers a candidate.

        Args:
            problem: What it is a candidate of; loaded where the child does not have it yet.
            number: Of the candidate.
            candidate: Its content, which means nothing here.
            deadlines: Seconds that each phase may take; "" is that of all others.
        """
        failure = self.load(problem)
        if failure is not None:
            return failure
        assert self._said is not None
        self._said.read()
        self._said.clear()
        content = problem_key(problem) + NUMBER.pack(number) + candidate
        return self._exchange(CANDIDATE, content, ANSWER, deadlines)

    def start(self) -> Failure | None:
        """Has a child; returns why there is none."""
        began = time.monotonic()
        try:
            if self._guard is None:
                self._guard, self._control = open_guard(self._service, PRELOAD_S, self._mark)
            if self._data is None:
                self._spawn()
        except OSError as error:
            self.close()
            said = error.strerror or str(error)
            return Failure("start", START, time.monotonic() - began, error.errno, said)
        return None

    def load(self, problem: bytes) -> Failure | None:
        """Has a child that knows a problem; returns why there is none."""
        key = problem_key(problem)
        if len(self._loaded) >= MAX_PROBLEMS and key not in self._loaded:
            self._end_child()  # a new one has forgotten them
        failure = self.start()
        if failure is not None:
            return failure
        if key in self._loaded:
            return None
        found = self._exchange(PROBLEM, key + problem, LOADED, {"": START_S})
        if isinstance(found, Failure):
            return found
        self._loaded.add(key)
        return None

    def close(self) -> None:
        """Ends the child and its guard; may be called twice."""
        self._drop_child()
        if self._control is not None:
            self._control.close()
        if self._guard is not None:
            try:
                self._guard.wait(SETTLE_S)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait()
        self._guard = self._control = None

    def _spawn(self) -> None:
        assert self._control is not None
        ours, theirs = socket.socketpair()
        self._said = Tail()
        order = {"do": "spawn", "memory_bytes": self._memory_bytes}
        with theirs:
            send_order(self._control, order, (theirs.fileno(), self._said.other, self._said.other))
        self._said.close_other()
        said, _ = receive_order(self._control)
        if said is None or "spawned" not in said:
            ours.close()
            raise OSError((said or {}).get("failed", "its guard ended"))
        self._data, self._inbox = ours, Inbox(ours)

    def _drop_child(self) -> None:
        for end in (self._data, self._said):
            if end is not None:
                end.close()
        self._data = self._inbox = self._said = None
        self._loaded.clear()

    def _exchange(
        self, kind: bytes, content: bytes, wanted: bytes, deadlines: Mapping[str, float]
    ) -> bytes | Failure:
        """Sends a message and waits for the one that answers it, through its phases."""
        assert self._data is not None
        phase, since = START, time.monotonic()
        try:
            send_message(self._data, kind, content)
        except OSError:
            return self._ended(phase, since)
        while True:
            try:
                said, payload = self._next(since + deadlines.get(phase, deadlines.get("", START_S)))
            except TimeoutError:
                return self._late(phase, since)
            except EOFError:
                return self._silent(phase, since)
            if said == wanted:
                return payload
            if said == BEGINS:
                phase, since = payload.decode(errors="replace"), time.monotonic()
            elif said == REFUSED:
                text = payload.decode(errors="replace")
                return Failure("problem", phase, time.monotonic() - since, said=text)

    def _next(self, until: float) -> tuple[bytes, bytes]:
        """Returns the child's next message.

        Raises:
            TimeoutError: The time is over.
            EOFError: The child has ended, or says what is no message.
        """
        assert self._data is not None
        assert self._inbox is not None
        assert self._said is not None
        while True:
            message = self._inbox.take()
            if message is not None:
                return message
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            watched = [self._data.fileno(), *([self._said.end] if self._said.open else [])]
            ready, _, _ = select.select(watched, [], [], left)
            if self._said.end in ready:
                self._said.read()
            if self._data.fileno() in ready and not self._inbox.fill():
                raise EOFError

    def _late(self, phase: str, since: float) -> Failure:
        took_s = time.monotonic() - since
        failure = self._end_child(phase, since)
        if failure.kind == "lost":
            return failure
        return Failure("timeout", phase, took_s, said=failure.said)

    def _silent(self, phase: str, since: float) -> Failure:
        """Says how a child ended that says no more; one that goes on without a word is ended."""
        assert self._control is not None
        if select.select([self._control], [], [], GONE_S)[0]:
            return self._ended(phase, since)
        failure = self._end_child(phase, since)
        if failure.kind != "killed":
            return failure
        return Failure(
            "exit", phase, failure.took_s, 0, "it closed its connection, or said nonsense"
        )

    def _end_child(self, phase: str = START, since: float = 0.0) -> Failure:
        assert self._control is not None
        with contextlib.suppress(OSError):
            send_order(self._control, {"do": "kill"})
        return self._ended(phase, since)

    def _ended(self, phase: str, since: float) -> Failure:
        """Says how the child ended, and makes room for the next."""
        assert self._control is not None
        assert self._said is not None
        self._control.settimeout(SETTLE_S)
        try:
            told, _ = receive_order(self._control)
        except TimeoutError:
            told = None
        took_s = time.monotonic() - since
        self._said.read()
        said = self._said.text
        self._drop_child()
        if told is None:
            self.close()
            end_marked(self._mark)  # what a guard that was killed has left
            return Failure("lost", phase, took_s, said=said)
        self._control.settimeout(None)
        return Failure(told["ended"], phase, took_s, told["code"], said)
