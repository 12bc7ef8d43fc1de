"""Small kernels that are bound by launch, by DMA and by TensorE, and times of them that a device
with other constants would have.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.kernel import load_kernel, read_kernel
from tuner.neuroncore import Device, device, policy
from tuner.neuroncore.simulation import simulate
from tuner.nki.record.tracing import trace
from tuner.space import parse_argument

KERNELS = '''\
import nki
import nki.isa as nisa
import nki.language as nl


@nki.jit
def double(x, columns=64):
    """Loads, doubles and stores so many columns at a time."""
    M, N = x.shape
    out = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.shared_hbm)
    for left in range(0, N, columns):
        tile = nl.ndarray((M, columns), dtype=x.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=tile, src=x[0:M, left : left + columns])
        nisa.tensor_tensor(dst=tile, data1=tile, data2=tile, op=nl.add)
        nisa.dma_copy(dst=out[0:M, left : left + columns], src=tile)
    return out


@nki.jit
def pieces(x, columns=8):
    """Loads so many columns at a time into one tile and stores all of it."""
    M, N = x.shape
    out = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.shared_hbm)
    tile = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.sbuf)
    for left in range(0, N, columns):
        nisa.dma_copy(dst=tile[:, left : left + columns], src=x[:, left : left + columns])
    nisa.dma_copy(dst=out, src=tile)
    return out


@nki.jit
def copy(x):
    """Rows of 128, through SBUF."""
    M, N = x.shape
    out = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.shared_hbm)
    for top in range(0, M, 128):
        tile = nl.ndarray((128, N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=tile, src=x[top : top + 128, 0:N])
        nisa.dma_copy(dst=out[top : top + 128, 0:N], src=tile)
    return out


@nki.jit
def multiply(lhsT, rhs, times=1):
    """One product of 128 rows, again and again."""
    (K, M), N = lhsT.shape, rhs.shape[1]
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    left = nl.ndarray((K, M), dtype=lhsT.dtype, buffer=nl.sbuf)
    right = nl.ndarray((K, N), dtype=rhs.dtype, buffer=nl.sbuf)
    result = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.sbuf)
    nisa.dma_copy(dst=left, src=lhsT)
    nisa.dma_copy(dst=right, src=rhs)
    product = nl.ndarray((M, N), dtype=nl.float32, buffer=nl.psum)
    for _ in range(times):
        nisa.nc_matmul(dst=product, stationary=left, moving=right)
    nisa.tensor_copy(dst=result, src=product)
    nisa.dma_copy(dst=out, src=result)
    return out


@nki.jit
def broken(x):
    raise ValueError("two\\nlines")
'''

ROWS = [
    ("double", "x=float32[128,64]", "columns=64"),  # launch
    ("double", "x=float32[128,4096]", "columns=512"),
    ("pieces", "x=float32[128,1024]", "columns=8"),  # issuing transfers
    ("pieces", "x=float32[128,512]", "columns=16"),
    ("copy", "x=float32[128,128]", ""),  # launch
    ("copy", "x=float32[4096,4096]", ""),  # bandwidth
    ("copy", "x=bfloat16[2048,2048]", ""),
    ("multiply", "lhsT=bfloat16[128,128] rhs=bfloat16[128,512]", "times=4"),
    ("multiply", "lhsT=bfloat16[128,128] rhs=bfloat16[128,512]", "times=400"),  # TensorE
    ("multiply", "lhsT=bfloat16[128,128] rhs=bfloat16[128,256]", "times=1000"),
]

CHANGED = {
    "kernel.launch_us": 15.0,
    "dma.issue_interval_ns": 820.0,
    "tensor.sustained_factor": 0.88,
}
"""Constants of the device that the times are of; inside the ranges of trn2."""

TRUTH = """
inherits = "trn2"
[kernel]
launch_us = { value = 15.0, tag = "A", source = "made up" }
[dma]
issue_interval_ns = { value = 820.0, tag = "A", source = "made up" }
[tensor]
sustained_factor = { value = 0.88, tag = "A", source = "made up" }
"""


def write_kernels(folder: Path) -> Path:
    path = folder / "small.py"
    path.write_text(KERNELS)
    return path


def truth(folder: Path) -> Device:
    """The device that the times are of."""
    (folder / "truth.toml").write_text(TRUTH)
    return device(str(folder / "truth.toml"))


def latency_us(folder: Path, row: Sequence[str], core: Device) -> float:
    """What the simulator says of a row of `ROWS`."""
    name, arguments, parameters = row
    kernel = load_kernel(read_kernel(folder / "small.py", name))
    config = {key: int(value) for key, _, value in (p.partition("=") for p in parameters.split())}
    with kernel.lent():
        tensors = [parse_argument(text) for text in arguments.split()]
        program = trace(kernel.function, tensors, config, core).program
    return simulate(program, core, policy("nki")).latency_us


def write_table(
    folder: Path, rows: Sequence[Mapping[str, Any]], name: str = "measured.csv"
) -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def measured(folder: Path, rows: Sequence[Sequence[str]] = ROWS) -> list[dict[str, Any]]:
    """Rows of a table: times that the changed device would have."""
    core = truth(folder)
    return [
        {
            "id": f"{row[0]}_{number}",
            "kernel": f"small.py:{row[0]}",
            "arguments": row[1],
            "parameters": row[2],
            "measured_us": f"{latency_us(folder, row, core):.4f}",
        }
        for number, row in enumerate(rows)
    ]
