"""The low-rank chain y[M,N] = x[M,K] @ u[K,R] @ v[R,N]: what a linear layer becomes when its weight
is compressed to rank R.

    phase 1    strip = (x @ u)^T for a block of rows of x: r on partitions, as phase 2 wants it
    phase 2    rows of y = strip^T @ v, or columns of y^T = v^T @ strip

The strip is computed once a row block and stays in SBUF for all of v ("strip"); the alternatives
bring it to HBM and back ("hbm": two products one after the other) or compute it again for every
block of columns ("recompute"). Caching, swapped operands instead of a transposition, and blocks
on three levels are the structure of NeuronMM (arXiv 2510.25977), whose published block sizes are
the defaults.
"""

import nki
import nki.language as nl
import numpy as np
from blocks import TILE, accumulators, ceil_div, layer, layer_room, strip, transpose_strip


@nki.jit
def xuv(
    x,
    u,
    v,
    layout="KM",
    out="MN",
    intermediate="strip",
    rows_per_block=1024,
    k_tiles=4,
    r_tiles=8,
    n_tiles=8,
    transpose="implicit",
    transpose_x="dma",
    order="kr",
    v_block="r_tiles",
    resident="none",
    buffers=2,
    psum_accumulators=8,
    evict="vector",
    interleave=False,
):
    """Multiplies x, u and v, all bfloat16 or all float32, any sizes.

    Args:
        x: [K,M], or [M,K] where layout is "MK".
        u: [K,R].
        v: [R,N].
        out: "MN" returns y[M,N], "NM" its transpose.
        intermediate: "strip", "hbm" or "recompute".
        rows_per_block: Rows of x that share a strip.
        k_tiles, r_tiles, n_tiles: Tiles of 128 in a block along K, R and N.
        transpose: How r comes to partitions: "implicit" (phase 1 swaps its operands), or the strip
            is computed as rows of x @ u and transposed by "tensor", "vector" or "dma".
        transpose_x: What transposes x on its way where layout is "MK": "tensor", "vector", "dma".
        order: Loops of phase 1: "kr" streams blocks of K once and adds up in SBUF, "rk" completes
            a block of R before the next.
        v_block: Rows of v in a block: "r_tiles", or "all" of R.
        resident: What stays in SBUF: "none"; "x", a block of rows, during phase 1; "u" or "v" or
            "uv", all of it, from the first row block to the last.
        buffers: Blocks of each operand and rows of y in rotation.
        psum_accumulators: PSUM banks in rotation.
        evict: Engine that empties PSUM: "vector", "scalar", or "both" in turn.
        interleave: Take each tile of K through all products of a step as it arrives, where these
            have a PSUM bank each (phase 1).

    Returns:
        y[M,N] or y^T[N,M] in HBM, in the operands' dtype.
    """
    K, R = u.shape
    N = v.shape[1]
    M = x.shape[1] if layout == "KM" else x.shape[0]
    y = nl.ndarray((M, N) if out == "MN" else (N, M), dtype=x.dtype, buffer=nl.shared_hbm)
    x_by = "none" if layout == "KM" else transpose_x
    by_swap, y_swapped = transpose == "implicit", out == "NM"
    keep_u, keep_v = resident == "u" or resident == "uv", resident == "v" or resident == "uv"
    row_tiles = min(rows_per_block // TILE, ceil_div(M, TILE))
    rows, columns = row_tiles * TILE, n_tiles * TILE
    v_tiles = ceil_div(R, TILE) if v_block == "all" else r_tiles
    keep_1 = "w" if keep_u else "x" if resident == "x" else "none"
    plan_1 = (row_tiles, r_tiles, k_tiles, order == "kr", keep_1, evict)
    plan_2 = (row_tiles, n_tiles, v_tiles, False, "w" if keep_v else "none", evict)
    psum = accumulators(psum_accumulators)

    if intermediate == "hbm":
        h = nl.ndarray((R, M) if by_swap else (M, R), dtype=x.dtype, buffer=nl.private_hbm)
        room = layer_room(by_swap, (M, R, K), (h,), (x,), (u,), plan_1, buffers, psum)
        layer(
            by_swap, (h,), (x,), (u,), (M, R, K), plan_1, room, psum, by=x_by, interleave=interleave
        )
        room = layer_room(y_swapped, (M, N, R), (y,), (h,), (v,), plan_2, buffers, psum)
        h_by = "none" if by_swap else transpose
        layer(y_swapped, (y,), (h,), (v,), (M, N, R), plan_2, room, psum, by=h_by)
        return y

    # The strip r[R,rows] is made once for all columns of y, or again for every block of them.
    width = columns if intermediate == "recompute" else N
    passes = ceil_div(N, width)
    r = strip(R, rows, x.dtype)
    h = r if by_swap else strip(rows, R, x.dtype)
    room_1 = layer_room(by_swap, (rows, R, K), (h,), (x,), (u,), plan_1, buffers, psum)
    room_2 = layer_room(y_swapped, (rows, width, R), (y,), (r,), (v,), plan_2, buffers, psum)
    for m in range(ceil_div(M, rows)):
        for n in range(passes):
            m0, n0 = m * rows, n * width
            height, wide = min(rows, M - m0), min(width, N - n0)
            call = m * passes + n

            # Phase 1: the strip.
            x_rows = x[:, m0 : m0 + height] if layout == "KM" else x[m0 : m0 + height, :]
            new_u = not keep_u or call == 0
            sizes = (height, R, K)
            layer(
                by_swap,
                (h,),
                (x_rows,),
                (u,),
                sizes,
                plan_1,
                room_1,
                psum,
                call,
                new_u,
                x_by,
                interleave=interleave,
            )
            if not by_swap:
                transpose_strip(r, h, height, R, transpose)

            # Phase 2: its rows (columns) of y.
            rows_m, columns_n = nl.ds(m0, height), nl.ds(n0, wide)
            part = y[columns_n, rows_m] if y_swapped else y[rows_m, columns_n]
            sizes, v_columns = (height, wide, R), v[:, n0 : n0 + wide]
            new_v = not keep_v or call == 0
            layer(y_swapped, (part,), (r,), (v_columns,), sizes, plan_2, room_2, psum, call, new_v)
    return y


def xuv_reference(x, u, v, layout="KM", out="MN"):
    """The chain in float64: numpy arrays as `xuv` takes them -> y[M,N], or y^T[N,M]."""
    rows = x.astype(np.float64)
    y = (rows.T if layout == "KM" else rows) @ u.astype(np.float64) @ v.astype(np.float64)
    return y if out == "MN" else y.T
