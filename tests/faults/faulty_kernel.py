"""A kernel whose configs hang, crash and hog memory in fixed shares, and its search space."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CRASHES", "HANGS", "HEALTHY", "HOGS", "SHAPE", "fault_of", "write_faulty"]

HEALTHY, HANGS, CRASHES, HOGS = "healthy", "hangs", "crashes", "hogs"
OF_20 = {3: HANGS, 8: HANGS, 13: HANGS, 18: HANGS, 5: CRASHES, 10: HOGS}
SHAPE = "M=128,N=128"
NEVER = 1 << 40

KERNEL = '''\
import ctypes
import os
import re
import signal
import threading
import time

import nki
import nki.isa as nisa
import nki.language as nl

FOLDER = "{folder}"


def note(case):
    log = os.open(FOLDER + "/runs", os.O_WRONLY | os.O_APPEND)
    os.write(log, b"%d %.6f %s\\n" % (case, time.time(), os.environ.get("NODE", "-").encode()))
    os.close(log)


def beat(case):
    """Says again and again for how long this has been running."""
    began = time.monotonic()
    file = os.open(FOLDER + "/beats/%d-%d" % (case, os.getpid()), os.O_WRONLY | os.O_CREAT)
    while True:
        os.pwrite(file, b"%12.3f" % (time.monotonic() - began), 0)
        time.sleep(0.02)


def hang(case, how):
    if how == 0:
        beat(case)
    if how == 1:
        threading.Thread(target=beat, args=(case,), daemon=True).start()
        time.sleep(1e6)
    if how == 2:
        for number in set(signal.Signals) - {{signal.SIGKILL, signal.SIGSTOP}}:
            signal.signal(number, signal.SIG_IGN)
        beat(case)
    if how == 3:  # in a session of its own, which outlives who started it
        if os.fork() == 0:
            os.setsid()
            beat(case)
        os.wait()
    re.match("(a+)+$", "a" * 60 + "b")  # nothing else runs in this process meanwhile


def crash(how):
    if how == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == 1:
        ctypes.string_at(0)
    os.abort()


def hog(how):
    if how == 0 and os.fork():
        os.wait()
    hoard = []
    try:
        while True:
            hoard.append(b"x" * (64 << 20))
    except MemoryError:
        time.sleep(1e6)


@nki.jit
def faulty(x, case=0):
    """out[M,N] = x + x; most cases are healthy."""
    note(case)
    fault, how = {of_20}.get(case % 20), case // 20
    if fault == "hangs":
        hang(case, how % 5)
    if fault == "crashes":
        crash(how % 3)
    if fault == "hogs":
        hog(how % 2)
    time.sleep({sleep_s})
    with open(FOLDER + "/runs") as runs:
        begun = len(runs.readlines())
    while begun > {held} and not os.path.exists(FOLDER + "/go"):
        time.sleep(0.05)
    M, N = x.shape
    out = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.shared_hbm)
    tile = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.sbuf)
    nisa.dma_copy(dst=tile, src=x)
    for _ in range(1 + case % 7):
        nisa.tensor_copy(dst=tile, src=tile)
    nisa.tensor_tensor(dst=tile, data1=tile, data2=tile, op=nl.add)
    nisa.dma_copy(dst=out, src=tile)
    return out


def faulty_reference(x):
    return x * 2
'''

SPACE = """\
kind = "kernel"

[kernel]
file = "faulty.py"
entry = "faulty"
reference = "faulty_reference"

[workload]
dims = ["M", "N"]
dtypes = ["float32"]
inputs = {{ x = "dtype[M,N]" }}
outputs = {{ out = "dtype[M,N]" }}
flops = "M*N"

[verification]
blocks = {{ M = "128", N = "128" }}

[parameters]
case = {{ values = {cases}, default = 0 }}
"""


def fault_of(case: int) -> str:
    """What a config of the faulty kernel does."""
    return OF_20.get(case % 20, HEALTHY)


def write_faulty(
    folder: Path, configs: int, sleep_s: float, healthy: bool = False, held: int = NEVER
) -> Path:
    """Writes the kernel and its search space of so many configs; returns the latter's file.

    Args:
        folder: Where; the kernel notes its runs there too.
        configs: A fifth of them hangs, a twentieth crashes, a twentieth hogs memory.
        sleep_s: What a healthy one takes at least.
        healthy: Whether all are.
        held: Once so many have begun, those that are tried again included, the healthy ones wait
            for a file "go".
    """
    (folder / "beats").mkdir()
    (folder / "runs").touch()
    of_20: dict[int, str] = {} if healthy else OF_20
    (folder / "faulty.py").write_text(
        KERNEL.format(folder=folder, of_20=of_20, sleep_s=sleep_s, held=held)
    )
    path = folder / "faulty.toml"
    path.write_text(SPACE.format(cases=list(range(configs))))
    return path
