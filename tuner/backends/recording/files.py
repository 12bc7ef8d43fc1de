"""Reads a recording from whatever file holds it."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import BinaryIO

from tuner.backends.recording.kernel_tuner import read_json
from tuner.backends.recording.npz import read_npz, write_npz
from tuner.backends.recording.recorded import Recording
from tuner.runtime.errors import TunerError
from tuner.runtime.files import opened

__all__ = ["read_recording", "write_recording"]

MAX_JSON_BYTES = 512 << 20

_ZIP, _GZIP = b"PK", b"\x1f\x8b"


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """Reads a recording: our npz form, or Kernel Tuner's T4 results or cache file, plain or `.gz`.

    Raises:
        TunerError: The file cannot be read, or is none of these; names the file, the place in it
            and what was expected there.
    """
    path = Path(path)
    try:
        with _opened(path) as file:
            magic = file.read(2)
            file.seek(0)
            if magic == _ZIP:
                return read_npz(path, file)
            return read_json(path, _text(file, magic == _GZIP))
    except TunerError as error:
        raise TunerError(f"{path}: {' '.join(str(error).split())}") from None


def _opened(path: Path) -> BinaryIO:
    try:
        return opened(path)
    except TunerError as error:
        raise TunerError(str(error).removeprefix(f"{path}: ")) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise TunerError(str(getattr(error, "strerror", None) or error)) from None


def _text(file: BinaryIO, packed: bool) -> str:
    try:
        data = (gzip.GzipFile(fileobj=file) if packed else file).read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise TunerError(f"more than {MAX_JSON_BYTES >> 20} MiB of JSON")
        if not data.strip():
            raise TunerError("empty file")
        return data.decode()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TunerError(f"not a readable gzip file ({error})") from None
    except UnicodeDecodeError:
        raise TunerError("no recording: neither npz nor JSON") from None


def write_recording(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Writes a recording in the npz form.

    Raises:
        TunerError: The path does not end in `.npz`, or it cannot be written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise TunerError(f"{path}: recordings are written as .npz")
    write_npz(recording, path)
