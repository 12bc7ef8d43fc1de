"""A small kernel that can be made to fail in every way, and its search space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.backends import Problem
from tuner.kernel import read_kernel
from tuner.space import Argument

KERNEL = '''\
import os
import sys
import time

import nki
import nki.isa as nisa
import nki.language as nl
import numpy as np


@nki.jit
def double(x, columns=64, buffers=1, engine="vector", fault="none"):
    """out[M,N] = x + x, in tiles of 128 rows; `fault` breaks it."""
    M, N = x.shape
    out = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.shared_hbm)
    if fault == "rows":
        nl.ndarray((129, 8), dtype=x.dtype, buffer=nl.sbuf)  # here: rows
    if fault == "memory":
        huge = nl.ndarray((128, 65536), dtype=nl.float32, buffer=nl.sbuf)  # here: memory
        nisa.memset(huge, 0.0)
    if fault == "raises":
        raise ValueError("two\\nlines")  # here: raises
    if fault == "helper":
        nl.rand(x.shape)  # here: helper
    if fault == "numpy":
        np.linalg.inv(np.zeros((2, 3)))  # here: numpy
    if fault == "loops":
        while True:
            pass
    if fault == "sleeps":
        time.sleep(0.3)
    if fault == "dies":
        os._exit(7)
    if fault == "exits":
        sys.exit(7)  # here: exits
    if fault == "shape":
        out = nl.ndarray((M, N + 1), dtype=x.dtype, buffer=nl.shared_hbm)
    on = nisa.engine.gpsimd if engine == "gpsimd" else nisa.engine.vector
    tiles = nl.ndarray((128, buffers, columns), dtype=x.dtype, buffer=nl.sbuf)
    turn = 0
    for top in range(0, M, 128):
        rows = min(128, M - top)
        for left in range(0, N, columns):
            width = min(columns, N - left)
            tile = tiles[0:rows, turn % buffers, 0:width]
            turn += 1
            nisa.dma_copy(dst=tile, src=x[top : top + rows, left : left + width])
            nisa.tensor_tensor(dst=tile, data1=tile, data2=tile, op=nl.add, engine=on)
            if fault == "element" and top == 0 and left == 0:
                one = tile[32:33, 3:4]
                nisa.tensor_tensor(dst=one, data1=one, data2=one, op=nl.add, engine=on)
            if fault == "column" and top == 0 and left == 0:
                some = nl.ndarray((128, 1), dtype=x.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=some, src=x[0:128, 3:4])
                one = tile[0:128, 3:4]
                nisa.tensor_tensor(dst=one, data1=one, data2=some, op=nl.add, engine=on)
            if fault == "skips" and left + width == N:
                continue  # faster, and NaN
            nisa.dma_copy(dst=out[top : top + rows, left : left + width], src=tile)
    return (out, out) if fault == "two" else out


def double_reference(x):
    return x * 2


def broken_reference(x):
    return x @ x[0:1]  # here: reference
'''

SPACE = """\
kind = "kernel"

[kernel]
file = "double.py"
entry = "double"
reference = "{reference}"

[workload]
dims = ["M", "N"]
dtypes = ["float32", "bfloat16"]
inputs = {{ x = "dtype[M,N]" }}
outputs = {{ out = "dtype[M,N]" }}
flops = "M*N"

[verification]
blocks = {{ M = "128", N = "columns" }}

[parameters]
columns = {{ values = [64, 128, 256, 512], default = 64 }}
buffers = {{ values = [1, 2, 4], default = 1 }}
engine = {{ values = ["vector", "gpsimd"], default = "vector", when = "columns > 64" }}
fault = {{ values = [{faults}], default = "none" }}

[[constraints]]
expr = "columns <= N"
why = "a tile is no wider than the tensor"
"""

SHAPE = "M=256,N=512"
CONFIGS = 21
"""Valid configs for `SHAPE` without faults."""


def write_kernel(folder: Path) -> Path:
    path = folder / "double.py"
    path.write_text(KERNEL)
    return path


def write_space(
    folder: Path, faults: Sequence[str] = ("none",), reference: str = "double_reference"
) -> Path:
    """Writes the kernel and its search space; returns the latter's file."""
    write_kernel(folder)
    path = folder / "double.toml"
    listed = ", ".join(f'"{fault}"' for fault in faults)
    path.write_text(SPACE.format(reference=reference, faults=listed))
    return path


def line_of(what: str) -> str:
    """FILE:LINE of the kernel's line that is marked so."""
    lines = [i for i, line in enumerate(KERNEL.splitlines(), 1) if line.endswith(f"# here: {what}")]
    assert len(lines) == 1
    return f"double.py:{lines[0]}"


def problem(kernel_file: Path, **changes: Any) -> Problem:
    """A problem for the kernel of `write_kernel`."""
    settings: dict[str, Any] = {
        "kernel": read_kernel(kernel_file, "double"),
        "arguments": (Argument("x", (256, 512), "float32"),),
        "device": "trn2",
        "reference": "double_reference",
    }
    return Problem(**{**settings, **changes})
