"""Calls the command line as a shell would, without a process a call."""

from __future__ import annotations

import contextlib
import io

from tuner.cli import main

__all__ = ["called"]


def called(*words: str) -> int:
    """Calls the command line and returns its exit code.

    Raises:
        AssertionError: It failed without one clear line on standard error, or printed what a
            terminal would act on.
        Exception: What a user would see as a traceback.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
        except SystemExit as ended:
            code = ended.code
    said, told = _text(out), _text(err)
    assert not [c for c in said + told if not c.isprintable() and c not in "\n\t"], (said, told)
    if code == 2:
        assert told.startswith("error: ")
        assert told.count("\n") == 1, told
        assert len(told) < 3000, len(told)
    assert isinstance(code, int)
    return code


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()
