"""The four steps of AWS's matmul tutorial: lhsT[K,M]^T @ rhs[K,N] -> out[M,N].

Published twice: as the NKI matmul tutorial of Neuron SDK 2.20 (trn1, bfloat16) and as the kernel
optimisation guide of SDK 2.27 and 2.28 (trn2, float32). The steps are the same, so are the
kernels here. Sizes are whole tiles, and whole blocks where there are blocks, as in the originals.
"""

import nki
import nki.isa as nisa
import nki.language as nl
import numpy as np

TILE_K = 128
TILE_M = 128
TILE_N = 512


@nki.jit
def tiled(lhsT, rhs):
    """One product tile at a time, its operands loaded in the innermost loop: for m, for n, for k a
    128x128 tile of lhsT and a 128x512 tile of rhs are loaded and multiplied; the product is copied
    to SBUF and stored. Source: aws-neuron-sdk, NKI matmul tutorial (tiled) and kernel optimisation
    guide (second listing).
    """
    (K, M), N = lhsT.shape, rhs.shape[1]
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    for m in range(_whole(M, TILE_M)):
        for n in range(_whole(N, TILE_N)):
            product = nl.ndarray((TILE_M, TILE_N), dtype=nl.float32, buffer=nl.psum)
            for k in range(_whole(K, TILE_K)):
                lhs_tile = nl.ndarray((TILE_K, TILE_M), dtype=lhsT.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=lhs_tile, src=lhsT[_tile(k, TILE_K), _tile(m, TILE_M)])
                rhs_tile = nl.ndarray((TILE_K, TILE_N), dtype=rhs.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=rhs_tile, src=rhs[_tile(k, TILE_K), _tile(n, TILE_N)])
                nisa.nc_matmul(dst=product, stationary=lhs_tile, moving=rhs_tile)
            _store(out[_tile(m, TILE_M), _tile(n, TILE_N)], product)
    return out


@nki.jit
def hoist_load(lhsT, rhs):
    """Loads of a whole column of K: all tiles of lhsT for one m are loaded in the m loop, all tiles
    of rhs for one n in the n loop inside it, so that rhs is read once for each m; then come the
    matmuls over k. Source: as `tiled`, the step that hoists the loads (third listing of the guide).
    """
    (K, M), N = lhsT.shape, rhs.shape[1]
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    for m in range(_whole(M, TILE_M)):
        lhs_tiles = []
        for k in range(_whole(K, TILE_K)):
            lhs_tile = nl.ndarray((TILE_K, TILE_M), dtype=lhsT.dtype, buffer=nl.sbuf)
            nisa.dma_copy(dst=lhs_tile, src=lhsT[_tile(k, TILE_K), _tile(m, TILE_M)])
            lhs_tiles.append(lhs_tile)
        for n in range(_whole(N, TILE_N)):
            rhs_tiles = []
            for k in range(_whole(K, TILE_K)):
                rhs_tile = nl.ndarray((TILE_K, TILE_N), dtype=rhs.dtype, buffer=nl.sbuf)
                nisa.dma_copy(dst=rhs_tile, src=rhs[_tile(k, TILE_K), _tile(n, TILE_N)])
                rhs_tiles.append(rhs_tile)
            product = nl.ndarray((TILE_M, TILE_N), dtype=nl.float32, buffer=nl.psum)
            for k in range(_whole(K, TILE_K)):
                nisa.nc_matmul(dst=product, stationary=lhs_tiles[k], moving=rhs_tiles[k])
            _store(out[_tile(m, TILE_M), _tile(n, TILE_N)], product)
    return out


@nki.jit
def block_free(lhsT, rhs, tiles_m=2, tiles_n=2):
    """Blocks of the free dimensions: as `hoist_load`, with 2 columns of tiles of lhsT and 2 of rhs
    at a time, loaded tile by tile; each of the 2x2 products runs over all of K in its own PSUM
    tile. rhs is read once for each 256 rows of out. Source: as `tiled`, the step that blocks the
    free dimensions (fourth listing of the guide).
    """
    (K, M), N = lhsT.shape, rhs.shape[1]
    block_m, block_n = tiles_m * TILE_M, tiles_n * TILE_N
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    for m in range(_whole(M, block_m)):
        lhs_columns = []
        for i in range(tiles_m):
            lhs_tiles = []
            for k in range(_whole(K, TILE_K)):
                lhs_tile = nl.ndarray((TILE_K, TILE_M), dtype=lhsT.dtype, buffer=nl.sbuf)
                source = lhsT[_tile(k, TILE_K), _tile(m * tiles_m + i, TILE_M)]
                nisa.dma_copy(dst=lhs_tile, src=source)
                lhs_tiles.append(lhs_tile)
            lhs_columns.append(lhs_tiles)
        for n in range(_whole(N, block_n)):
            rhs_columns = []
            for j in range(tiles_n):
                rhs_tiles = []
                for k in range(_whole(K, TILE_K)):
                    rhs_tile = nl.ndarray((TILE_K, TILE_N), dtype=rhs.dtype, buffer=nl.sbuf)
                    source = rhs[_tile(k, TILE_K), _tile(n * tiles_n + j, TILE_N)]
                    nisa.dma_copy(dst=rhs_tile, src=source)
                    rhs_tiles.append(rhs_tile)
                rhs_columns.append(rhs_tiles)
            for i in range(tiles_m):
                for j in range(tiles_n):
                    product = nl.ndarray((TILE_M, TILE_N), dtype=nl.float32, buffer=nl.psum)
                    for k in range(_whole(K, TILE_K)):
                        nisa.nc_matmul(
                            dst=product, stationary=lhs_columns[i][k], moving=rhs_columns[j][k]
                        )
                    rows, columns = m * tiles_m + i, n * tiles_n + j
                    _store(out[_tile(rows, TILE_M), _tile(columns, TILE_N)], product)
    return out


@nki.jit
def fully_optimized(lhsT, rhs, tiles_m=16, tiles_n=2, tiles_k=8):
    """Blocks of all three dimensions: for each block of N, partial sums of all of M are cleared in
    SBUF, in the operands' dtype; for each block of K, 128x1024 tiles of rhs are loaded, for each
    block of M 128x2048 tiles of lhsT; every product over the block's 8 K tiles is added to its
    partial sum straight from PSUM. At the end the sums of a row are copied side by side and stored
    128x1024 at a time. Source: as `tiled`, the last step (fifth listing of the guide).
    """
    (K, M), N = lhsT.shape, rhs.shape[1]
    block_m, block_n, block_k = tiles_m * TILE_M, tiles_n * TILE_N, tiles_k * TILE_K
    out = nl.ndarray((M, N), dtype=lhsT.dtype, buffer=nl.shared_hbm)
    for n in range(_whole(N, block_n)):
        sums = []
        for _ in range(_whole(M, TILE_M)):
            row = []
            for _ in range(tiles_n):
                partial = nl.ndarray((TILE_M, TILE_N), dtype=lhsT.dtype, buffer=nl.sbuf)
                nisa.memset(dst=partial, value=0.0)
                row.append(partial)
            sums.append(row)
        for k in range(_whole(K, block_k)):
            rhs_tiles = []
            for t in range(tiles_k):
                rhs_tile = nl.ndarray((TILE_K, block_n), dtype=rhs.dtype, buffer=nl.sbuf)
                source = rhs[_tile(k * tiles_k + t, TILE_K), _tile(n, block_n)]
                nisa.dma_copy(dst=rhs_tile, src=source)
                rhs_tiles.append(rhs_tile)
            for m in range(_whole(M, block_m)):
                lhs_tiles = []
                for t in range(tiles_k):
                    lhs_tile = nl.ndarray((TILE_K, block_m), dtype=lhsT.dtype, buffer=nl.sbuf)
                    source = lhsT[_tile(k * tiles_k + t, TILE_K), _tile(m, block_m)]
                    nisa.dma_copy(dst=lhs_tile, src=source)
                    lhs_tiles.append(lhs_tile)
                for j in range(tiles_n):
                    for i in range(tiles_m):
                        product = nl.ndarray((TILE_M, TILE_N), dtype=nl.float32, buffer=nl.psum)
                        for t in range(tiles_k):
                            nisa.nc_matmul(
                                dst=product,
                                stationary=lhs_tiles[t][0:TILE_K, _tile(i, TILE_M)],
                                moving=rhs_tiles[t][0:TILE_K, _tile(j, TILE_N)],
                            )
                        partial = sums[m * tiles_m + i][j]
                        nisa.tensor_tensor(dst=partial, data1=partial, data2=product, op=nl.add)
        for i in range(_whole(M, TILE_M)):
            packed = nl.ndarray((TILE_M, block_n), dtype=out.dtype, buffer=nl.sbuf)
            for j in range(tiles_n):
                nisa.tensor_copy(dst=packed[0:TILE_M, _tile(j, TILE_N)], src=sums[i][j])
            nisa.dma_copy(dst=out[_tile(i, TILE_M), _tile(n, block_n)], src=packed)
    return out


def matmul_reference(lhsT, rhs):
    """The product in float64: numpy arrays lhsT[K,M] and rhs[K,N] -> out[M,N]."""
    return lhsT.astype(np.float64).T @ rhs.astype(np.float64)


def _whole(size, tile):
    """How many tiles or blocks make up a size."""
    assert size % tile == 0, f"{size} is no multiple of {tile}"
    return size // tile


def _tile(index, size):
    """Slice of the tile or block with this index."""
    return slice(index * size, (index + 1) * size)


def _store(place, product):
    """Copies a product from PSUM to SBUF and stores it."""
    result = nl.ndarray((TILE_M, TILE_N), dtype=place.dtype, buffer=nl.sbuf)
    nisa.tensor_copy(dst=result, src=product)
    nisa.dma_copy(dst=place, src=result)
