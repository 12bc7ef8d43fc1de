"""Blocked matrix multiplication: out[M,N] = lhsT[K,M]^T @ rhs[K,N], every choice in it tunable.

    tile    one nc_matmul: 128 rows of K, 128 columns of lhsT (stationary), 512 of rhs (moving)
    block   tiles_k x tiles_m tiles of lhsT, tiles_k x tiles_n tiles of rhs: what is loaded together
    step    one block of lhsT times one block of rhs; loop_order names the loops over them

The default config has the structure of the fully optimised kernel in AWS's matmul tutorial: blocks
of 16/2/8 tiles (M/N/K), all of M inside the K loop, partial sums in SBUF.
"""

import nki
import nki.isa as nisa
import nki.language as nl
import numpy as np

TILE_K = 128
TILE_M = 128
TILE_N = 512


@nki.jit
def matmul(
    lhsT,
    rhs,
    tiles_m=16,
    tiles_n=2,
    tiles_k=8,
    loop_order="nkm",
    resident="none",
    buffers=2,
    psum_accumulators=8,
    evict="vector",
    load_columns=2048,
    accumulator="input",
):
    """Multiplies lhsT[K,M] (transposed) by rhs[K,N]; both bfloat16 or both float32, any sizes.

    Args:
        tiles_m, tiles_n, tiles_k: Tiles in a block along each dimension.
        loop_order: "mnk", "nmk", "mkn" or "nkm", outermost loop first.
        resident: The operand whose blocks stay in SBUF until no step needs them: "none", "lhs",
            "rhs", "both".
        buffers: SBUF buffers used in rotation for each operand's blocks (strips, where resident)
            and rows of out.
        psum_accumulators: PSUM banks used in rotation (1 to 8).
        evict: Engine that empties PSUM: "vector", "scalar", or "both" in turn.
        load_columns: Columns of an operand that one DMA brings.
        accumulator: Dtype of partial sums in SBUF: "input" (that of the operands) or "float32".

    Returns:
        out[M,N] in HBM, in the operands' dtype.
    """
    K, M = lhsT.shape
    N = rhs.shape[1]
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)

    tiles_m = min(tiles_m, _ceil_div(M, TILE_M))
    tiles_n = min(tiles_n, _ceil_div(N, TILE_N))
    tiles_k = min(tiles_k, _ceil_div(K, TILE_K))
    block_m, block_n, block_k = tiles_m * TILE_M, tiles_n * TILE_N, tiles_k * TILE_K
    count_m, count_n, count_k = _ceil_div(M, block_m), _ceil_div(N, block_n), _ceil_div(K, block_k)
    k_innermost = loop_order == "mnk" or loop_order == "nmk"

    # Operands in SBUF. A block is loaded again in every pass of the loop it does not depend on,
    # unless it is resident or nothing else was loaded in between.
    lhs_resident = resident == "lhs" or resident == "both"
    rhs_resident = resident == "rhs" or resident == "both"
    lhs_reloaded = (
        not lhs_resident and _steps_between(loop_order, "n", count_m, count_n, count_k) > 1
    )
    rhs_reloaded = (
        not rhs_resident and _steps_between(loop_order, "m", count_m, count_n, count_k) > 1
    )
    lhs_slots, rhs_slots = buffers, buffers
    if lhs_resident:
        lhs_slots = count_k * (min(buffers, count_m) if loop_order == "mnk" else count_m)
    if rhs_resident:
        rhs_slots = count_k * (min(buffers, count_n) if loop_order == "nmk" else count_n)
    lhs_blocks = nl.ndarray((TILE_K, lhs_slots, tiles_k, block_m), dtype=lhsT.dtype, buffer=nl.sbuf)
    rhs_blocks = nl.ndarray((TILE_K, rhs_slots, tiles_k, block_n), dtype=rhs.dtype, buffer=nl.sbuf)

    # Products accumulate in PSUM over a block of K, or over all of K where the open accumulators
    # fit. Else partial sums wait in SBUF: of one block, or of all blocks inside the K loop.
    psum = nl.ndarray((TILE_M, psum_accumulators, TILE_N), dtype=nl.float32, buffer=nl.psum)
    stay_in_psum = count_k == 1 or (k_innermost and tiles_m * tiles_n <= psum_accumulators)
    sums, drained = None, None
    if not stay_in_psum:
        sum_rows = tiles_m * (count_m if loop_order == "nkm" else 1)
        sum_columns = block_n * (count_n if loop_order == "mkn" else 1)
        sums_dtype = nl.float32 if accumulator == "float32" else lhsT.dtype
        sums = nl.ndarray((TILE_M, sum_rows, sum_columns), dtype=sums_dtype, buffer=nl.sbuf)
        drained = nl.ndarray((TILE_M, 2, TILE_N), dtype=nl.float32, buffer=nl.sbuf)
    out_rows = nl.ndarray((TILE_M, buffers, block_n), dtype=out.dtype, buffer=nl.sbuf)

    outer, middle, inner = _in_order(loop_order, count_m, count_n, count_k)
    for a in range(outer):
        for b in range(middle):
            for c in range(inner):
                m, n, k = _block_at(loop_order, a, b, c)
                step = (a * middle + b) * inner + c
                m0, n0, k0 = m * block_m, n * block_n, k * block_k
                columns_m, columns_n = min(block_m, M - m0), min(block_n, N - n0)
                k_tiles = _ceil_div(min(block_k, K - k0), TILE_K)

                # Phase 1: bring the blocks that are not there yet, the tiles of both side by side.
                lhs_slot = (step if lhs_reloaded else m * count_k + k) % lhs_slots
                rhs_slot = (step if rhs_reloaded else n * count_k + k) % rhs_slots
                for t in range(k_tiles):
                    if lhs_reloaded or n == 0:
                        _load(
                            lhs_blocks,
                            lhs_slot,
                            t,
                            lhsT,
                            k0 + t * TILE_K,
                            m0,
                            columns_m,
                            load_columns,
                        )
                    if rhs_reloaded or m == 0:
                        _load(
                            rhs_blocks,
                            rhs_slot,
                            t,
                            rhs,
                            k0 + t * TILE_K,
                            n0,
                            columns_n,
                            load_columns,
                        )

                # Phase 2: multiply tile by tile, evict what is complete, store whole rows.
                turn = step // count_k if k_innermost else step
                for i in range(_ceil_div(columns_m, TILE_M)):
                    top, rows = i * TILE_M, min(TILE_M, columns_m - i * TILE_M)
                    row = (turn * tiles_m + i) % buffers
                    for j in range(_ceil_div(columns_n, TILE_N)):
                        left, width = j * TILE_N, min(TILE_N, columns_n - j * TILE_N)
                        tile = (turn * tiles_m + i) * tiles_n + j
                        product = psum[0:rows, tile % psum_accumulators, 0:width]
                        for t in range(k_tiles):
                            depth = min(TILE_K, K - k0 - t * TILE_K)
                            nisa.nc_matmul(
                                dst=product,
                                stationary=lhs_blocks[0:depth, lhs_slot, t, top : top + rows],
                                moving=rhs_blocks[0:depth, rhs_slot, t, left : left + width],
                                accumulate=t > 0 or (stay_in_psum and k > 0),
                            )
                        result = out_rows[0:rows, row, left : left + width]
                        on_scalar = evict == "scalar" or (evict == "both" and tile % 2 == 1)
                        if not stay_in_psum:
                            sum_row = i + (m * tiles_m if loop_order == "nkm" else 0)
                            first = left + (n * block_n if loop_order == "mkn" else 0)
                            partial = sums[0:rows, sum_row, first : first + width]
                            spare = drained[
                                0:rows, (tile if evict == "scalar" else tile // 2) % 2, 0:width
                            ]
                            _add_up(
                                result, partial, product, spare, k == 0, k == count_k - 1, on_scalar
                            )
                        elif k == count_k - 1:
                            _copy(result, product, on_scalar)
                    if k == count_k - 1:
                        nisa.dma_copy(
                            dst=out[m0 + top : m0 + top + rows, n0 : n0 + columns_n],
                            src=out_rows[0:rows, row, 0:columns_n],
                        )
    return out


def matmul_reference(lhsT, rhs):
    """The product in float64: numpy arrays lhsT[K,M] and rhs[K,N] -> out[M,N]."""
    return lhsT.astype(np.float64).T @ rhs.astype(np.float64)


def _ceil_div(a, b):
    return (a + b - 1) // b


def _in_order(loop_order, m, n, k):
    """What belongs to the outermost, the middle and the innermost loop."""
    if loop_order == "mnk":
        return m, n, k
    if loop_order == "nmk":
        return n, m, k
    return (m, k, n) if loop_order == "mkn" else (n, k, m)


def _block_at(loop_order, a, b, c):
    """Block indices (m, n, k) where the outermost loop is at a, the middle at b, the inner at c."""
    if loop_order == "mnk":
        return a, b, c
    if loop_order == "nmk":
        return b, a, c
    return (a, c, b) if loop_order == "mkn" else (c, a, b)


def _steps_between(loop_order, loop, count_m, count_n, count_k):
    """Steps inside one pass of `loop` ("m" or "n"): 1 where the operand's block stays the same
    meanwhile.
    """
    if loop == "n":
        if loop_order == "mnk":
            return count_k
        return 1 if loop_order == "mkn" else count_k * count_m
    if loop_order == "nmk":
        return count_k
    return 1 if loop_order == "nkm" else count_k * count_n


def _load(blocks, slot, t, source, k0, first, columns, load_columns):
    """Loads row tile t of a block: source[k0:, first : first + columns], load_columns at a time."""
    rows = min(TILE_K, source.shape[0] - k0)
    for c in range(0, columns, load_columns):
        width = min(load_columns, columns - c)
        nisa.dma_copy(
            dst=blocks[0:rows, slot, t, c : c + width],
            src=source[k0 : k0 + rows, first + c : first + c + width],
        )


def _add_up(result, partial, product, spare, first, last, on_scalar):
    """Puts a block's product into its partial sum; the last one completes the result."""
    if first:
        _copy(partial, product, on_scalar)
    elif last:
        _add(result, product, partial, spare, on_scalar)
    else:
        _add(partial, product, partial, spare, on_scalar)


def _copy(dst, product, on_scalar):
    """Empties a PSUM tile into SBUF."""
    if on_scalar:
        nisa.activation(dst=dst, op=nl.copy, data=product)
    else:
        nisa.tensor_copy(dst=dst, src=product, engine=nisa.engine.vector)


def _add(dst, product, partial, spare, on_scalar):
    """dst = product + partial. ScalarE cannot add two tensors: it drains PSUM and GpSimd adds."""
    if on_scalar:
        nisa.activation(dst=spare, op=nl.copy, data=product)
        nisa.tensor_tensor(
            dst=dst, data1=spare, data2=partial, op=nl.add, engine=nisa.engine.gpsimd
        )
    else:
        nisa.tensor_tensor(
            dst=dst, data1=product, data2=partial, op=nl.add, engine=nisa.engine.vector
        )
