"""What the hardware refuses in the operands of an instruction, with the numbers in the message."""

from __future__ import annotations

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import Engine, Space
from tuner.nki.errors import NkiValidationError
from tuner.nki.tensor import NkiTensor, free_size

__all__ = ["check_elementwise", "check_matmul"]

MAX_SBUF_ELEMENTS = 65_536
MAX_PSUM_ELEMENTS = 4_096


def check_matmul(device: Device, dst: NkiTensor, stationary: NkiTensor, moving: NkiTensor) -> None:
    """Raises NkiValidationError for operands that nc_matmul cannot take."""
    t = device.tensor
    for operand in (stationary, moving):
        if operand.space != Space.SBUF:
            raise NkiValidationError(f"nc_matmul reads from SBUF, not {operand!r}")
    if dst.space != Space.PSUM or dst.dtype != "float32":
        raise NkiValidationError(f"nc_matmul writes float32 to PSUM, not {dst!r}")
    rows, stationary_free, moving_free = (
        stationary.shape[0],
        free_size(stationary),
        free_size(moving),
    )
    if moving.shape[0] != rows or rows > t.contraction_max:
        raise NkiValidationError(
            f"nc_matmul contracts {rows} with {moving.shape[0]} partitions: "
            f"expected as many in both and at most {t.contraction_max}"
        )
    if stationary_free > t.stationary_free_max:
        raise NkiValidationError(
            f"nc_matmul: stationary free size {stationary_free}, at most {t.stationary_free_max}"
        )
    if moving_free > t.moving_free_max:
        raise NkiValidationError(
            f"nc_matmul: moving free size {moving_free}, at most {t.moving_free_max}"
        )
    if (stationary.itemsize == 4) != (moving.itemsize == 4):
        raise NkiValidationError(
            f"nc_matmul of {stationary.dtype} with {moving.dtype}: float32 goes with float32"
        )
    if dst.shape[0] != stationary_free or free_size(dst) != moving_free:
        raise NkiValidationError(
            f"nc_matmul writes [{stationary_free}, {moving_free}], dst is {list(dst.shape)}"
        )
    _check_banks(device, dst)
    _check_partitions(dst, stationary, moving)


def _check_banks(device: Device, dst: NkiTensor) -> None:
    _, _, first, size = dst.rectangle()
    bank = device.psum.bank_bytes_per_partition
    last = first + size - 1
    banks = last // bank - first // bank + 1
    if banks > device.tensor.matmul_banks_max:
        raise NkiValidationError(
            f"nc_matmul: bytes {first}..{last} of a PSUM tile lie in {banks} banks of {bank} "
            f"bytes, at most {device.tensor.matmul_banks_max}"
        )


def check_elementwise(
    device: Device, opcode: str, engine: Engine, dst: NkiTensor, *sources: NkiTensor
) -> None:
    """Raises NkiValidationError for operands that an elementwise instruction cannot take."""
    elements = free_size(dst)
    reaches_psum = engine != Engine.GPSIMD or opcode == "memset" or device.psum.gpsimd_reads
    for operand in (dst, *sources):
        if operand.space == Space.HBM:
            raise NkiValidationError(f"{opcode}: {operand!r} is in HBM, not in SBUF or PSUM")
        if operand.shape[0] != dst.shape[0] or free_size(operand) != elements:
            raise NkiValidationError(
                f"{opcode}: shapes {list(dst.shape)} and {list(operand.shape)} differ"
            )
        limit = MAX_PSUM_ELEMENTS if operand.space == Space.PSUM else MAX_SBUF_ELEMENTS
        if elements > limit:
            raise NkiValidationError(
                f"{opcode}: {elements} elements per partition, at most {limit}"
            )
        if operand.space == Space.PSUM and not reaches_psum:
            raise NkiValidationError(f"{opcode}: GpSimdE cannot reach PSUM ({operand!r})")
    _check_partitions(dst, *sources)


def _check_partitions(*views: NkiTensor) -> None:
    """Partitions begin at 0; at most 64 of them also at 64, at most 32 also at any quarter."""
    for view in views:
        start = view.row
        step = 128 if view.shape[0] > 64 else 64 if view.shape[0] > 32 else 32
        if start % step:
            raise NkiValidationError(
                f"{view!r} begins at partition {start}: "
                f"{view.shape[0]} partitions begin at a multiple of {step}"
            )
        if view.strides[0] != view.allocation.row_elements and view.shape[0] > 1:
            raise NkiValidationError(f"{view!r}: the partitions of an operand must be contiguous")
