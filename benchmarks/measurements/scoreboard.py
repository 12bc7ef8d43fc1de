"""The matmul template behind the trn2 scoreboard of awslabs/nki-autotune (November 2025).

lhsT[K,M]^T @ rhs[K,N] -> out[M,N]. The scoreboard gives the loop order and the tiles of a block
along each dimension; where the operands are loaded it does not give.
"""

import nki
import nki.isa as nisa
import nki.language as nl
import numpy as np

TILE_K = 128
TILE_M = 128
TILE_N = 512


@nki.jit
def meta_gemm(
    lhsT,
    rhs,
    loop_order="MNK",
    tiles_m=1,
    tiles_n=1,
    tiles_k=1,
    counts="per_block",
    lhs_position=2,
    rhs_position=2,
):
    """Three loops over blocks in any order; each operand is loaded before all loops (position 0),
    in the outer of its two loops (1) or in the inner one (2), in tiles of 128x128 (lhsT) and
    128x512 (rhs), over the whole of each dimension whose loop is further inside; a loop that no
    load and no result depends on disappears. Sums are cleared in SBUF outside the K loop, in the
    operands' dtype; inside all loops each product runs over the K tiles at hand in PSUM and is
    added to its sum; after the K loop the sums are stored 128x512 at a time. `counts` says what
    tiles_m, tiles_n and tiles_k are: the tiles of a block ("per_block") or the number of blocks
    ("blocks"). Source: awslabs/nki-autotune at 616e222, autotune/gemm/{kernels,config,utils}.py and
    autotune/core/tensor.py. The zeros that it writes to the operands' blocks before loading them
    whole are left out.
    """
    (K, M), N = lhsT.shape, rhs.shape[1]
    total = {"M": _whole(M, TILE_M), "N": _whole(N, TILE_N), "K": _whole(K, TILE_K)}
    block = {"M": tiles_m, "N": tiles_n, "K": tiles_k}
    if counts == "blocks":
        block = {axis: _whole(total[axis], block[axis]) for axis in block}
    at = {
        "lhs": _level(loop_order, "MK", lhs_position),
        "rhs": _level(loop_order, "NK", rhs_position),
        "sums": loop_order.index("K"),
    }
    trips = [_trips(level, loop_order, at, total, block) for level in range(3)]
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)

    held = _enter(0, at, lhsT, rhs, {}, total, block, {})
    for a in range(trips[0]):
        first = {loop_order[0]: a}
        held_1 = _enter(1, at, lhsT, rhs, held, total, block, first)
        for b in range(trips[1]):
            second = {**first, loop_order[1]: b}
            held_2 = _enter(2, at, lhsT, rhs, held_1, total, block, second)
            for c in range(trips[2]):
                third = {**second, loop_order[2]: c}
                held_3 = _enter(3, at, lhsT, rhs, held_2, total, block, third)
                _multiply(held_3, total, block)
            if at["sums"] == 2:
                _store(out, held_2["sums"], total, block)
        if at["sums"] == 1:
            _store(out, held_1["sums"], total, block)
    if at["sums"] == 0:
        _store(out, held["sums"], total, block)
    return out


def matmul_reference(lhsT, rhs):
    """The product in float64: numpy arrays lhsT[K,M] and rhs[K,N] -> out[M,N]."""
    return lhsT.astype(np.float64).T @ rhs.astype(np.float64)


def _level(loop_order, axes, position):
    """How many loops an operand with these axes is loaded in: 0 to 3."""
    inside = sorted(loop_order.index(axis) for axis in axes)
    return 0 if position == 0 else inside[position - 1] + 1


def _trips(level, loop_order, at, total, block):
    """Passes of a loop: its blocks if something inside it depends on its axis, else one."""
    axis = loop_order[level]
    depends = {"lhs": "MK", "rhs": "NK", "sums": "MN"}
    used = [name for name in at if at[name] > level and axis in depends[name]]
    return _whole(total[axis], block[axis]) if used else 1


def _span(axis, total, block, indices):
    """First tile and number of tiles along an axis, inside the loops with these indices."""
    if axis in indices:
        return indices[axis] * block[axis], block[axis]
    return 0, total[axis]


def _first(axis, total, block, indices):
    return _span(axis, total, block, indices)[0]


def _enter(level, at, lhsT, rhs, held, total, block, indices):
    """What SBUF holds inside `level` loops, each with the indices it belongs to: what it held
    before, and what is loaded or cleared here.
    """
    held = dict(held)
    m, count_m = _span("M", total, block, indices)
    n, count_n = _span("N", total, block, indices)
    k, count_k = _span("K", total, block, indices)
    if at["lhs"] == level:
        held["lhs"] = _load_lhs(lhsT, k, count_k, m, count_m), indices
    if at["rhs"] == level:
        held["rhs"] = _load_rhs(rhs, k, count_k, n, count_n), indices
    if at["sums"] == level:
        sums = nl.ndarray((TILE_M, count_m, count_n, TILE_N), dtype=lhsT.dtype, buffer=nl.sbuf)
        nisa.memset(dst=sums, value=0.0)
        held["sums"] = sums, indices
    return held


def _load_lhs(lhsT, k, count_k, m, count_m):
    tiles = nl.ndarray((TILE_K, count_k, count_m, TILE_M), dtype=lhsT.dtype, buffer=nl.sbuf)
    for i in range(count_k):
        for j in range(count_m):
            source = lhsT[_tile(k + i, TILE_K), _tile(m + j, TILE_M)]
            nisa.dma_copy(dst=tiles[0:TILE_K, i, j, 0:TILE_M], src=source)
    return tiles


def _load_rhs(rhs, k, count_k, n, count_n):
    tiles = nl.ndarray((TILE_K, count_k, count_n, TILE_N), dtype=rhs.dtype, buffer=nl.sbuf)
    for i in range(count_k):
        for j in range(count_n):
            source = rhs[_tile(k + i, TILE_K), _tile(n + j, TILE_N)]
            nisa.dma_copy(dst=tiles[0:TILE_K, i, j, 0:TILE_N], src=source)
    return tiles


def _multiply(held, total, block):
    """Adds to the sums the products of what the operands and the sums have in common."""
    (lhs, of_lhs), (rhs, of_rhs), (sums, of_sums) = held["lhs"], held["rhs"], held["sums"]
    m, count_m = _span("M", total, block, {**of_lhs, **of_sums})
    n, count_n = _span("N", total, block, {**of_rhs, **of_sums})
    k, count_k = _span("K", total, block, {**of_lhs, **of_rhs})
    lhs_m, lhs_k = m - _first("M", total, block, of_lhs), k - _first("K", total, block, of_lhs)
    rhs_n, rhs_k = n - _first("N", total, block, of_rhs), k - _first("K", total, block, of_rhs)
    sums_m, sums_n = m - _first("M", total, block, of_sums), n - _first("N", total, block, of_sums)
    for i in range(count_m):
        for j in range(count_n):
            product = nl.ndarray((TILE_M, TILE_N), dtype=nl.float32, buffer=nl.psum)
            for t in range(count_k):
                nisa.nc_matmul(
                    dst=product,
                    stationary=lhs[0:TILE_K, lhs_k + t, lhs_m + i, 0:TILE_M],
                    moving=rhs[0:TILE_K, rhs_k + t, rhs_n + j, 0:TILE_N],
                )
            partial = sums[0:TILE_M, sums_m + i, sums_n + j, 0:TILE_N]
            nisa.tensor_tensor(dst=partial, data1=partial, data2=product, op=nl.add)


def _store(out, held, total, block):
    sums, indices = held
    m, count_m = _span("M", total, block, indices)
    n, count_n = _span("N", total, block, indices)
    for i in range(count_m):
        for j in range(count_n):
            place = out[_tile(m + i, TILE_M), _tile(n + j, TILE_N)]
            nisa.dma_copy(dst=place, src=sums[0:TILE_M, i, j, 0:TILE_N])


def _whole(size, tile):
    """How many tiles or blocks make up a size."""
    assert size % tile == 0, f"{size} is no multiple of {tile}"
    return size // tile


def _tile(index, size):
    """Slice of the tile with this index."""
    return slice(index * size, (index + 1) * size)
