"""The vector additions of a course assignment: a + b, whole vectors in HBM.

Stanford CS149, assignment 4 of 2024 (trn1) and 2025 (trn2). The kernels are printed in the
assignment; how many elements a pass takes is the exercise.
"""

import nki
import nki.isa as nisa
import nki.language as nl

PARTITIONS = 128


@nki.jit
def tiled(a, b, rows=128):
    """One element on each partition: each pass loads `rows` elements of a[L] and of b[L], one on
    each partition, adds them with tensor_scalar (the second operand is one number a partition) and
    stores them. Source: Stanford CS149 assignment 4, part 1, vector_add_tiled.
    """
    length = a.shape[0]
    out = nl.ndarray((length,), dtype=a.dtype, buffer=nl.shared_hbm)
    for i in range(_whole(length, rows)):
        a_tile = nl.ndarray((rows, 1), dtype=a.dtype, buffer=nl.sbuf)
        b_tile = nl.ndarray((rows, 1), dtype=b.dtype, buffer=nl.sbuf)
        nisa.dma_copy(dst=a_tile, src=a[i * rows : (i + 1) * rows])
        nisa.dma_copy(dst=b_tile, src=b[i * rows : (i + 1) * rows])
        total = nl.ndarray((rows, 1), dtype=a.dtype, buffer=nl.sbuf)
        nisa.tensor_scalar(dst=total, data=a_tile, op0=nl.add, operand0=b_tile)
        nisa.dma_copy(dst=out[i * rows : (i + 1) * rows], src=total)
    return out


@nki.jit
def stream(a, b, columns=200):
    """Many elements on each partition: the vectors are seen as 128 rows, and each pass loads
    `columns` of every row, adds the two tiles with tensor_tensor and stores the sum. Source:
    Stanford CS149 assignment 4, part 1, vector_add_stream.
    """
    length = a.shape[0]
    row = _whole(length, PARTITIONS)
    a_rows, b_rows = a.reshape((PARTITIONS, row)), b.reshape((PARTITIONS, row))
    out = nl.ndarray((PARTITIONS, row), dtype=a.dtype, buffer=nl.shared_hbm)
    for i in range(_whole(row, columns)):
        a_tile = nl.ndarray((PARTITIONS, columns), dtype=a.dtype, buffer=nl.sbuf)
        b_tile = nl.ndarray((PARTITIONS, columns), dtype=b.dtype, buffer=nl.sbuf)
        part = slice(i * columns, (i + 1) * columns)
        nisa.dma_copy(dst=a_tile, src=a_rows[0:PARTITIONS, part])
        nisa.dma_copy(dst=b_tile, src=b_rows[0:PARTITIONS, part])
        total = nl.ndarray((PARTITIONS, columns), dtype=a.dtype, buffer=nl.sbuf)
        nisa.tensor_tensor(dst=total, data1=a_tile, data2=b_tile, op=nl.add)
        nisa.dma_copy(dst=out[0:PARTITIONS, part], src=total)
    return out


def tiled_reference(a, b):
    """The sum: numpy arrays a[L] and b[L] -> out[L]."""
    return a + b


def stream_reference(a, b):
    """The sum as 128 rows: numpy arrays a[L] and b[L] -> out[128,L/128]."""
    return (a + b).reshape(PARTITIONS, -1)


def _whole(size, tile):
    """How many tiles or blocks make up a size."""
    assert size % tile == 0, f"{size} is no multiple of {tile}"
    return size // tile
