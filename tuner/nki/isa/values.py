"""Values of operands, where they are kept: read as float32 or as they are, written rounded.

Of PSUM it is also kept who wrote what is there: products of TensorE may be added to, nothing else.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.program import Engine, Space
from tuner.nki.enums import reduce_cmd
from tuner.nki.errors import NkiValidationError
from tuner.nki.hazards import ACCUMULATION
from tuner.nki.limits import generation
from tuner.nki.operations import ARITHMETIC, IDENTITIES, REDUCTIONS
from tuner.nki.record.recorder import Recorder
from tuner.nki.tensors.tensor import Allocation, NkiTensor, Values

__all__ = [
    "OTHER",
    "PRODUCT",
    "ZERO",
    "accumulate_product",
    "check_transposed",
    "column",
    "floats",
    "integers",
    "reduce_into",
    "registers",
    "store",
    "store_exactly",
]

PRODUCT, ZERO, OTHER, KIND, WAS_READ = 1, 2, 3, 3, 4
"""Contents of an element of PSUM: a product, zero of memset, anything else (0: nothing yet), which
are the bits of KIND; the bit WAS_READ is set where it was read since.
"""


class Contents:
    """What the elements of an allocation in PSUM hold.

    Attributes:
        codes: Shape (rows * row_elements,).
        product: (shape, strides, offset) of the view that the last matmul wrote, as long as nobody
            has touched the allocation since: all its elements are products, and none was read.
    """

    __slots__ = ("codes", "product")

    def __init__(self, elements: int) -> None:
        self.codes = np.zeros(elements, np.uint8)
        self.product: tuple[Any, ...] | None = None

    def of(self, view: NkiTensor) -> npt.NDArray[np.uint8]:
        """Returns the codes of a view; they may be written."""
        self.product = None
        found = _strided(self.codes, view)
        if view.allocation.address is not None:  # another tile may have been placed over it
            found[~view.written()] = 0
        return found


_contents: WeakKeyDictionary[Allocation, Contents] = WeakKeyDictionary()


def contents(view: NkiTensor) -> Contents:
    """Returns what the allocation of a tensor in PSUM holds."""
    allocation = view.allocation
    found = _contents.get(allocation)
    if found is None:
        elements = allocation.rows * allocation.row_elements
        found = _contents[allocation] = Contents(elements)
    return found


def array(view: NkiTensor) -> npt.NDArray[Any]:
    """Returns a tensor's values as they are kept, without a copy where that can be."""
    values = view.allocation.values
    return view.read() if values is None else _strided(values, view)


def _strided(flat: npt.NDArray[Any], view: NkiTensor) -> npt.NDArray[Any]:
    size = flat.itemsize
    strides = [stride * size for stride in view.strides]
    return np.ndarray(view.shape, flat.dtype, flat, int(view.offset) * size, strides)


def floats(view: NkiTensor) -> Values:
    """Reads a tensor as float32, shape (partitions, elements); for reading only."""
    values = integers(view)
    return values if values.dtype == np.float32 else values.astype(np.float32)


def integers(view: NkiTensor) -> npt.NDArray[Any]:
    """Reads a tensor as it is, shape (partitions, elements); for reading only."""
    if view.space == Space.PSUM:
        codes = contents(view).of(view)
        np.bitwise_or(codes, WAS_READ, out=codes)
    return array(view).reshape(view.shape[0], -1)


def column(operand: Any) -> Any:
    """An operand that is broadcast along the elements of a partition: a number or a column."""
    if isinstance(operand, NkiTensor):
        return floats(operand)
    return np.float32(0 if operand is None else operand)


def store(dst: NkiTensor, values: Any, code: int = OTHER) -> None:
    """Writes values in the order of the elements, rounded to the dtype."""
    dst.write(np.reshape(values, dst.shape))
    if dst.space == Space.PSUM:
        contents(dst).of(dst)[...] = code


def store_exactly(dst: NkiTensor, values: Any, code: int = OTHER) -> None:
    """Writes values that the dtype has, in the order of the elements."""
    if dst.allocation.values is None or 0 in dst.strides:
        store(dst, values, code)
        return
    array(dst)[...] = np.reshape(values, dst.shape)
    dst.written()[...] = True
    if dst.space == Space.PSUM:
        contents(dst).of(dst)[...] = code


def accumulate_product(
    recorder: Recorder, dst: NkiTensor, left: Values, right: Values, accumulate: bool | None
) -> None:
    """dst = or += left[K,S]^T @ right[K,N]; None adds where anything was written.

    Raises:
        NkiValidationError: accumulate=True onto what no matmul wrote.
    """
    held = contents(dst)
    here = (dst.shape, dst.strides, dst.offset)
    if accumulate is not False and held.product == here and dst.allocation.address is None:
        _multiply(dst, left, right, True)
        return
    codes = held.of(dst)
    kinds = codes & np.uint8(KIND)
    if accumulate:
        _check_contents(recorder, dst, kinds)
    elif accumulate is None:
        _warn_of_contents(recorder, dst, codes, kinds)
        accumulate = bool(kinds.any())
        if accumulate and not kinds.all():
            dst.write(np.where(kinds != 0, array(dst), np.float32(0)))
    _multiply(dst, left, right, accumulate)
    codes[...] = PRODUCT
    dst.written()[...] = True
    held.product = here


def _multiply(dst: NkiTensor, left: Values, right: Values, adds: bool) -> None:
    out = array(dst)
    exact = dst.dtype == "float32" and dst.allocation.values is not None
    if exact and not adds and out.ndim == 2:
        np.matmul(left.T, right, out=out)
        return
    product = np.matmul(left.T, right, out=_scratch(left.shape[1], right.shape[1]))
    product = product.reshape(dst.shape)
    if exact and adds:
        np.add(out, product, out=out)
    else:
        dst.write(out + product if adds else product)


@lru_cache(maxsize=16)
def _scratch(rows: int, columns: int) -> Values:
    """Room for a product, used again and again: fresh pages would cost more than the sum."""
    return np.empty((rows, columns), np.float32)


def _check_contents(recorder: Recorder, dst: NkiTensor, kinds: npt.NDArray[np.uint8]) -> None:
    if not kinds.all():
        raise NkiValidationError(
            f"nc_matmul(accumulate=True) onto {dst!r}, which was never written"
        )
    found = int(kinds.max())
    if found == PRODUCT or generation(recorder.device) >= 4:
        return
    if found == OTHER:
        raise NkiValidationError(
            f"nc_matmul(accumulate=True) onto {dst!r}, which an instruction other than a matmul "
            "wrote: the result is undefined"
        )
    recorder.hazards.report(
        ACCUMULATION,
        f"nc_matmul(accumulate=True) onto {dst!r} after a memset: the result is undefined "
        f"on {recorder.device.name}; begin with accumulate=False",
    )


def _warn_of_contents(
    recorder: Recorder,
    dst: NkiTensor,
    codes: npt.NDArray[np.uint8],
    kinds: npt.NDArray[np.uint8],
) -> None:
    if int(codes.max()) <= PRODUCT:
        return
    if int(kinds.max()) == OTHER and generation(recorder.device) < 4:
        recorder.hazards.report(
            ACCUMULATION,
            f"nc_matmul adds to what an instruction other than a matmul left in {dst!r}: the "
            "result is undefined on hardware",
        )
    if (codes == PRODUCT + WAS_READ).any():
        recorder.hazards.report(
            ACCUMULATION,
            f"nc_matmul adds to a product in {dst!r} that was read already: to begin anew, pass "
            "accumulate=False or memset the tile",
        )


def check_transposed(recorder: Recorder, dst: NkiTensor) -> None:
    """Warns where a transpose goes to a 16-bit PSUM tile that was initialised."""
    kinds = contents(dst).of(dst) & np.uint8(KIND)
    if dst.itemsize == 2 and ((kinds == ZERO) | (kinds == OTHER)).any():
        recorder.hazards.report(
            ACCUMULATION,
            f"a transpose goes to {dst!r} after another instruction wrote there: the compiler "
            "refuses 16-bit tiles in PSUM that are initialised",
        )


_registers: WeakKeyDictionary[Recorder, dict[Engine, Values]] = WeakKeyDictionary()


def registers(recorder: Recorder, on: Engine, data: NkiTensor) -> Values:
    """Returns the reduction registers of an engine's lanes that `data` goes through, as a view.

    Shape (partitions,); undefined values are NaN.
    """
    own = _registers.setdefault(recorder, {})
    if on not in own:
        own[on] = np.full(recorder.device.sbuf.partitions, np.nan, np.float32)
    first = int(data.row)
    return own[on][first : first + data.shape[0]]


def reduce_into(
    recorder: Recorder,
    data: NkiTensor,
    values: Values,
    reduction: str,
    command: reduce_cmd,
    initial: Any = None,
) -> Values:
    """Reduces values, shape (partitions, elements), into VectorE's registers and returns these."""
    held = registers(recorder, Engine.VECTOR, data)
    if command is reduce_cmd.idle:
        held[...] = np.nan  # what they hold then is not defined
    elif command is reduce_cmd.load_reduce:
        held[...] = np.broadcast_to(column(initial), (len(held), 1))[:, 0]
    elif command is not reduce_cmd.reduce:
        held[...] = IDENTITIES[reduction]
    if command not in (reduce_cmd.idle, reduce_cmd.reset) and values.shape[1]:
        with np.errstate(all="ignore"):
            held[...] = ARITHMETIC[reduction](held, REDUCTIONS[reduction](values, axis=1))
    return held
