"""Answers in every way in which a child can go wrong."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable


def load(problem: bytes) -> Callable[[int, bytes, Callable[[str], None]], bytes]:
    if problem == b"refused":
        raise ValueError("no such problem")

    def answer(number: int, candidate: bytes, begins: Callable[[str], None]) -> bytes:
        begins("compile")
        words = candidate.decode().split()
        fault = words[0] if words else ""
        if fault == "hangs":
            while True:
                pass
        if fault == "ignores":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(1000)
        if fault == "crashes":
            ctypes.string_at(0)
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "deaf":
            os.closerange(3, 256)
            time.sleep(1000)
        if fault == "exits":
            sys.stderr.write("last words\n")
            sys.stderr.flush()
            os._exit(7)
        if fault == "hogs":
            hoard = []
            while True:
                hoard.append(b"x" * (1 << 20))
        if fault == "asks":
            bytearray(1 << 36)
        if fault == "litters":
            sleeper = ["sleep", words[1]]
            subprocess.Popen(sleeper, start_new_session=True)
            subprocess.Popen(sleeper)
            os._exit(3)
        if fault == "strays":
            subprocess.Popen(["sleep", words[1]], start_new_session=True)
            time.sleep(1000)
        if fault == "talks":
            os.write(2, b"x" * (1 << 20))
        if fault == "babbles":
            os.write(int(words[1]), b"\xff" * 100)
        begins("measure")
        if fault == "slow":
            time.sleep(float(words[1]))
        return f"{problem.decode()} {number} {os.getpid()} {os.getcwd()}".encode()

    return answer
