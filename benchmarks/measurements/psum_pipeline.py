"""One matmul whose variants differ in how PSUM is used: lhsT[K,M]^T @ rhs[K,N] -> out[M,N].

Written and profiled by awslabs/nki-autotune in June 2026 on trn2, bfloat16, 2048x2048x2048. In all
but one both operands are loaded whole before the first matmul, in rows of K tiles; for each 128
rows of out, PSUM is cleared, filled and drained into an SBUF tensor of the whole result, which is
stored at the end. Sizes are whole tiles, N at most one PSUM accumulator (2048 columns).
"""

import nki
import nki.isa as nisa
import nki.language as nl
import numpy as np

TILE = 128
TILE_N = 512


@nki.jit
def single_bank(lhsT, rhs):
    """One accumulator of 128xN, declared outside all loops: the matmuls of the next 128 rows cannot
    begin before it is drained. Loop order M, N, K. Source: awslabs/nki-autotune,
    docs/superpowers/specs/2026-06-06-software-pipeline-tier-b-design.md (control variant).
    """
    return _multiply(lhsT, rhs, 1, "mnk")


@nki.jit
def rotate_2bank(lhsT, rhs):
    """`single_bank` with two accumulators used in turn: those of even rows of tiles and of odd
    ones. The tool's own pipelining pass with stages (0,0,1) and (0,1,1) writes the same program:
    it doubled the accumulator and left the order of instructions alone. Source: as `single_bank`;
    the passes are described in examples/tune_matmul_lhsT_rhs.py and the notes of learnings.
    """
    return _multiply(lhsT, rhs, 2, "mnk")


@nki.jit
def reorder_mkn(lhsT, rhs):
    """`rotate_2bank` with K outside N: a stationary tile serves all columns before the next one is
    loaded. Source: awslabs/nki-autotune, its notes of learnings (loop order M, K, N).
    """
    return _multiply(lhsT, rhs, 2, "mkn")


@nki.jit
def skewed(lhsT, rhs):
    """`rotate_2bank` with its order changed by hand: the drain of a row of tiles is issued after
    the matmuls of the next one, with a first pass before the loop and a last drain behind it.
    Source: as `single_bank` (rendered example of the specification).
    """
    M, N = lhsT.shape[1], rhs.shape[1]
    rows = _whole(M, TILE)
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    lhs, right, result = _operands(lhsT, rhs)
    products = nl.ndarray((TILE, 2, N), dtype=nl.float32, buffer=nl.psum)
    _fill(products[0:TILE, 0, 0:N], lhs, right, 0, "mnk")
    for m in range(1, rows):
        _fill(products[0:TILE, m % 2, 0:N], lhs, right, m, "mnk")
        before = products[0:TILE, (m - 1) % 2, 0:N]
        nisa.tensor_copy(dst=result[0:TILE, m - 1, 0:N], src=before)
    last = products[0:TILE, (rows - 1) % 2, 0:N]
    nisa.tensor_copy(dst=result[0:TILE, rows - 1, 0:N], src=last)
    _store(out, result)
    return out


@nki.jit
def ladder_16(lhsT, rhs):
    """Loads sunk into the innermost loop: for each 128x512 product, PSUM is cleared, each of its
    matmuls loads its own 128x128 and 128x512 operands, and the product is drained and stored.
    Source: awslabs/nki-autotune, kernel_transforms.py (last rung) and its notes of learnings.
    The listing declares all tiles at the top of the kernel; here those in SBUF are declared in the
    loop that fills them.
    """
    (K, M), N = lhsT.shape, rhs.shape[1]
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    product = nl.ndarray((TILE, TILE_N), dtype=nl.float32, buffer=nl.psum)
    for m in range(_whole(M, TILE)):
        for n in range(_whole(N, TILE_N)):
            nisa.memset(dst=product, value=0.0)
            for k in range(_whole(K, TILE)):
                lhs_tile = nl.ndarray((TILE, TILE), dtype=lhsT.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=lhs_tile, src=lhsT[_tile(k, TILE), _tile(m, TILE)])
                rhs_tile = nl.ndarray((TILE, TILE_N), dtype=rhs.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=rhs_tile, src=rhs[_tile(k, TILE), _tile(n, TILE_N)])
                nisa.nc_matmul(dst=product, stationary=lhs_tile, moving=rhs_tile)
            drained = nl.ndarray((TILE, TILE_N), dtype=out.dtype, buffer=nl.sbuf)
            nisa.tensor_copy(dst=drained, src=product)
            nisa.dma_copy(dst=out[_tile(m, TILE), _tile(n, TILE_N)], src=drained)
    return out


def matmul_reference(lhsT, rhs):
    """The product in float64: numpy arrays lhsT[K,M] and rhs[K,N] -> out[M,N]."""
    return lhsT.astype(np.float64).T @ rhs.astype(np.float64)


def _multiply(lhsT, rhs, slots, loop_order):
    """The variants that keep clear, matmuls and drain of a row of tiles together."""
    M, N = lhsT.shape[1], rhs.shape[1]
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    lhs, right, result = _operands(lhsT, rhs)
    products = nl.ndarray((TILE, slots, N), dtype=nl.float32, buffer=nl.psum)
    for m in range(_whole(M, TILE)):
        product = products[0:TILE, m % slots, 0:N]
        _fill(product, lhs, right, m, loop_order)
        nisa.tensor_copy(dst=result[0:TILE, m, 0:N], src=product)
    _store(out, result)
    return out


def _operands(lhsT, rhs):
    """Loads lhsT, then rhs, a row of K tiles at a time; makes room for the result."""
    (K, M), N = lhsT.shape, rhs.shape[1]
    lhs = nl.ndarray((TILE, _whole(K, TILE), M), dtype=lhsT.dtype, buffer=nl.sbuf)
    right = nl.ndarray((TILE, K // TILE, N), dtype=rhs.dtype, buffer=nl.sbuf)
    result = nl.ndarray((TILE, _whole(M, TILE), N), dtype=lhsT.dtype, buffer=nl.sbuf)
    for k in range(_whole(K, TILE)):
        nisa.dma_copy(dst=lhs[0:TILE, k, 0:M], src=lhsT[_tile(k, TILE), 0:M])
    for k in range(_whole(K, TILE)):
        nisa.dma_copy(dst=right[0:TILE, k, 0:N], src=rhs[_tile(k, TILE), 0:N])
    return lhs, right, result


def _fill(product, lhs, right, m, loop_order):
    """Clears an accumulator and multiplies row m of tiles into it."""
    k_tiles, N = lhs.shape[1], right.shape[2]
    nisa.memset(dst=product, value=0.0)
    if loop_order == "mnk":
        for n in range(_whole(N, TILE_N)):
            for k in range(k_tiles):
                _multiply_tile(product, lhs, right, m, n, k)
    else:
        for k in range(k_tiles):
            for n in range(_whole(N, TILE_N)):
                _multiply_tile(product, lhs, right, m, n, k)


def _multiply_tile(product, lhs, right, m, n, k):
    nisa.nc_matmul(
        dst=product[0:TILE, _tile(n, TILE_N)],
        stationary=lhs[0:TILE, k, _tile(m, TILE)],
        moving=right[0:TILE, k, _tile(n, TILE_N)],
    )


def _store(out, result):
    N = out.shape[1]
    for m in range(result.shape[1]):
        nisa.dma_copy(dst=out[_tile(m, TILE), 0:N], src=result[0:TILE, m, 0:N])


def _whole(size, tile):
    """How many tiles or blocks make up a size."""
    assert size % tile == 0, f"{size} is no multiple of {tile}"
    return size // tile


def _tile(index, size):
    """Slice of the tile with this index."""
    return slice(index * size, (index + 1) * size)
