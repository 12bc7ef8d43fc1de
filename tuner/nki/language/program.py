"""The program that a kernel is: limits, its place among programs, loops, and what only the compiler
minds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.record.recorder import active
from tuner.runtime.rules import DTYPE_BYTES

__all__ = [
    "NKIObject",
    "affine_range",
    "device_print",
    "ds",
    "no_reorder",
    "num_programs",
    "program_id",
    "program_ndim",
    "refused",
    "sequential_range",
    "static_range",
    "tile_size",
]

# "use range": they mean no more than that since NKI 0.3.
affine_range = range
sequential_range = range
static_range = range

_BN_STATS_ELEMENTS = 512
_PSUM_ALIGNMENT, _SBUF_ALIGNMENT = 4, 1  # bytes


class _TileSize:
    """Limits of a tile on the device that the kernel is traced for."""

    bn_stats_fmax = _BN_STATS_ELEMENTS
    psum_min_align = _PSUM_ALIGNMENT
    sbuf_min_align = _SBUF_ALIGNMENT

    @property
    def pmax(self) -> int:
        """Partitions."""
        return active().device.sbuf.partitions

    @property
    def psum_bank_fmax(self) -> int:
        """float32 elements of a PSUM bank."""
        return self.psum_bank_fmax_bytes // DTYPE_BYTES["float32"]

    psum_fmax = psum_bank_fmax

    @property
    def psum_bank_fmax_bytes(self) -> int:
        """Bytes of a partition of a PSUM bank."""
        return active().device.psum.bank_bytes_per_partition

    @property
    def psum_num_banks(self) -> int:
        """PSUM banks of a partition."""
        return active().device.psum.banks

    @property
    def gemm_stationary_fmax(self) -> int:
        """Free size of a stationary operand."""
        return active().device.tensor.stationary_free_max

    @property
    def gemm_moving_fmax(self) -> int:
        """Free size of a moving operand."""
        return active().device.tensor.moving_free_max

    @property
    def sbuf_size_bytes(self) -> int:
        """Bytes of the SBUF."""
        return active().device.sbuf.partitions * active().device.sbuf.bytes_per_partition

    @property
    def sbuf_fmax_bytes(self) -> int:
        """Bytes of a partition of the SBUF that a kernel may use."""
        return active().device.sbuf.usable_bytes_per_partition

    total_available_sbuf_size = sbuf_fmax_bytes

    @property
    def sbuf_fmax(self) -> int:
        """float32 elements of a partition of the SBUF that a kernel may use."""
        return self.sbuf_fmax_bytes // DTYPE_BYTES["float32"]


tile_size = _TileSize()


class NKIObject:
    """Base of the classes that a kernel defines: fields are given by position or by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        fields: dict[str, Any] = {}
        for owner in reversed(type(self).__mro__):
            for name in vars(owner).get("__annotations__", {}):
                fields[name] = getattr(type(self), name, None)
        if len(args) > len(fields) or not set(kwargs) <= set(fields):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(fields)}")
        given = {**dict(zip(fields, args, strict=False)), **kwargs}
        for name, default in fields.items():
            setattr(self, name, given.get(name, default))
        self.__post_init__()

    def __post_init__(self) -> None:
        """What a class does once its fields are set."""


def ds(start: int, size: int) -> slice:
    """A slice of `size` elements from `start`."""
    return slice(start, start + size)


def _grid() -> tuple[int, int]:
    """This program's index and the number of programs."""
    return active().grid


def program_id(axis: int = 0) -> int:
    """This program's index in the grid."""
    if axis != 0:
        raise NkiValidationError(f"program_id({axis}): the grid has one axis")
    return _grid()[0]


def num_programs(axes: int = 0) -> int:
    """Programs in the grid."""
    if axes not in (0, None, (0,)):
        raise NkiValidationError(f"num_programs({axes}): the grid has one axis")
    return _grid()[1]


def program_ndim() -> int:
    """Dimensions of the grid: 0 where the kernel runs as one program."""
    return 1 if _grid()[1] > 1 else 0


@contextmanager
def no_reorder() -> Iterator[None]:
    """Asks the compiler to keep program order; changes nothing here.

    Values are those of program order anyway. In time, instructions of one engine overtake each
    other only as far as the compiler policy has a window: those of this language's compiler keep
    program order, but for TensorE in `nki:guide`, which overtakes inside this block too.
    """
    yield


def device_print(print_prefix: str, tensor: Any) -> None:
    """Does nothing: there is no device that prints."""


def refused(name: str) -> Callable[..., Any]:
    """Returns a function of nki.language that the simulator does not have."""

    def function(*args: Any, **kwargs: Any) -> Any:
        raise NotSupportedError(f"nki.language.{name}")

    function.__name__ = name
    return function
