"""Tiles: their sizes, where they are kept, and how they leave PSUM."""

import nki.isa as nisa
import nki.language as nl

TILE = 128  # partitions; columns of a stationary operand
TILE_N = 512  # columns of a moving operand


def ceil_div(a, b):
    """a / b, rounded up."""
    return (a + b - 1) // b


def accumulators(banks):
    """PSUM banks that products use in rotation."""
    return nl.ndarray((TILE, banks, TILE_N), dtype=nl.float32, buffer=nl.psum)


def strip(rows, columns, dtype):
    """An empty strip for a matrix of `rows` x `columns`."""
    return nl.ndarray((TILE, ceil_div(rows, TILE), columns), dtype=dtype, buffer=nl.sbuf)


def by_scalar(evict, number):
    """Whether ScalarE empties PSUM, of tile after tile."""
    return evict == "scalar" or (evict == "both" and number % 2 == 1)


def copy(dst, total, on_scalar):
    """Brings a tile to its place in SBUF."""
    if on_scalar:
        nisa.activation(dst=dst, op=nl.copy, data=total)
    else:
        nisa.tensor_copy(dst=dst, src=total, engine=nisa.engine.vector)


def scale(dst, total, factor, on_scalar):
    """dst = total * factor[P,1]."""
    if on_scalar:
        nisa.activation(dst=dst, op=nl.copy, data=total, scale=factor)
    else:
        nisa.tensor_scalar(
            dst=dst, data=total, op0=nl.multiply, operand0=factor, engine=nisa.engine.vector
        )


def shift(dst, total, bias, on_scalar):
    """dst = total + bias[P,1]."""
    if on_scalar:
        nisa.activation(dst=dst, op=nl.copy, data=total, bias=bias)
    else:
        nisa.tensor_scalar(
            dst=dst, data=total, op0=nl.add, operand0=bias, engine=nisa.engine.vector
        )


def add(dst, product, partial, on_scalar):
    """dst = product + partial. ScalarE cannot add two tensors: it drains PSUM and GpSimd adds."""
    if on_scalar:
        spare = nl.ndarray(dst.shape, dtype=nl.float32, buffer=nl.sbuf)
        nisa.activation(dst=spare, op=nl.copy, data=product)
        nisa.tensor_tensor(
            dst=dst, data1=spare, data2=partial, op=nl.add, engine=nisa.engine.gpsimd
        )
    else:
        nisa.tensor_tensor(
            dst=dst, data1=product, data2=partial, op=nl.add, engine=nisa.engine.vector
        )


def add_up(targets, totals, partials, fresh, on_scalar):
    """targets = totals + partials; the first totals begin them."""
    for p in range(len(totals)):
        if fresh:
            copy(targets[p], totals[p], on_scalar)
        else:
            add(targets[p], totals[p], partials[p], on_scalar)


def finish_tiles(targets, totals, finish, extra, spot, on_scalar):
    """Turns complete sums, in PSUM or SBUF, into a tile of the result.

    finish      result                      extra
    none        total
    silu        silu(total)
    swiglu      silu(total) * total 1
    bias        total + extra[:, n]         [128, N], every row the same
    bias_rows   total + extra[:, m tile]    [128, tiles of M], float32
    scale       total * extra[:, m tile]    [128, tiles of M]
    residual    total + what dst holds      [M, N] in HBM, brought before
    times       total * what dst holds      [M, N] in HBM, brought before
    """
    dst, total, (row, first) = targets[0], totals[0], spot
    height, width = dst.shape
    if finish == "silu":
        nisa.activation(dst=dst, op=nl.silu, data=total)
    elif finish == "swiglu":
        gate = nl.ndarray(dst.shape, dtype=nl.float32, buffer=nl.sbuf)
        nisa.activation(dst=gate, op=nl.silu, data=total)
        nisa.tensor_tensor(dst=dst, data1=gate, data2=totals[1], op=nl.multiply)
    elif finish == "bias":
        add(dst, total, extra[0:height, first : first + width], on_scalar)
    elif finish == "bias_rows":
        shift(dst, total, extra[0:height, row : row + 1], on_scalar)
    elif finish == "scale":
        scale(dst, total, extra[0:height, row : row + 1], on_scalar)
    elif finish == "residual":
        add(dst, total, dst, on_scalar)
    elif finish == "times":
        nisa.tensor_tensor(dst=dst, data1=total, data2=dst, op=nl.multiply)
    else:
        for p in range(len(targets)):
            copy(targets[p], totals[p], on_scalar)
