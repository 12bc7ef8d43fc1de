"""Files that appear whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tuner.runtime.errors import TunerError

__all__ = ["replaced"]


@contextmanager
def replaced(path: Path) -> Iterator[TextIO]:
    """Opens a temporary file beside the target and renames it at the end; .gz is compressed.

    Raises:
        TunerError: The file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise TunerError(f"{path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            if path.suffix == ".gz":  # without name and time the same run gives the same bytes
                with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                    yield from _text(packed)
            else:
                yield from _text(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            raise TunerError(f"{path}: {error.strerror or error}") from None
        raise


def _text(file: Any) -> Iterator[TextIO]:
    text = io.TextIOWrapper(file, encoding="utf-8")
    yield text
    text.flush()
    text.detach()
