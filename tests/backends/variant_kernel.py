"""A small kernel whose workload has variants, and its search space."""

from __future__ import annotations

from pathlib import Path

KERNEL = '''\
import nki
import nki.isa as nisa
import nki.language as nl


@nki.jit
def join(x, rest=None, columns=64, buffers=1, how="copy", result="same", fault="none"):
    """out[M,N] = x, x + rest or x * rest, in the dtype of x or in float32."""
    M, N = x.shape
    dtype = nl.float32 if result == "wide" else x.dtype
    out = nl.ndarray((M, N), dtype=dtype, buffer=nl.shared_hbm)
    tiles = nl.ndarray((128, buffers, columns), dtype=dtype, buffer=nl.sbuf)
    turn = 0
    for top in range(0, M, 128):
        rows = min(128, M - top)
        for left in range(0, N, columns):
            width = min(columns, N - left)
            tile = tiles[0:rows, turn % buffers, 0:width]
            turn += 1
            nisa.dma_copy(dst=tile, src=x[top : top + rows, left : left + width])
            if how != "copy" and fault != "forgets":
                other = nl.ndarray((rows, width), dtype=x.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=other, src=rest[top : top + rows, left : left + width])
                op = nl.add if how == "add" else nl.multiply
                nisa.tensor_tensor(dst=tile, data1=tile, data2=other, op=op)
            nisa.dma_copy(dst=out[top : top + rows, left : left + width], src=tile)
    return out


def join_reference(x, rest=None, *, how, result):
    return x if how == "copy" else x + rest if how == "add" else x * rest


def blind_reference(x, rest=None):
    return x
'''

SPACE = """\
kind = "kernel"

[kernel]
file = "join.py"
entry = "join"
reference = "join_reference"

[workload]
dims = ["M", "N"]
dtypes = ["bfloat16", "float32", "float8_e4m3"]
variants = { how = ["copy", "add", "scale"], result = ["same", "wide"] }
inputs = { x = "dtype[M,N]", rest = "dtype[M, N] if how != 'copy'" }
outputs = { out = ["float32[M,N] if result == 'wide'", "dtype[M,N]"] }
flops = "M*N*(how != 'copy')"

[verification]
blocks = { M = "128", N = "columns*(1 + (result == 'wide'))" }

[parameters]
columns = { values = [64, 128, 256, 512], default = 512 }
buffers = { values = [1, 2, 4], default = 1 }
fault = { values = ["none", "forgets"], default = "none", when = "how == 'scale'" }

[[constraints]]
expr = "columns <= N and (columns <= 256 or how == 'copy')"
why = "two wide tiles are too many"
"""

SHAPE = "M=256,N=512"


def write_variants(folder: Path, reference: str = "join_reference") -> Path:
    """Writes the kernel and its search space; returns the latter's file."""
    (folder / "join.py").write_text(KERNEL)
    path = folder / "join.toml"
    path.write_text(SPACE.replace('"join_reference"', f'"{reference}"'))
    return path
