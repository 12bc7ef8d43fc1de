"""The child that answers candidates, a copy of its guard."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import random
import socket
import struct
import tempfile
from collections.abc import Callable

from tuner.process.framing import Inbox, send_message

__all__ = [
    "ANSWER",
    "BEGINS",
    "CANDIDATE",
    "KEY",
    "LOADED",
    "NUMBER",
    "PROBLEM",
    "REFUSED",
    "Answer",
    "Load",
    "load_service",
    "serve",
]

Answer = Callable[[int, bytes, Callable[[str], None]], bytes]
"""Takes number and content of a candidate, and whom to tell of its phases; returns the answer."""
Load = Callable[[bytes], Answer]
"""Takes a problem; raises what makes all of its candidates fail."""

PROBLEM, CANDIDATE = b"P", b"C"
LOADED, REFUSED, BEGINS, ANSWER = b"L", b"E", b"B", b"R"
KEY = 16
"""Bytes of a problem's key."""
NUMBER = struct.Struct("!q")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def load_service(service: str) -> Load:
    """Imports a service: a module, or the path of a file, that has a function `load`; what its
    function `warm` does, if it has one, no child needs to do again.
    """
    for name in THREADS:  # a worker has one core, and threads do not survive a fork
        os.environ.setdefault(name, "1")
    if not service.endswith(".py"):
        module = importlib.import_module(service)
    else:
        spec = importlib.util.spec_from_file_location("_nki_tuner_service", service)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    warm = getattr(module, "warm", None)
    if warm is not None:
        warm()
    load: Load = module.load
    return load


def serve(connection: socket.socket, load: Load) -> int:
    """Answers until the other side is gone; returns the exit code."""
    random.seed()
    tempfile.tempdir = None
    inbox = Inbox(connection)
    answers: dict[bytes, Answer] = {}

    def begins(phase: str) -> None:
        send_message(connection, BEGINS, phase.encode())

    with contextlib.suppress(ConnectionError):
        while True:
            while (message := inbox.take()) is None:
                if not inbox.fill():
                    return 0
            kind, payload = message
            key, content = payload[:KEY], payload[KEY:]
            if kind == PROBLEM:
                try:
                    answers[key] = load(content)
                except (Exception, SystemExit) as error:
                    send_message(connection, REFUSED, f"{error}".encode(errors="replace"))
                else:
                    send_message(connection, LOADED, b"")
                continue
            (number,) = NUMBER.unpack_from(content)
            answer = answers[key](number, content[NUMBER.size :], begins)
            send_message(connection, ANSWER, answer)
    return 0
