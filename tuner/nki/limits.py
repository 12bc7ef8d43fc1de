"""What the hardware refuses in the operands of an instruction, with the numbers in the message."""

from __future__ import annotations

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import Engine, Space
from tuner.nki.errors import NkiValidationError
from tuner.nki.tensors.tensor import NkiTensor, free_size
from tuner.runtime.rules import DTYPE_BYTES

__all__ = [
    "FLOATS",
    "INTEGERS",
    "check_column",
    "check_contiguous",
    "check_engine",
    "check_on_chip",
    "check_one_in_psum",
    "check_same_size",
    "check_start",
    "generation",
]

MAX_SBUF_ELEMENTS = 65_536
MAX_PSUM_ELEMENTS = 4_096

INTEGERS = frozenset({"int8", "int16", "int32", "uint8", "uint16", "uint32"})
_FLOATS8 = ("float8_e4m3", "float8_e4m3fn", "float8_e5m2")
FLOATS = frozenset({"float32", "tfloat32", "bfloat16", "float16", *_FLOATS8})

_NAMES = {
    Engine.TENSOR: "TensorE",
    Engine.VECTOR: "VectorE",
    Engine.SCALAR: "ScalarE",
    Engine.GPSIMD: "GpSimdE",
}


def generation(device: Device) -> int:
    """Returns the generation of a device's core: 2, 3 or 4."""
    return device.generation


def check_on_chip(device: Device, opcode: str, engine: Engine, *views: NkiTensor) -> None:
    """Raises NkiValidationError for operands out of an elementwise instruction's reach."""
    reaches_psum = engine != Engine.GPSIMD or opcode == "memset" or device.psum.gpsimd_reads
    for view in views:
        if view.space == Space.HBM:
            raise NkiValidationError(f"{opcode}: {view!r} is in HBM, not in SBUF or PSUM")
        elements = free_size(view)
        limit = MAX_PSUM_ELEMENTS if view.space == Space.PSUM else MAX_SBUF_ELEMENTS
        if elements > limit:
            raise NkiValidationError(
                f"{opcode}: {elements} elements per partition, at most {limit}"
            )
        if view.space == Space.PSUM and not reaches_psum:
            raise NkiValidationError(f"{opcode}: GpSimdE cannot reach PSUM ({view!r})")
        check_contiguous(view)


def check_contiguous(view: NkiTensor) -> None:
    """Raises NkiValidationError for a view that leaves out partitions."""
    allocation = view.allocation
    row_bytes = allocation.row_elements * DTYPE_BYTES[allocation.dtype]
    if view.shape[0] > 1 and view.strides[0] * view.itemsize != row_bytes:
        raise NkiValidationError(f"{view!r}: the partitions of an operand must be contiguous")


def check_same_size(opcode: str, dst: NkiTensor, *sources: NkiTensor) -> None:
    """Raises NkiValidationError unless all have as many partitions and elements of each."""
    for view in sources:
        if view.shape[0] != dst.shape[0] or free_size(view) != free_size(dst):
            raise NkiValidationError(
                f"{opcode}: shapes {list(dst.shape)} and {list(view.shape)} differ"
            )


def check_column(opcode: str, what: str, view: NkiTensor, partitions: int) -> None:
    """Raises NkiValidationError unless a view has one element for each of the partitions."""
    if view.shape[0] != partitions or free_size(view) != 1:
        raise NkiValidationError(
            f"{opcode}: {what} is {list(view.shape)}, expected [{partitions}, 1]"
        )


def check_one_in_psum(opcode: str, *inputs: NkiTensor) -> None:
    """Raises NkiValidationError if all inputs are in PSUM: its port gives one at a time."""
    if all(view.space == Space.PSUM for view in inputs):
        raise NkiValidationError(f"{opcode}: at most one input may be in PSUM")


def check_engine(opcode: str, engine: Engine, *able: Engine) -> None:
    """Raises NkiValidationError for an engine that has no such instruction."""
    if engine not in (*able, Engine.ANY):
        raise NkiValidationError(f"{opcode}: {_NAMES[engine]} has no such instruction")


def check_start(view: NkiTensor) -> None:
    """Partitions begin at 0; at most 64 of them also at 64, at most 32 also at any quarter."""
    size = view.shape[0]
    step = 128 if size > 64 else 64 if size > 32 else 32
    address = view.allocation.address
    row = view.row if address is None else view.row + address[0]
    if row % step:
        raise NkiValidationError(
            f"{view!r} begins at partition {row}: {size} partitions begin at a multiple of {step}"
        )
