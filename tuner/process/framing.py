"""Messages between a process and its guard, and between a worker and its child."""

from __future__ import annotations

import array
import json
import socket
import struct
from typing import Any

__all__ = ["MAX_BYTES", "Inbox", "receive_order", "send_message", "send_order"]

MAX_BYTES = 256 << 20
"""Of one message; a child that says more is broken."""
MAX_ORDER_BYTES = 1 << 20
MAX_FDS = 4
_HEADER = struct.Struct("!cI")


def send_order(control: socket.socket, order: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Sends a small message, with open files, over a socket that keeps messages apart."""
    socket.send_fds(control, [json.dumps(order).encode()], fds)


def receive_order(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Returns the next message and its files; None when the other side is gone."""
    space = MAX_FDS * array.array("i").itemsize
    try:
        data, ancillary, _, _ = control.recvmsg(
            MAX_ORDER_BYTES, socket.CMSG_SPACE(space), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionError:
        return None, []
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return (json.loads(data) if data else None), list(fds)


def send_message(data: socket.socket, kind: bytes, payload: bytes) -> None:
    """Sends a message: a kind of one byte, and its content."""
    data.sendall(_HEADER.pack(kind, len(payload)) + payload)


class Inbox:
    """Puts the messages of a socket together."""

    def __init__(self, data: socket.socket) -> None:
        self._data = data
        self._bytes = bytearray()

    def fill(self) -> bool:
        """Reads what there is, waiting for it; False when nothing more will come."""
        try:
            some = self._data.recv(1 << 20)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._bytes += some
        return bool(some)

    def take(self) -> tuple[bytes, bytes] | None:
        """Returns the next complete message: kind and content.

        Raises:
            EOFError: It is too long to be one.
        """
        if len(self._bytes) < _HEADER.size:
            return None
        kind, size = _HEADER.unpack_from(self._bytes)
        if size > MAX_BYTES:
            raise EOFError(f"a message of {size} bytes")
        if len(self._bytes) < _HEADER.size + size:
            return None
        payload = bytes(self._bytes[_HEADER.size : _HEADER.size + size])
        del self._bytes[: _HEADER.size + size]
        return kind, payload
