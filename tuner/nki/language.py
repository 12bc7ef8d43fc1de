"""nki.language, simulated: memory, dtypes, ranges and the names of operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuner.neuroncore.program import Space
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.operations import Operation
from tuner.nki.recorder import active
from tuner.nki.tensor import Buffer, NkiTensor
from tuner.runtime.rules import DTYPE_BYTES

DType = str
float32 = "float32"
float16 = "float16"
bfloat16 = "bfloat16"
float8_e4m3 = "float8_e4m3"
float8_e5m2 = "float8_e5m2"

sbuf = Buffer("sbuf", Space.SBUF)
psum = Buffer("psum", Space.PSUM)
private_hbm = Buffer("private_hbm", Space.HBM)
hbm = private_hbm
shared_hbm = Buffer("shared_hbm", Space.HBM)

# "use range": they mean no more than that since NKI 0.3.
affine_range = range
sequential_range = range
static_range = range

_FLOATS = (float32, float16, bfloat16, float8_e4m3, float8_e5m2)


add = Operation("add")
subtract = Operation("subtract")
multiply = Operation("multiply")
maximum = Operation("maximum")
minimum = Operation("minimum")
copy = Operation("copy")
relu = Operation("relu")
exp = Operation("exp")
square = Operation("square")
sigmoid = Operation("sigmoid")
silu = Operation("silu")
tanh = Operation("tanh")


class _TileSize:
    """Limits of a tile on the device that the kernel is traced for."""

    @property
    def pmax(self) -> int:
        """Partitions."""
        return active().device.sbuf.partitions

    @property
    def psum_bank_fmax(self) -> int:
        """float32 elements of a PSUM bank."""
        return active().device.psum.bank_bytes_per_partition // DTYPE_BYTES[float32]

    @property
    def gemm_stationary_fmax(self) -> int:
        """Free size of a stationary operand."""
        return active().device.tensor.stationary_free_max

    @property
    def gemm_moving_fmax(self) -> int:
        """Free size of a moving operand."""
        return active().device.tensor.moving_free_max

    @property
    def psum_num_banks(self) -> int:
        """PSUM banks of a partition."""
        return active().device.psum.banks


tile_size = _TileSize()


def ndarray(
    shape: Sequence[int],
    dtype: str,
    buffer: Buffer = sbuf,
    name: str = "",
    address: tuple[int, int] | None = None,
) -> NkiTensor:
    """Allocates a tensor, uninitialised.

    Args:
        shape: Sizes; on chip the first is the partition dimension.
        dtype: One of this module's floating-point dtypes.
        buffer: sbuf, psum, private_hbm or shared_hbm.
        name: Shown in messages.
        address: Not supported.

    Raises:
        NkiValidationError: A wrong buffer, dtype or size; more partitions than there are.
    """
    if address is not None:
        raise NotSupportedError("nki.language.ndarray(address=...)")
    return _allocate(shape, dtype, buffer, name)


def zeros(shape: Sequence[int], dtype: str, buffer: Buffer = sbuf, name: str = "") -> NkiTensor:
    """Allocates an on-chip tensor and sets it to zero."""
    from tuner.nki import isa

    tensor = _allocate(shape, dtype, buffer, name)
    isa.memset(tensor, 0.0)
    return tensor


def ds(start: int, size: int) -> slice:
    """A slice of `size` elements from `start`."""
    return slice(start, start + size)


def program_id(axis: int = 0) -> int:
    """This program's index in the grid; the simulator runs one."""
    return 0


def num_programs(axes: int = 0) -> int:
    """Programs in the grid; the simulator runs one."""
    return 1


def _allocate(shape: Sequence[Any], dtype: str, buffer: Any, name: str) -> NkiTensor:
    recorder = active()
    if not isinstance(buffer, Buffer):
        raise NkiValidationError(
            f"buffer={buffer!r}: expected nl.sbuf, nl.psum, nl.private_hbm or nl.shared_hbm"
        )
    if dtype not in _FLOATS:
        raise NotSupportedError(f"dtype {dtype!r}")
    sizes = tuple(shape)
    if not sizes or any(not isinstance(s, int) or s < 1 for s in sizes):
        raise NkiValidationError(f"shape {list(sizes)}: expected positive whole numbers")
    if buffer.space != Space.HBM:
        partitions = recorder.device.sbuf.partitions
        if len(sizes) < 2:
            raise NkiValidationError(
                f"shape {list(sizes)} in {buffer!r}: expected at least 2 dimensions"
            )
        if sizes[0] > partitions:
            raise NkiValidationError(
                f"shape {list(sizes)}: {sizes[0]} partitions, {buffer!r} has {partitions}"
            )
    return recorder.allocate(sizes, dtype, buffer, name)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return Operation(name)
