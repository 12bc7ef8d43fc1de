"""The reaper: ends what the death of a process would leave behind.

For what starts processes of its own that no guard holds, as Ray does: some of them outlive a killed
driver by a minute, and its files stay for ever. They are known by a mark in their environment.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tuner.process.scratch import sweep
from tuner.process.trees import end_marked

__all__ = ["Reaper", "main"]

VARIABLE = "NKI_TUNER_SESSION"
READABLE = {"SPT_NOENV": "1"}
"""Else a process that gives itself a title, as Ray's do, may write it over its environment."""
GRACE_S = 3.0
"""What ends by itself may clean up after itself."""
END_S = 10.0
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Reaper:
    """When this process ends, however that happens, or on `close`: ends the processes that carry
    the mark, and removes a folder.

    Args:
        folder: A scratch folder; those beside it that nobody holds any more go too.

    Attributes:
        mark: Variables for the environment of what is to be ended.
    """

    def __init__(self, folder: Path) -> None:
        value = secrets.token_hex(8)
        self.mark = {VARIABLE: value, **READABLE}
        package = str(Path(__file__).resolve().parents[2])
        code = (
            f"import sys; sys.path.append({package!r}); "
            f"from tuner.process.reaper import main; main({value!r}, {str(folder)!r})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        assert self._process.stdout is not None
        with self._process.stdout as said:
            said.read()  # until it cannot be ended by a signal meant for us

    def close(self) -> None:
        """Has it do its work now, and waits for that; may be called twice."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S + 2 * END_S)


def main(value: str, folder: str) -> None:
    """Waits until standard input ends, then does its work."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.close(1)
    sys.stdin.buffer.read()
    end_marked(f"{VARIABLE}={value}", GRACE_S)
    until = time.monotonic() + END_S
    while os.path.exists(folder) and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
    sweep(Path(folder).parent)
