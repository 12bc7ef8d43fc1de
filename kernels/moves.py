"""Tiles on the move: from HBM to SBUF and back, as they are or transposed."""

import nki.isa as nisa
import nki.language as nl
from tiles import TILE, by_scalar, ceil_div, copy, scale

LOAD_COLUMNS = 2048  # that one DMA brings
BANK_BYTES = 2048  # of PSUM, a partition
SMALL = 32  # VectorE transposes 32 x 32


def load(blocks, slot, t, sources, k0, rows, first, columns, load_columns):
    """Loads row tile t of a block: source[k0:, first : first + columns], load_columns at a time."""
    for c in range(0, columns, load_columns):
        width = min(load_columns, columns - c)
        for p in range(len(blocks)):
            nisa.dma_copy(
                dst=blocks[p][0:rows, slot, t, c : c + width],
                src=sources[p][k0 : k0 + rows, first + c : first + c + width],
            )


def load_turned(blocks, slot, sources, area, by, evict):
    """Loads a block of source[first : first + columns, k0 : k0 + depth], transposed; DMA transposes
    on the way, the others what is there as it is in HBM.
    """
    k0, depth, first, columns = area
    for p in range(len(blocks)):
        block, source = blocks[p], sources[p]
        if by == "dma":
            for t in range(ceil_div(depth, TILE)):
                height, top = min(TILE, depth - t * TILE), k0 + t * TILE
                for c in range(0, columns, LOAD_COLUMNS):
                    width = min(LOAD_COLUMNS, columns - c)
                    _turn(
                        block[0:height, slot, t, c : c + width],
                        source[first + c : first + c + width, top : top + height],
                        by,
                    )
        else:
            chunks = ceil_div(columns, TILE)
            rows = nl.ndarray((TILE, chunks, depth), dtype=source.dtype, buffer=nl.sbuf)
            for c in range(chunks):
                width, top = min(TILE, columns - c * TILE), first + c * TILE
                nisa.dma_copy(dst=rows[0:width, c], src=source[top : top + width, k0 : k0 + depth])
            for c in range(chunks):
                width = min(TILE, columns - c * TILE)
                turned = block[:, slot, :, c * TILE : c * TILE + width]
                if by == "tensor":
                    _turn_tiles(turned, rows[0:width, c], by_scalar(evict, c))
                else:
                    for t in range(ceil_div(depth, TILE)):
                        height = min(TILE, depth - t * TILE)
                        _turn(
                            turned[0:height, t], rows[0:width, c, t * TILE : t * TILE + height], by
                        )


def load_rows(rows, source, top, first, columns):
    """Loads source[top:, first : first + columns] to where a row of tiles is put together."""
    height = rows[0].shape[0]
    nisa.dma_copy(
        dst=rows[0][:, 0:columns], src=source[top : top + height, first : first + columns]
    )


def store_rows(out, rows, top, first, columns):
    """Stores a row of tiles of each result at [top, first]."""
    height = rows[0].shape[0]
    for p in range(len(out)):
        nisa.dma_copy(
            dst=out[p][top : top + height, first : first + columns], src=rows[p][:, 0:columns]
        )


def transpose_strip(dst, src, rows, columns, by, evict="vector", factors=()):
    """dst = src transposed: strips of [columns, rows] and of [rows, columns].

    Args:
        by: "tensor", "vector" or "dma".
        evict: Engine that empties PSUM and scales: "vector", "scalar", or "both" in turn.
        factors: One [128, tiles of columns] in float32: by what rows of dst are scaled; or none.
    """
    for i in range(ceil_div(rows, TILE)):
        height = min(TILE, rows - i * TILE)
        turned = dst[:, :, i * TILE : i * TILE + height]
        if by == "tensor":
            _turn_tiles(turned, src[0:height, i, 0:columns], by_scalar(evict, i), factors)
        else:
            for j in range(ceil_div(columns, TILE)):
                width = min(TILE, columns - j * TILE)
                tile = turned[0:width, j]
                _turn(tile, src[0:height, i, j * TILE : j * TILE + width], by)
                if len(factors) > 0:
                    scale(tile, tile, factors[0][0:width, j : j + 1], by_scalar(evict, j))


def transpose_hbm(dst, src):
    """dst[N,M] = src[M,N] transposed by DMA, both in HBM."""
    M, N = src.shape
    for m in range(0, M, LOAD_COLUMNS):
        wide = min(LOAD_COLUMNS, M - m)
        for n in range(0, N, TILE):
            high = min(TILE, N - n)
            turned = nl.ndarray((high, wide), dtype=src.dtype, buffer=nl.sbuf)
            nisa.dma_transpose(dst=turned, src=src[m : m + wide, n : n + high])
            nisa.dma_copy(dst=dst[n : n + high, m : m + wide], src=turned)


def spread(vector, rows):
    """[rows, N] in SBUF, in every row the vector[1,N] of HBM."""
    N = vector.shape[1]
    found = nl.ndarray((rows, N), dtype=vector.dtype, buffer=nl.sbuf)
    nisa.dma_copy(dst=found, src=vector.ap(pattern=[[0, rows], [1, N]]))
    return found


def upright(vector):
    """[128, tiles of N] in SBUF, float32: the vector[1,N] of HBM, a tile in each column."""
    N = vector.shape[1]
    whole, rest = N // TILE, N % TILE
    found = nl.ndarray((TILE, ceil_div(N, TILE)), dtype=nl.float32, buffer=nl.sbuf)
    for t in range(0, whole, TILE):
        tiles = min(TILE, whole - t)
        column = nl.ndarray((TILE, tiles), dtype=vector.dtype, buffer=nl.sbuf)
        lying = vector[0:1, t * TILE : (t + tiles) * TILE].reshape((tiles, TILE))
        nisa.dma_transpose(dst=column, src=lying)
        nisa.tensor_copy(dst=found[:, t : t + tiles], src=column)
    if rest > 0:
        column = nl.ndarray((rest, 1), dtype=vector.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=column, src=vector[0:1, whole * TILE : N].reshape((rest, 1)))
        nisa.tensor_copy(dst=found[0:rest, whole : whole + 1], src=column)
    return found


def _turn_tiles(dst, src, on_scalar, factors=()):
    """dst[128, tiles, P] = src[P, K] transposed by TensorE, times factors[128, tiles] if given;
    tiles that fit a bank leave together.
    """
    width, depth = src.shape
    size = 4 if src.dtype == nl.float32 else 2
    group, whole = BANK_BYTES // (TILE * size), depth // TILE
    for first in range(0, ceil_div(depth, TILE), group):
        tiles = min(group, ceil_div(depth, TILE) - first)
        full = min(tiles, whole - first)
        turned = nl.ndarray((TILE, tiles, width), dtype=src.dtype, buffer=nl.psum)
        for t in range(tiles):
            top = (first + t) * TILE
            height = min(TILE, depth - top)
            nisa.nc_transpose(
                dst=turned[0:height, t],
                data=src[0:width, top : top + height],
                engine=nisa.engine.tensor,
            )
        rest = depth - whole * TILE
        if len(factors) > 0:
            for t in range(tiles):
                at, height = first + t, min(TILE, depth - (first + t) * TILE)
                factor = factors[0][0:height, at : at + 1]
                scale(dst[0:height, at], turned[0:height, t], factor, on_scalar)
        else:
            if full > 0:
                copy(dst[:, first : first + full], turned[:, 0:full], on_scalar)
            if full < tiles:
                copy(dst[0:rest, whole], turned[0:rest, full], on_scalar)


def _turn(dst, src, by):
    """dst[F,P] = src[P,F] transposed by "vector" in SBUF, or by "dma", which may read HBM."""
    if by == "dma":
        nisa.dma_transpose(dst=dst, src=src)
    else:
        rows, columns = src.shape
        for i in range(0, rows, SMALL):
            height = min(SMALL, rows - i)
            for j in range(0, columns, SMALL):
                width = min(SMALL, columns - j)
                nisa.nc_transpose(
                    dst=dst[j : j + width, i : i + height],
                    data=src[i : i + height, j : j + width],
                    engine=nisa.engine.vector,
                )
