"""Six baselines of NKIBench, with the shapes they were measured at in their docstrings.

The originals (zhang677/AccelOpt, NKIBench/kernels, arXiv 2511.15915) are Beta 1 kernels: a load
returns a new tile, masks cut the edges. Here every such tile is allocated where it is filled, and
edges are cut by slices. All are float32 and were measured on trn1.
"""

import nki
import nki.isa as nisa
import nki.language as nl
import numpy as np

TILE = 128
TILE_N = 512
BLOCK = 1024
IMPLICIT = "implicit transpose"
"""Names what the source does not spell out: the compiler adds it after its loop optimisations."""


@nki.jit
def transpose_matmul(lhsT, rhs):
    """lhsT[128,K/128,M], rhs[128,K/128,N] -> out[M/128,128,N] in blocks of 1024x1024: for each
    block of M its 128x1024 tiles of lhsT over all of K are loaded once, for each block of N those
    of rhs; then eight rows of two 128x512 products run over all of K, are copied side by side and
    stored 128x1024 at a time. The last block of N (704 columns) is multiplied as whole 512-column
    tiles: the published flops count 11264 columns. What fills it up is set to zero. Measured at
    M=4096, K=2048, N=10944. Source: transpose_matmul_M4096_K2048_N10944_0.py.
    """
    (_, k_tiles, M), N = lhsT.shape, rhs.shape[2]
    out = nl.ndarray((_whole(M, TILE), TILE, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    for m in range(_ceil_div(M, BLOCK)):
        columns_m = min(BLOCK, M - m * BLOCK)
        lhs_tiles = []
        for k in range(k_tiles):
            lhs_tile = nl.ndarray((TILE, BLOCK), dtype=lhsT.dtype, buffer=nl.sbuf)
            source = lhsT[0:TILE, k, m * BLOCK : m * BLOCK + columns_m]
            nisa.dma_copy(dst=lhs_tile[0:TILE, 0:columns_m], src=source)
            lhs_tiles.append(lhs_tile)
        for n in range(_ceil_div(N, BLOCK)):
            columns = min(BLOCK, N - n * BLOCK)
            padded = _ceil_div(columns, TILE_N) * TILE_N
            rhs_tiles = []
            for k in range(k_tiles):
                rhs_tile = nl.ndarray((TILE, BLOCK), dtype=rhs.dtype, buffer=nl.sbuf)
                if padded > columns:
                    nisa.memset(dst=rhs_tile[0:TILE, columns:padded], value=0.0)
                source = rhs[0:TILE, k, n * BLOCK : n * BLOCK + columns]
                nisa.dma_copy(dst=rhs_tile[0:TILE, 0:columns], src=source)
                rhs_tiles.append(rhs_tile)
            for i in range(columns_m // TILE):
                result = nl.ndarray((TILE, BLOCK), dtype=out.dtype, buffer=nl.sbuf)
                for j in range(padded // TILE_N):
                    left, width = j * TILE_N, min(TILE_N, columns - j * TILE_N)
                    product = nl.ndarray((TILE, TILE_N), dtype=nl.float32, buffer=nl.psum)
                    for k in range(k_tiles):
                        nisa.nc_matmul(
                            dst=product,
                            stationary=lhs_tiles[k][0:TILE, i * TILE : (i + 1) * TILE],
                            moving=rhs_tiles[k][0:TILE, left : left + TILE_N],
                        )
                    nisa.tensor_copy(
                        dst=result[0:TILE, left : left + width], src=product[0:TILE, 0:width]
                    )
                nisa.dma_copy(
                    dst=out[m * (BLOCK // TILE) + i, 0:TILE, n * BLOCK : n * BLOCK + columns],
                    src=result[0:TILE, 0:columns],
                )
    return out


@nki.jit
def bmm(lhs, rhs):
    """lhs[B,M,K] @ rhs[B,K,N] -> out[B,M/128,128,N] with K <= 128: for each matrix, for each 1024
    columns of rhs (loaded K x 1024), for each 1024 rows of lhs: eight 128xK tiles are loaded,
    transposed on TensorE and copied into one K x 1024 tile; then eight rows of two 128x512
    products, copied side by side and stored 128x1024 at a time. The transposes are written inside
    the loop over columns. Measured at B=16, M=4096, K=64, N=4096. Source:
    bmm_B16_M4096_K64_N4096_0.py.
    """
    B, M, K = lhs.shape
    N = rhs.shape[2]
    block_m, block_n = min(BLOCK, M), min(BLOCK, N)
    out = nl.ndarray((B, _whole(M, TILE), TILE, N), dtype=lhs.dtype, buffer=nl.shared_hbm)
    for b in range(B):
        for n in range(_whole(N, block_n)):
            rhs_tile = nl.ndarray((K, block_n), dtype=rhs.dtype, buffer=nl.sbuf)
            nisa.dma_copy(dst=rhs_tile, src=rhs[b, 0:K, n * block_n : (n + 1) * block_n])
            for m in range(_whole(M, block_m)):
                transposed = nl.ndarray((K, block_m), dtype=lhs.dtype, buffer=nl.sbuf)
                for i in range(_whole(block_m, TILE)):
                    top = m * block_m + i * TILE
                    lhs_tile = nl.ndarray((TILE, K), dtype=lhs.dtype, buffer=nl.sbuf)
                    nisa.dma_copy(dst=lhs_tile, src=lhs[b, top : top + TILE, 0:K])
                    turned = nl.ndarray((K, TILE), dtype=lhs.dtype, buffer=nl.psum)
                    nisa.nc_transpose(dst=turned, data=lhs_tile)
                    nisa.tensor_copy(dst=transposed[0:K, i * TILE : (i + 1) * TILE], src=turned)
                for i in range(_whole(block_m, TILE)):
                    result = nl.ndarray((TILE, block_n), dtype=out.dtype, buffer=nl.sbuf)
                    for j in range(_whole(block_n, TILE_N)):
                        columns = slice(j * TILE_N, (j + 1) * TILE_N)
                        product = nl.ndarray((TILE, TILE_N), dtype=nl.float32, buffer=nl.psum)
                        nisa.nc_matmul(
                            dst=product,
                            stationary=transposed[0:K, i * TILE : (i + 1) * TILE],
                            moving=rhs_tile[0:K, columns],
                        )
                        nisa.tensor_copy(dst=result[0:TILE, columns], src=product)
                    row = m * (block_m // TILE) + i
                    nisa.dma_copy(
                        dst=out[b, row, 0:TILE, n * block_n : (n + 1) * block_n], src=result
                    )
    return out


@nki.jit
def matmul_add_rmsnorm(x, w, z, g, eps=1e-5):
    """rmsnorm(x[M,K] @ w[K,N] + z[M,N]) * g[1,N] -> out[M,N]: for each 128 rows, x is loaded whole;
    for each 512 columns, for each K tile, the tile of w is loaded, and x comes untransposed, so
    that the compiler transposes its 128x128 tile on TensorE before each matmul. The row of products
    is copied to SBUF, z is loaded and added, the squares (ScalarE) are summed, divided by N, and
    the row is scaled by 1/sqrt(mean + eps) and by g. g reaches all partitions through one product
    with ones before the loops. Measured at M=4096, K=2048, N=2048. Source:
    matmul_add_rmsnorm_M4096_N2048_K2048_0.py.
    """
    (M, K), N = x.shape, w.shape[1]
    out = nl.ndarray((M, N), dtype=x.dtype, buffer=nl.shared_hbm)
    g_rows = _on_all_partitions(g)
    for m in range(_whole(M, TILE)):
        rows = slice(m * TILE, (m + 1) * TILE)
        y = nl.ndarray((TILE, N), dtype=x.dtype, buffer=nl.sbuf)
        x_tile = nl.ndarray((TILE, K), dtype=x.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=x_tile, src=x[rows, 0:K])
        for n in range(_whole(N, TILE_N)):
            columns = slice(n * TILE_N, (n + 1) * TILE_N)
            product = nl.ndarray((TILE, TILE_N), dtype=nl.float32, buffer=nl.psum)
            for k in range(_whole(K, TILE)):
                w_tile = nl.ndarray((TILE, TILE_N), dtype=w.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=w_tile, src=w[k * TILE : (k + 1) * TILE, columns])
                turned = nl.ndarray((TILE, TILE), dtype=x.dtype, buffer=nl.psum)
                x_part = x_tile[0:TILE, k * TILE : (k + 1) * TILE]
                nisa.nc_transpose(dst=turned, data=x_part, name=IMPLICIT)
                transposed = nl.ndarray((TILE, TILE), dtype=x.dtype, buffer=nl.sbuf)
                nisa.tensor_copy(dst=transposed, src=turned, name=IMPLICIT)
                nisa.nc_matmul(dst=product, stationary=transposed, moving=w_tile)
            nisa.tensor_copy(dst=y[0:TILE, columns], src=product)
        z_tile = nl.ndarray((TILE, N), dtype=z.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=z_tile, src=z[rows, 0:N])
        total = nl.ndarray((TILE, N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.tensor_tensor(dst=total, data1=y, data2=z_tile, op=nl.add)
        scale = _inverse_root_mean_square(total, eps)
        scaled = nl.ndarray((TILE, N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.tensor_scalar(dst=scaled, data=total, op0=nl.multiply, operand0=scale)
        result = nl.ndarray((TILE, N), dtype=out.dtype, buffer=nl.sbuf)
        nisa.tensor_tensor(dst=result, data1=scaled, data2=g_rows, op=nl.multiply)
        nisa.dma_copy(dst=out[rows, 0:N], src=result)
    return out


@nki.jit
def silu(x):
    """x / (1 + exp(-x)) for x[128,R,C]: for each of R, for each 1024 columns: a tile is loaded; in
    each half of it exp is an activation, 1 is added with tensor_scalar, then a reciprocal and a
    product with x; the tile is stored. Measured at 128x32x7168. Source: silu_M4096_N7168_0.py.
    """
    _, R, C = x.shape
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    for r in range(R):
        for c in range(_whole(C, BLOCK)):
            block = slice(c * BLOCK, (c + 1) * BLOCK)
            x_tile = nl.ndarray((TILE, BLOCK), dtype=x.dtype, buffer=nl.sbuf)
            nisa.dma_copy(dst=x_tile, src=x[0:TILE, r, block])
            result = nl.ndarray((TILE, BLOCK), dtype=out.dtype, buffer=nl.sbuf)
            for h in range(BLOCK // TILE_N):
                half = slice(h * TILE_N, (h + 1) * TILE_N)
                power = nl.ndarray((TILE, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
                nisa.activation(dst=power, op=nl.exp, data=x_tile[0:TILE, half], scale=-1.0)
                divisor = nl.ndarray((TILE, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
                nisa.tensor_scalar(dst=divisor, data=power, op0=nl.add, operand0=1.0, reverse0=True)
                share = nl.ndarray((TILE, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
                nisa.reciprocal(dst=share, data=divisor)
                nisa.tensor_tensor(
                    dst=result[0:TILE, half],
                    data1=x_tile[0:TILE, half],
                    data2=share,
                    op=nl.multiply,
                )
            nisa.dma_copy(dst=out[0:TILE, r, block], src=result)
    return out


@nki.jit
def adamw(theta, g, m, v):
    """One AdamW step on theta[M,N]: for each 128 rows, for each 1024 columns: tiles of theta, m, v
    and g are loaded; in each half of them seven products with constants and one sum with a constant
    (tensor_scalar), a square root (activation), a reciprocal and six operations on two tensors; the
    new theta is stored. The last rows are fewer than 128. Measured at 10944x2048. Source:
    adamw_M10944_N2048_0.py.
    """
    M, N = theta.shape
    out = nl.ndarray((M, N), dtype=theta.dtype, buffer=nl.shared_hbm)
    for i in range(_ceil_div(M, TILE)):
        count = min(TILE, M - i * TILE)
        for c in range(_whole(N, BLOCK)):
            place = (slice(i * TILE, i * TILE + count), slice(c * BLOCK, (c + 1) * BLOCK))
            theta_tile = nl.ndarray((count, BLOCK), dtype=theta.dtype, buffer=nl.sbuf)
            nisa.dma_copy(dst=theta_tile, src=theta[place])
            m_tile = nl.ndarray((count, BLOCK), dtype=m.dtype, buffer=nl.sbuf)
            nisa.dma_copy(dst=m_tile, src=m[place])
            v_tile = nl.ndarray((count, BLOCK), dtype=v.dtype, buffer=nl.sbuf)
            nisa.dma_copy(dst=v_tile, src=v[place])
            g_tile = nl.ndarray((count, BLOCK), dtype=g.dtype, buffer=nl.sbuf)
            nisa.dma_copy(dst=g_tile, src=g[place])
            result = nl.ndarray((count, BLOCK), dtype=out.dtype, buffer=nl.sbuf)
            for h in range(BLOCK // TILE_N):
                half = (slice(0, count), slice(h * TILE_N, (h + 1) * TILE_N))
                _adamw_step(
                    result[half], theta_tile[half], m_tile[half], v_tile[half], g_tile[half]
                )
            nisa.dma_copy(dst=out[place], src=result)
    return out


@nki.jit
def rope(x, cos, sin):
    """Rotary embedding of x[D,S] with cos[D/2,S] and sin[D/2,S]: for each 512 columns, tiles of x,
    cos and sin are loaded; the second half of x is copied to the first partitions, so that the four
    products meet on the same partitions; a difference and a sum make the two halves of the stored
    tile. Measured at D=128, S=64*4096. Source: rope_single_freq_apply_B1_H64_N4096_D128_0.py.
    """
    D, S = x.shape
    half = D // 2
    out = nl.ndarray((D, S), dtype=x.dtype, buffer=nl.shared_hbm)
    for s in range(_whole(S, TILE_N)):
        columns = slice(s * TILE_N, (s + 1) * TILE_N)
        x_tile = nl.ndarray((D, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=x_tile, src=x[0:D, columns])
        cos_tile = nl.ndarray((half, TILE_N), dtype=cos.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=cos_tile, src=cos[0:half, columns])
        sin_tile = nl.ndarray((half, TILE_N), dtype=sin.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=sin_tile, src=sin[0:half, columns])
        even = x_tile[0:half, 0:TILE_N]
        odd = nl.ndarray((half, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.tensor_copy(dst=odd, src=x_tile[half:D, 0:TILE_N])
        even_cos = nl.ndarray((half, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.tensor_tensor(dst=even_cos, data1=even, data2=cos_tile, op=nl.multiply)
        odd_cos = nl.ndarray((half, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.tensor_tensor(dst=odd_cos, data1=odd, data2=cos_tile, op=nl.multiply)
        even_sin = nl.ndarray((half, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.tensor_tensor(dst=even_sin, data1=even, data2=sin_tile, op=nl.multiply)
        odd_sin = nl.ndarray((half, TILE_N), dtype=x.dtype, buffer=nl.sbuf)
        nisa.tensor_tensor(dst=odd_sin, data1=odd, data2=sin_tile, op=nl.multiply)
        result = nl.ndarray((D, TILE_N), dtype=out.dtype, buffer=nl.sbuf)
        upper, lower = result[0:half, 0:TILE_N], result[half:D, 0:TILE_N]
        nisa.tensor_tensor(dst=upper, data1=even_cos, data2=odd_sin, op=nl.subtract)
        nisa.tensor_tensor(dst=lower, data1=odd_cos, data2=even_sin, op=nl.add)
        nisa.dma_copy(dst=out[0:D, columns], src=result)
    return out


def transpose_matmul_reference(lhsT, rhs):
    """numpy arrays lhsT[128,K/128,M], rhs[128,K/128,N] -> out[M/128,128,N], in float64."""
    K, M = lhsT.shape[0] * lhsT.shape[1], lhsT.shape[2]
    left = lhsT.astype(np.float64).reshape(K, M)
    return (left.T @ rhs.astype(np.float64).reshape(K, -1)).reshape(M // TILE, TILE, -1)


def bmm_reference(lhs, rhs):
    """numpy arrays lhs[B,M,K], rhs[B,K,N] -> out[B,M/128,128,N], in float64."""
    B, M, _ = lhs.shape
    return (lhs.astype(np.float64) @ rhs.astype(np.float64)).reshape(B, M // TILE, TILE, -1)


def matmul_add_rmsnorm_reference(x, w, z, g, eps=1e-5):
    """numpy arrays x[M,K], w[K,N], z[M,N], g[1,N] -> out[M,N], in float64."""
    total = x.astype(np.float64) @ w.astype(np.float64) + z
    return total / np.sqrt(np.mean(total**2, axis=1, keepdims=True) + eps) * g


def silu_reference(x):
    """x / (1 + exp(-x)) in float64, for an array of any shape."""
    x = x.astype(np.float64)
    return x / (1 + np.exp(-x))


def adamw_reference(theta, g, m, v):
    """The new theta in float64, for arrays [M,N]; v >= 0."""
    theta, g, m, v = (array.astype(np.float64) for array in (theta, g, m, v))
    step = 0.01 * (0.9 * m + 0.1 * g) / (np.sqrt(1000 * (0.999 * v + 0.001 * g * g)) + 1e-8)
    return theta - 1e-5 * theta - step


def rope_reference(x, cos, sin):
    """numpy arrays x[D,S], cos[D/2,S], sin[D/2,S] -> out[D,S], in float64."""
    x, cos, sin = (array.astype(np.float64) for array in (x, cos, sin))
    even, odd = x[: len(cos)], x[len(cos) :]
    return np.concatenate([even * cos - odd * sin, odd * cos + even * sin])


def _whole(size, tile):
    """How many tiles or blocks make up a size."""
    assert size % tile == 0, f"{size} is no multiple of {tile}"
    return size // tile


def _ceil_div(a, b):
    return (a + b - 1) // b


def _on_all_partitions(row):
    """Brings row[1,N] of HBM to every partition: ones^T @ row, 512 columns at a time."""
    N = row.shape[1]
    row_tile = nl.ndarray((1, N), dtype=row.dtype, buffer=nl.sbuf)
    nisa.dma_copy(dst=row_tile, src=row)
    ones = nl.ndarray((1, TILE), dtype=row.dtype, buffer=nl.sbuf)
    nisa.memset(dst=ones, value=1.0)
    rows = nl.ndarray((TILE, N), dtype=row.dtype, buffer=nl.sbuf)
    for n in range(_whole(N, TILE_N)):
        columns = slice(n * TILE_N, (n + 1) * TILE_N)
        spread = nl.ndarray((TILE, TILE_N), dtype=nl.float32, buffer=nl.psum)
        nisa.nc_matmul(dst=spread, stationary=ones, moving=row_tile[0:1, columns])
        nisa.tensor_copy(dst=rows[0:TILE, columns], src=spread)
    return rows


def _inverse_root_mean_square(total, eps):
    """1/sqrt(mean of squares + eps) of each row of a tile, as (128, 1)."""
    N = total.shape[1]
    squares = nl.ndarray((TILE, N), dtype=total.dtype, buffer=nl.sbuf)
    nisa.activation(dst=squares, op=nl.square, data=total)
    square_sum = nl.ndarray((TILE, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_reduce(dst=square_sum, op=nl.add, data=squares, axis=1)
    mean = nl.ndarray((TILE, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=mean, data=square_sum, op0=nl.multiply, operand0=1.0 / N)
    shifted = nl.ndarray((TILE, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=shifted, data=mean, op0=nl.add, operand0=eps)
    scale = nl.ndarray((TILE, 1), dtype=nl.float32, buffer=nl.sbuf)
    nisa.activation(dst=scale, op=nl.rsqrt, data=shifted)
    return scale


def _adamw_step(result, theta, m, v, g):
    """The new theta of one half of a tile, one operation a tile."""
    shape, kind = theta.shape, theta.dtype
    decay = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=decay, data=theta, op0=nl.multiply, operand0=1e-5, reverse0=True)
    decayed = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_tensor(dst=decayed, data1=theta, data2=decay, op=nl.subtract)
    old_m = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=old_m, data=m, op0=nl.multiply, operand0=0.9, reverse0=True)
    part_g = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=part_g, data=g, op0=nl.multiply, operand0=0.1, reverse0=True)
    new_m = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_tensor(dst=new_m, data1=old_m, data2=part_g, op=nl.add)
    step = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=step, data=new_m, op0=nl.multiply, operand0=0.01, reverse0=True)
    old_v = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=old_v, data=v, op0=nl.multiply, operand0=0.999, reverse0=True)
    small_g = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=small_g, data=g, op0=nl.multiply, operand0=0.001, reverse0=True)
    square_g = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_tensor(dst=square_g, data1=small_g, data2=g, op=nl.multiply)
    new_v = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_tensor(dst=new_v, data1=old_v, data2=square_g, op=nl.add)
    root = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.activation(dst=root, op=nl.sqrt, data=new_v, scale=1000.0)
    divisor = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_scalar(dst=divisor, data=root, op0=nl.add, operand0=1e-8)
    share = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.reciprocal(dst=share, data=divisor)
    update = nl.ndarray(shape, dtype=kind, buffer=nl.sbuf)
    nisa.tensor_tensor(dst=update, data1=step, data2=share, op=nl.multiply)
    nisa.tensor_tensor(dst=result, data1=decayed, data2=update, op=nl.subtract)
