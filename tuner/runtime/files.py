"""Opens files that may come from a stranger: regular ones only, and so many bytes of them."""

from __future__ import annotations

import json
import os
import stat

from tuner.runtime.errors import TunerError

TYPE_CHECKING = False  # as in typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any, BinaryIO

__all__ = ["opened", "read_json", "read_text"]


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file to read; never waits for what a pipe or a device may send.

    Raises:
        OSError: It cannot be opened.
        TunerError: It is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(handle).st_mode
    if not stat.S_ISREG(kind):
        os.close(handle)
        told = "Is a directory" if stat.S_ISDIR(kind) else "no regular file"
        raise TunerError(f"{os.fspath(path)}: {told}")
    return os.fdopen(handle, "rb")


def read_text(path: str | os.PathLike[str], max_bytes: int) -> str:
    """Returns the text of a file, each line ended by a line feed.

    Raises:
        TunerError: It cannot be opened, is no regular file, has more than `max_bytes` or is not
            UTF-8.
    """
    name = os.fspath(path)
    try:
        with opened(path) as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise TunerError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > max_bytes:
        raise TunerError(f"{name}: larger than {max_bytes} bytes")
    try:
        return data.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise TunerError(f"{name}: not a text file ({error})") from None


def read_json(text: str, max_values: int) -> Any:
    """Returns what a JSON text holds.

    Raises:
        ValueError: It is not JSON, or holds more values than that: each takes some hundred bytes.
        RecursionError: It is nested too deeply.
    """
    if sum(map(text.count, ",[{")) > max_values:
        raise ValueError(f"more than {max_values:,} values")
    return json.loads(text)
