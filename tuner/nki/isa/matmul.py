"""nki.isa: products and transposes on TensorE."""

from __future__ import annotations

from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ElementwiseWork, Engine, MatmulWork, Space
from tuner.nki.enums import engine, matmul_perf_mode
from tuner.nki.errors import NkiValidationError
from tuner.nki.isa.instruction import HANDLE, NkiInstruction, asked_engine, elementwise, issue
from tuner.nki.isa.values import (
    OTHER,
    PRODUCT,
    accumulate_product,
    check_transposed,
    floats,
    integers,
    store_exactly,
)
from tuner.nki.limits import FLOATS, check_contiguous, check_engine, check_on_chip, generation
from tuner.nki.record.recorder import Recorder, active
from tuner.nki.record.symbolic import Whole
from tuner.nki.tensors.tensor import NkiTensor, free_size

__all__ = ["nc_matmul", "nc_transpose"]

WHOLE = (0, 128, 0, 128)
LEGACY, OCP = "float8_e4m3", "float8_e4m3fn"
WIDE = ("float32", "tfloat32")
VECTOR_TRANSPOSE_MAX = 32


def nc_matmul(
    dst: NkiTensor,
    stationary: NkiTensor,
    moving: NkiTensor,
    is_stationary_onezero: bool = False,
    is_moving_onezero: bool = False,
    is_transpose: bool = False,
    accumulate: bool | None = None,
    tile_position: tuple[int, ...] = (),
    tile_size: tuple[int, ...] = (),
    perf_mode: matmul_perf_mode = matmul_perf_mode.none,
    name: str | None = None,
) -> NkiInstruction:
    """dst[S,N] (PSUM) = or += stationary[K,S]^T @ moving[K,N] (SBUF), accumulated in float32.

    Free dimensions are flattened; of float8 operands in double rows, [K,2,S] and [K,2,N], the first
    one is summed over too. `accumulate` False overwrites, True adds to earlier products, None
    overwrites what was never written and adds elsewhere. `tile_position`, `tile_size`: (row,
    column) of the array and (rows, columns) that it takes. `is_transpose`: moving is an identity,
    stationary moves bit by bit.
    """
    recorder = active()
    if accumulate is not None:
        accumulate = bool(accumulate)
    onezero = is_stationary_onezero or is_moving_onezero
    double = perf_mode is not matmul_perf_mode.none
    tile: Any = WHOLE
    if tile_position or tile_size:
        tile = _tile(recorder.device, tile_position, tile_size)
    writes, reads = (dst,), (stationary, moving)
    bank = recorder.device.psum.bank_bytes_per_partition
    column = dst.column * dst.itemsize
    first = column % bank if column.__class__ is not int or column else 0
    adds = accumulate is not False and not is_transpose
    issue(recorder, _product, writes, reads, onezero, is_transpose, double, tile, accumulates=adds)
    if first.__class__ is not int or first:
        _check_banks(recorder.device, dst, first)
    if recorder.numeric:
        if is_transpose:
            _transpose(recorder, dst, stationary, moving)
        else:
            left, right = floats(stationary), floats(moving)
            if double:  # halves of a row follow each other: rows of both halves one after the other
                left, right = (v.reshape(2 * v.shape[0], -1) for v in (left, right))
            accumulate_product(recorder, dst, left, right, accumulate)
    return HANDLE


def _tile(
    device: Device, position: tuple[int, ...], size: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Returns (first row, rows, first column, columns) of the array."""
    if len(position) != 2 or len(size) != 2:
        raise NkiValidationError(
            f"nc_matmul(tile_position={position}, tile_size={size}): expected two numbers in both"
        )
    (row, column), (rows, columns) = map(int, position), map(int, size)
    sizes = (64, 128) if generation(device) < 3 else (32, 64, 128)
    sides = ((row, rows, device.tensor.rows), (column, columns, device.tensor.columns))
    for first, extent, whole in sides:
        if extent not in sizes or first % extent or not 0 <= first <= whole - extent:
            raise NkiValidationError(
                f"nc_matmul(tile_position={position}, tile_size={size}) on {device.name}: expected "
                f"sizes of {sizes} at multiples of themselves"
            )
    return row, rows, column, columns


def _product(
    device: Device,
    dst: NkiTensor,
    stationary: NkiTensor,
    moving: NkiTensor,
    onezero: bool,
    is_transpose: bool,
    double: bool,
    tile: tuple[int, int, int, int],
) -> MatmulWork:
    for operand in (stationary, moving):
        if operand.space != Space.SBUF:
            raise NkiValidationError(f"nc_matmul reads from SBUF, not {operand!r}")
        check_contiguous(operand)
    _check_dtypes(device, stationary, moving)
    if double:
        _check_double_row(device, stationary, moving, is_transpose, tile)
    halves = 2 if double else 1
    rows, sums, columns = stationary.shape[0], free_size(stationary), free_size(moving)
    sums, columns = sums // halves, columns // halves
    _check_sizes(device, rows, sums, moving, columns, tile, dst)
    if dst.shape[0] != sums or free_size(dst) != columns:
        raise NkiValidationError(f"nc_matmul writes [{sums}, {columns}], dst is {list(dst.shape)}")
    _check_dst(device, dst, stationary, is_transpose)
    # a pass of tfloat32 costs what a pass of 16 bits does
    wide = "float32" in (stationary.dtype, moving.dtype)
    itemsize = 2 if stationary.dtype == "tfloat32" else stationary.itemsize
    return MatmulWork(
        rows,
        sums,
        columns,
        4 if wide else itemsize,
        transpose=is_transpose,
        onezero=onezero and wide,
        double_row=double,
        tile=tile,
    )


def _check_dtypes(device: Device, stationary: NkiTensor, moving: NkiTensor) -> None:
    dtypes = (stationary.dtype, moving.dtype)
    for dtype in dtypes:
        if dtype not in FLOATS or (dtype == OCP and generation(device) < 4):
            raise NkiValidationError(f"nc_matmul of {dtype}: {device.name} has no such operands")
    if (dtypes[0] in WIDE) != (dtypes[1] in WIDE):
        raise NkiValidationError(
            f"nc_matmul of {dtypes[0]} with {dtypes[1]}: float32 goes with float32"
        )
    if set(dtypes) == {LEGACY, OCP}:
        raise NkiValidationError(f"nc_matmul of {LEGACY} with {OCP}: they do not go together")


def _check_double_row(
    device: Device,
    stationary: NkiTensor,
    moving: NkiTensor,
    is_transpose: bool,
    tile: tuple[int, int, int, int],
) -> None:
    if generation(device) < 3:
        raise NkiValidationError(f"nc_matmul: {device.name} has no double_row")
    for operand in (stationary, moving):
        if operand.itemsize != 1 or operand.ndim < 3 or operand.shape[1] != 2:
            raise NkiValidationError(
                "nc_matmul in double_row: expected float8 [partitions, 2, elements], "
                f"not {operand!r}"
            )
    if is_transpose or tile[3] != device.tensor.columns:
        raise NkiValidationError(
            "nc_matmul in double_row: neither is_transpose nor tiles of columns go with it"
        )


def _check_sizes(
    device: Device,
    rows: int,
    sums: int,
    moving: NkiTensor,
    columns: int,
    tile: tuple[int, int, int, int],
    dst: NkiTensor,
) -> None:
    rows_max = min(device.tensor.contraction_max, tile[1])
    if moving.shape[0] != rows or rows > rows_max:
        raise NkiValidationError(
            f"nc_matmul contracts {rows} with {moving.shape[0]} partitions: "
            f"expected as many in both and at most {rows_max}"
        )
    sums_max = min(device.tensor.stationary_free_max, tile[3])
    if sums > sums_max:
        raise NkiValidationError(f"nc_matmul: stationary free size {sums}, at most {sums_max}")
    columns_max = device.tensor.moving_free_max
    if generation(device) >= 4:
        columns_max = columns_max * 4 // dst.itemsize
    if columns > columns_max:
        raise NkiValidationError(f"nc_matmul: moving free size {columns}, at most {columns_max}")


def _check_dst(device: Device, dst: NkiTensor, stationary: NkiTensor, is_transpose: bool) -> None:
    allowed = ("float32",) if generation(device) < 4 else ("float32", "bfloat16")
    if is_transpose and generation(device) >= 3:
        allowed = (stationary.dtype,)
    if dst.space != Space.PSUM or dst.dtype not in allowed:
        raise NkiValidationError(f"nc_matmul writes {' or '.join(allowed)} to PSUM, not {dst!r}")
    check_contiguous(dst)
    _check_banks(device, dst, 0)


def _check_banks(device: Device, dst: NkiTensor, first: Whole) -> None:
    """Raises NkiValidationError for a PSUM tile that begins `first` bytes into a bank and ends in
    another.
    """
    spans = zip(dst.shape[1:], dst.strides[1:], strict=True)
    size = (1 + sum((count - 1) * stride for count, stride in spans)) * dst.itemsize
    bank, banks_max = device.psum.bank_bytes_per_partition, device.tensor.matmul_banks_max
    if first + size > bank * banks_max:
        column = int(dst.column) * dst.itemsize
        last = column + size - 1
        raise NkiValidationError(
            f"nc_matmul: bytes {column}..{last} of a PSUM tile lie in "
            f"{last // bank - column // bank + 1} banks of {bank} bytes, at most {banks_max}"
        )


def nc_transpose(
    dst: NkiTensor, data: NkiTensor, engine: engine = engine.unknown, name: str | None = None
) -> NkiInstruction:
    """dst[F,P] = data[P,F] transposed, free dimensions flattened: by TensorE from SBUF to PSUM, by
    VectorE up to [32,32] within both.
    """
    recorder = active()
    on = asked_engine("nc_transpose", engine)
    check_engine("nc_transpose", on, Engine.TENSOR, Engine.VECTOR)
    if on == Engine.ANY:
        small = data.shape[0] <= VECTOR_TRANSPOSE_MAX and free_size(data) <= VECTOR_TRANSPOSE_MAX
        through_array = data.space == Space.SBUF and dst.space == Space.PSUM
        on = Engine.TENSOR if through_array and not small else Engine.VECTOR
    make = _array_transpose if on == Engine.TENSOR else _vector_transpose
    issue(recorder, make, (dst,), (data,))
    if recorder.numeric:
        if on == Engine.TENSOR:
            check_transposed(recorder, dst)
        store_exactly(dst, integers(data).T, PRODUCT if on == Engine.TENSOR else OTHER)
    return HANDLE


def _array_transpose(device: Device, dst: NkiTensor, data: NkiTensor) -> MatmulWork:
    if data.space != Space.SBUF or dst.space != Space.PSUM:
        raise NkiValidationError(
            f"nc_transpose on TensorE reads SBUF and writes PSUM: not {data!r} to {dst!r}"
        )
    rows, columns = data.shape[0], free_size(data)
    limit = device.tensor.stationary_free_max
    _check_transposed_shape(dst, data, limit)
    check_contiguous(dst)
    check_contiguous(data)
    itemsize = 2 if data.dtype == "tfloat32" else data.itemsize
    return MatmulWork(rows, columns, rows, itemsize, transpose=True)


def _vector_transpose(device: Device, dst: NkiTensor, data: NkiTensor) -> ElementwiseWork:
    check_on_chip(device, "nc_transpose", Engine.VECTOR, dst, data)
    _check_transposed_shape(dst, data, VECTOR_TRANSPOSE_MAX)
    return elementwise("nc_transpose", Engine.VECTOR, free_size(data), (dst, data))


def _check_transposed_shape(dst: NkiTensor, data: NkiTensor, limit: int) -> None:
    rows, columns = data.shape[0], free_size(data)
    if rows > limit or columns > limit:
        raise NkiValidationError(f"nc_transpose of [{rows}, {columns}], at most [{limit}, {limit}]")
    if (dst.shape[0], free_size(dst)) != (columns, rows):
        raise NkiValidationError(
            f"nc_transpose writes [{columns}, {rows}], dst is {list(dst.shape)}"
        )
    if dst.dtype != data.dtype:
        raise NkiValidationError(f"nc_transpose from {data.dtype} to {dst.dtype}: it does not cast")


def _transpose(
    recorder: Recorder, dst: NkiTensor, stationary: NkiTensor, moving: NkiTensor
) -> None:
    identity = floats(moving)
    if identity.shape[0] != identity.shape[1] or not np.array_equal(
        identity, np.eye(len(identity))
    ):
        raise NkiValidationError("nc_matmul(is_transpose=True): moving is no identity matrix")
    check_transposed(recorder, dst)
    store_exactly(dst, floats(stationary).T, PRODUCT)
