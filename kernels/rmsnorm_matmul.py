"""RMSNorm fused into the product behind it: out[M,N] = (x / rms(x) * gamma)[M,K] @ w[K,N], where
rms(x) = sqrt(mean(x^2, axis=1) + eps). The layer in front of every MLP.

    phase 1    strip[K,rows] = (x * gamma)^T of a block of rows, scaled by 1 / rms or not yet
    phase 2    out[rows,N] = strip^T @ w, scaled by 1 / rms on the way out of PSUM if not yet

Rows lie on partitions where they are squared and summed, K where they are multiplied: in between
they are transposed, once for all of w. The normalised rows never see HBM ("strip"); the alternative
brings them there and back ("hbm": two kernels one after the other).
"""

import nki
import nki.isa as nisa
import nki.language as nl
import numpy as np
from blocks import layer, layer_room
from moves import spread, transpose_strip, upright
from tiles import TILE, accumulators, ceil_div


@nki.jit
def rmsnorm_matmul(
    x,
    gamma,
    w,
    eps=1e-6,
    intermediate="strip",
    scale="before",
    gamma_on="partitions",
    transpose="tensor",
    evict_x="vector",
    square="scalar",
    rsqrt="scalar",
    rows_per_block=512,
    strips=2,
    k_tiles=8,
    n_tiles=8,
    order="nk",
    resident="none",
    buffers=2,
    psum_accumulators=4,
    evict="vector",
):
    """Normalises rows of x and multiplies by w; all bfloat16 or all float32, any sizes.

    Args:
        x: [M,K].
        gamma: [1,K].
        w: [K,N].
        eps: What is added to the mean of squares.
        intermediate: Where normalised rows wait for the product: "strip" (SBUF) or "hbm".
        scale: 1 / rms scales rows of x "before" they are transposed, or rows of out "after" the
            product.
        gamma_on: gamma scales "partitions" of x^T after the transposition, or "rows" of x before.
        transpose: What transposes x: "tensor", "vector" or "dma".
        evict_x: Engine that takes transposed tiles out of PSUM, and scales x^T by gamma: "vector"
            or "scalar".
        square: Engine that squares: "scalar" (and sums), "vector" or "gpsimd" (VectorE sums).
        rsqrt: Engine that computes 1 / rms: "scalar" or "vector" (as a power).
        rows_per_block: Rows of x that share a strip.
        strips: Strips in rotation.
        k_tiles, n_tiles: Tiles of 128 in a block of w along K and N.
        order: Loops of phase 2: "nk" completes a block of columns before the next, "kn" adds up
            all columns in SBUF.
        resident: "w": all of w stays in SBUF from the first block of rows to the last; or "none".
        buffers: Rows of x, blocks of w and rows of out in rotation.
        psum_accumulators: PSUM banks in rotation.
        evict: Engine that takes products out of PSUM: "vector", "scalar", or "both" in turn.

    Returns:
        out[M,N] in HBM, in the operands' dtype.
    """
    M, K = x.shape
    N = w.shape[1]
    out = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.shared_hbm)
    row_tiles, all_rows, all_k = rows_per_block // TILE, ceil_div(M, TILE), ceil_div(K, TILE)
    row_tiles, slots = min(row_tiles, all_rows), min(buffers, all_rows)
    places = ceil_div(all_rows, row_tiles) * row_tiles
    block, keep_w, in_hbm = row_tiles * TILE, resident == "w", intermediate == "hbm"
    before, on_rows = scale == "before", gamma_on == "rows"
    plan = (row_tiles, n_tiles, k_tiles, order == "kn", resident, evict)
    finish = "none" if before else "scale"

    # What stays: gamma, eps, and of every row the sum of squares and 1 / rms, a tile in a column.
    gains = spread(gamma, min(M, TILE)) if on_rows else upright(gamma)
    offset = nl.ndarray((TILE, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.memset(dst=offset, value=eps)
    sums = nl.ndarray((TILE, places), dtype=nl.float32, buffer=nl.sbuf)
    factors = nl.ndarray((TILE, places), dtype=nl.float32, buffer=nl.sbuf)
    # What is used in rotation: rows as they come and as they go, strips, and the room of phase 2.
    loaded = nl.ndarray((TILE, slots, K), dtype=x.dtype, buffer=nl.sbuf)
    scaled = nl.ndarray((TILE, slots, K), dtype=x.dtype, buffer=nl.sbuf)
    turned = nl.ndarray((TILE, strips, all_k, block), dtype=x.dtype, buffer=nl.sbuf)
    h = nl.ndarray((K, M), dtype=x.dtype, buffer=nl.private_hbm) if in_hbm else turned[:, 0]
    sizes, psum = (M if in_hbm else block, N, K), accumulators(psum_accumulators)
    room = layer_room(False, sizes, (out,), (h,), (w,), plan, buffers, psum)

    for m in range(ceil_div(M, block)):
        m0, strip = m * block, turned[:, m % strips]
        height = min(block, M - m0)

        # Phase 1: tiles of rows are normalised and turned.
        for i in range(ceil_div(height, TILE)):
            tile, top, high = m * row_tiles + i, i * TILE, min(TILE, height - i * TILE)
            slot = tile % slots
            rows, result = loaded[0:high, slot], scaled[0:high, slot]
            total, factor = sums[0:high, tile : tile + 1], factors[0:high, tile : tile + 1]
            nisa.dma_copy(dst=rows, src=x[m0 + top : m0 + top + high, :])
            _sum_of_squares(total, result, rows, square)
            _inverse_rms(factor, total, offset[0:high], K, eps, rsqrt)
            if before or on_rows:
                _scale_rows(result, rows, (factor,) if before else (), gains, on_rows)
            source = (scaled if before or on_rows else loaded)[0:high, slot : slot + 1]
            place, columns = strip[:, :, top : top + high], () if on_rows else (gains,)
            transpose_strip(place, source, high, K, transpose, evict_x, columns)

        # Phase 2: rows of out.
        if in_hbm:
            for k in range(all_k):
                k0, depth = k * TILE, min(TILE, K - k * TILE)
                rows_m = nl.ds(m0, height)
                nisa.dma_copy(dst=h[k0 : k0 + depth, rows_m], src=strip[0:depth, k, 0:height])
        else:
            to, fresh = (out[m0 : m0 + height, :],), not keep_w or m == 0
            part, extra = (height, N, K), factors[:, nl.ds(m * row_tiles, row_tiles)]
            layer(
                False, to, (strip,), (w,), part, plan, room, psum, m, fresh, "none", finish, extra
            )
    if in_hbm:
        layer(False, (out,), (h,), (w,), sizes, plan, room, psum, finish=finish, extra=factors)
    return out


def _sum_of_squares(total, squares, rows, by):
    """total[P,1] = sum of rows[P,K]^2; squares[P,K] is a place to work."""
    if by == "scalar":
        nisa.activation_reduce(
            dst=squares, op=nl.square, data=rows, reduce_op=nl.add, reduce_res=total
        )
    else:
        on = nisa.engine.vector if by == "vector" else nisa.engine.gpsimd
        nisa.tensor_tensor(dst=squares, data1=rows, data2=rows, op=nl.multiply, engine=on)
        nisa.tensor_reduce(dst=total, op=nl.add, data=squares, axis=1)


def _inverse_rms(factor, total, offset, K, eps, by):
    """factor = 1 / sqrt(total / K + eps); offset[P,1] holds eps."""
    if by == "scalar":
        nisa.activation(dst=factor, op=nl.rsqrt, data=total, bias=offset, scale=1.0 / K)
    else:
        nisa.tensor_scalar(
            dst=total, data=total, op0=nl.multiply, operand0=1.0 / K, op1=nl.add, operand1=eps
        )
        nisa.tensor_scalar(dst=factor, data=total, op0=nl.power, operand0=-0.5)


def _scale_rows(result, rows, factors, gains, on_rows):
    """result = rows times factors[P,1], if given, and times gains[P,K], if on rows."""
    if not on_rows:
        nisa.tensor_scalar(dst=result, data=rows, op0=nl.multiply, operand0=factors[0])
    elif len(factors) == 0:
        nisa.tensor_tensor(dst=result, data1=rows, data2=gains[0 : rows.shape[0]], op=nl.multiply)
    else:
        nisa.scalar_tensor_tensor(
            dst=result,
            data=rows,
            op0=nl.multiply,
            operand0=factors[0],
            op1=nl.multiply,
            operand1=gains[0 : rows.shape[0]],
        )


def rmsnorm_matmul_reference(x, gamma, w, eps=1e-6):
    """The layer in float64: numpy arrays x[M,K], gamma[1,K] and w[K,N] -> out[M,N]."""
    rows = x.astype(np.float64)
    rms = np.sqrt(np.mean(rows**2, axis=1, keepdims=True) + eps)
    return (rows / rms * gamma.astype(np.float64)) @ w.astype(np.float64)
