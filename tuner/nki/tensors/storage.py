"""What tensors of the simulated NKI are stored in: kinds of memory, dtypes with their rounding, and
allocations.

Floats are kept as float32 whose values their dtype represents, whole numbers as themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.neuroncore.program import Space
from tuner.nki.errors import NkiValidationError
from tuner.nki.record.symbolic import Loop
from tuner.runtime.rules import DTYPE_BYTES

__all__ = ["NATIVE", "Allocation", "Buffer", "Values", "is_float", "rounded", "uninitialised"]

Values = npt.NDArray[np.float32]

NATIVE: dict[str, npt.DTypeLike] = {
    "bool": np.bool_,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "float32": np.float32,
    "tfloat32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3": ml_dtypes.float8_e4m3,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}
"""The numpy dtype of an array that a kernel takes or returns, by the name of NKI's dtype."""

_UNINITIALISED = 4
_DROPPED_BITS = {"bfloat16": 16, "tfloat32": 13}
"""Bits of a float32 fraction that these do not have."""


def is_float(dtype: str) -> bool:
    """Returns whether a dtype has a fraction."""
    return "float" in dtype


def _stored(dtype: str) -> npt.DTypeLike:
    if is_float(dtype):
        return np.float32
    return np.uint8 if dtype == "bool" else NATIVE[dtype]


def rounded(values: npt.ArrayLike, dtype: str) -> npt.NDArray[Any]:
    """Returns values as `dtype` is stored: the nearest that it represents, ties to even; whole
    numbers saturate.
    """
    if not is_float(dtype):
        return _whole(np.asarray(values), dtype)
    exact = np.asarray(values, np.float32)
    if dtype == "float32":
        return exact
    if dtype in _DROPPED_BITS:
        return _without_low_bits(exact, _DROPPED_BITS[dtype])
    with np.errstate(over="ignore", invalid="ignore"):
        return exact.astype(NATIVE[dtype]).astype(np.float32)


def _whole(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    if dtype == "bool":
        return np.asarray(values != 0, np.uint8)
    limits = np.iinfo(np.dtype(NATIVE[dtype]))
    if values.dtype.kind not in "iub":
        values = np.rint(np.nan_to_num(values.astype(np.float64), nan=0.0))
    if values.dtype == limits.dtype:
        return values
    return np.clip(values.astype(np.float64), limits.min, limits.max).astype(limits.dtype)


def _without_low_bits(values: Values, dropped: int) -> Values:
    """Rounds float32 values to as many fewer bits of fraction, ties to even."""
    bits = np.ascontiguousarray(values).reshape(-1).view(np.int32)
    kept = np.empty(len(bits), np.int32)
    _drop_low_bits(bits, kept, dropped)
    return kept.view(np.float32).reshape(values.shape)


@compiled
def _drop_low_bits(bits: Any, kept: Any, dropped: Any) -> None:
    infinite, quiet, half = 0x7F800000, 0x00400000, (1 << (dropped - 1)) - 1
    for i in range(len(bits)):
        number = np.int64(bits[i])
        if number & infinite == infinite:
            whole = number >> dropped << dropped
            if number & 0x007FFFFF and not whole & 0x007FFFFF:
                whole |= quiet  # still no number
        else:
            whole = (number + half + (number >> dropped & 1)) >> dropped << dropped
        kept[i] = np.int32(whole)


def uninitialised(elements: int, dtype: str) -> npt.NDArray[Any]:
    """Returns the values of memory that nothing was written to: NaN, or 4 for whole numbers."""
    if is_float(dtype):
        return np.full(elements, np.nan, np.float32)
    return np.full(elements, _UNINITIALISED, _stored(dtype))


@dataclass(frozen=True)
class Buffer:
    """A kind of memory a kernel may allocate in, e.g. `nl.sbuf`."""

    name: str
    space: Space

    sbuf: ClassVar[Buffer]
    psum: ClassVar[Buffer]
    private_hbm: ClassVar[Buffer]
    shared_hbm: ClassVar[Buffer]

    def __repr__(self) -> str:
        return f"nl.{self.name}"


Buffer.sbuf = Buffer("sbuf", Space.SBUF)
Buffer.psum = Buffer("psum", Space.PSUM)
Buffer.private_hbm = Buffer("private_hbm", Space.HBM)
Buffer.shared_hbm = Buffer("shared_hbm", Space.HBM)


@dataclass(eq=False)
class Allocation:
    """What `nl.ndarray` made: a rectangle of rows by elements of a row.

    Attributes:
        number: Its index among the program's tensors; of one made in a loop that is recorded as a
            whole, the index of the first pass's.
        loops: The segments of loops it was made in, outermost first.
        rows: Partitions; of an HBM tensor, rows of its last dimension.
        row_elements: Elements of a row.
        values: Shape (rows * row_elements,): values representable in `dtype`, float32 for floats
            and the dtype itself for whole numbers; None when only time is asked.
        written: Shape (rows * row_elements,): which elements hold anything yet.
        name: The name its kernel gave it.
        site: The line of the kernel that made it, where values are kept.
        address: (partition, byte of a partition) where the kernel asked for a place.
        base: The allocation whose bytes this one reads as another dtype; `values` and `written`
            are then the base's alone.
        sound: Views, as (row, column, shape, strides), all of which is known to be written.
    """

    number: int
    loops: tuple[Loop, ...]
    buffer: Buffer
    dtype: str
    rows: int
    row_elements: int
    values: npt.NDArray[Any] | None
    written: npt.NDArray[np.bool_] | None
    name: str = ""
    site: str = ""
    address: tuple[int, int] | None = None
    base: Allocation | None = None
    sound: set[tuple[Any, ...]] = field(default_factory=set)

    def reinterpreted(self, dtype: str) -> Allocation:
        """Returns the same memory seen as elements of another dtype.

        Raises:
            NkiValidationError: A row is no whole number of such elements.
        """
        base = self.base or self
        if dtype == base.dtype:
            return base
        width = base.row_elements * DTYPE_BYTES[base.dtype]
        if width % DTYPE_BYTES[dtype]:
            raise NkiValidationError(f"rows of {width} bytes hold no whole number of {dtype}")
        return Allocation(
            base.number,
            base.loops,
            base.buffer,
            dtype,
            base.rows,
            width // DTYPE_BYTES[dtype],
            None,
            None,
            base.name,
            base.site,
            base.address,
            base,
        )

    def read(self, first: int, stop: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Returns values and written mask of the elements from `first` to `stop`, which may be
        written to; only of an allocation that reads another's bytes.
        """
        low, high, skipped = self._span(first, stop)
        base = self.base
        assert base is not None
        assert base.values is not None
        assert base.written is not None
        bits = _bits(base.values[low:high], base.dtype)
        values = _values(bits, self.dtype)[skipped : skipped + stop - first]
        bytes_written = np.repeat(base.written[low:high], DTYPE_BYTES[base.dtype])
        written = np.all(bytes_written.reshape(-1, DTYPE_BYTES[self.dtype]), axis=1)
        return values, written[skipped : skipped + stop - first]

    def write(self, first: int, values: npt.NDArray[Any], written: npt.NDArray[np.bool_]) -> None:
        """Stores the elements from `first` on that are `written`."""
        low, high, skipped = self._span(first, first + len(values))
        base = self.base
        assert base is not None
        assert base.values is not None
        assert base.written is not None
        bits = _bits(base.values[low:high], base.dtype)
        elements = bits.reshape(-1, DTYPE_BYTES[self.dtype])
        here = np.zeros(len(elements), bool)
        here[skipped : skipped + len(values)] = written
        elements[here] = _bits(values[written], self.dtype).reshape(-1, DTYPE_BYTES[self.dtype])
        base.values[low:high] = _values(bits, base.dtype)
        bytes_written = np.repeat(here, DTYPE_BYTES[self.dtype])
        base.written[low:high] |= bytes_written.reshape(-1, DTYPE_BYTES[base.dtype]).any(axis=1)

    def _span(self, first: int, stop: int) -> tuple[int, int, int]:
        """The base's elements around these elements, and how many of these lie before `first`."""
        assert self.base is not None
        own, other = DTYPE_BYTES[self.dtype], DTYPE_BYTES[self.base.dtype]
        wide = max(own, other)
        low, high = first * own // wide * wide, -(-stop * own // wide) * wide
        return low // other, high // other, first - low // own


def _bits(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.uint8]:
    """The bytes of stored values, in a new array."""
    if dtype == "bfloat16":  # kept as it is also where it is no number
        return (np.ascontiguousarray(values).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return values.astype(NATIVE[dtype]).view(np.uint8)


def _values(bits: npt.NDArray[np.uint8], dtype: str) -> npt.NDArray[Any]:
    if dtype == "bfloat16":
        return (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if dtype == "bool":
        return np.asarray(bits != 0, np.uint8)
    return bits.view(NATIVE[dtype]).astype(_stored(dtype))
