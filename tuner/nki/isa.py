"""nki.isa, simulated: each function checks what the hardware would refuse, records, and computes if
asked.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from tuner.neuroncore.program import DmaWork, ElementwiseWork, Engine, MatmulWork, Operand, Space
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.language import Operation
from tuner.nki.recorder import Recorder, active
from tuner.nki.tensor import NkiTensor, Values

MAX_SBUF_ELEMENTS = 65_536
MAX_PSUM_ELEMENTS = 4_096


class engine(Enum):  # noqa: N801 - NKI's name
    """Engines an instruction can be given to."""

    unknown = 0
    tensor = 1
    scalar = 2
    gpsimd = 3
    dma = 4
    vector = 5
    sync = 6


tensor_engine = engine.tensor
vector_engine = engine.vector
scalar_engine = engine.scalar
gpsimd_engine = engine.gpsimd
unknown_engine = engine.unknown


class matmul_perf_mode(Enum):  # noqa: N801 - NKI's name
    """Matmul modes; only `none` is simulated."""

    none = "none"
    double_row = "double_row"


class dge_mode(Enum):  # noqa: N801 - NKI's name
    """How DMA descriptors are made; the policy's choice stands for `unknown`."""

    unknown = 0
    swdge = 1
    hwdge = 2
    none = 3


class oob_mode(Enum):  # noqa: N801 - NKI's name
    """What happens out of bounds; only `error` is simulated."""

    error = 0
    skip = 1


class reduce_cmd(Enum):  # noqa: N801 - NKI's name
    """Commands of the reduction registers; only `idle` is simulated."""

    idle = 0
    reset = 1
    reduce = 2
    reset_reduce = 3
    load_reduce = 4


_ENGINES = {
    engine.vector: Engine.VECTOR,
    engine.scalar: Engine.SCALAR,
    engine.gpsimd: Engine.GPSIMD,
}

_BINARY: dict[str, Callable[[Values, Values], Values]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def _sigmoid(x: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


_ACTIVATIONS: dict[str, Callable[[Values], Values]] = {
    "copy": lambda x: x,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "exp": np.exp,
    "square": np.square,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
}


def dma_copy(
    dst: NkiTensor,
    src: NkiTensor,
    priority: int | None = None,
    oob_mode: oob_mode = oob_mode.error,
    dge_mode: dge_mode = dge_mode.unknown,
    engine: engine = engine.unknown,
    name: str | None = None,
) -> None:
    """Copies between HBM and SBUF, or within either; element counts are equal, dtypes may
    differ.
    """
    recorder = active()
    _only_default("dma_copy", priority=(priority, None), oob_mode=(oob_mode.name, "error"))
    _only_default("dma_copy", dge_mode=(dge_mode.name, "unknown"), engine=(engine.name, "unknown"))
    for operand in (dst, src):
        if operand.space == Space.PSUM:
            raise NkiValidationError(f"dma_copy cannot reach PSUM ({operand!r})")
    if dst.size != src.size:
        raise NkiValidationError(f"dma_copy of {src.size} elements {src!r} into {dst.size} {dst!r}")
    recorder.emit(_dma_work(dst, src), dst, src)
    recorder.count_dma(dst, src)
    if recorder.numeric:
        dst.write(src.read().reshape(dst.shape))


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
) -> None:
    """dst[S,N] (PSUM) = or += stationary[K,S]^T @ moving[K,N] (SBUF), accumulated in float32.

    `accumulate` False overwrites, True adds, None overwrites what was never written and adds
    elsewhere.
    """
    recorder = active()
    _only_default(
        "nc_matmul",
        is_stationary_onezero=(is_stationary_onezero, False),
        is_moving_onezero=(is_moving_onezero, False),
        is_transpose=(is_transpose, False),
        tile_position=(tile_position, ()),
        tile_size=(tile_size, ()),
        perf_mode=(perf_mode, matmul_perf_mode.none),
    )
    rows, stationary_free, moving_free = _check_matmul(recorder, dst, stationary, moving)
    work = MatmulWork(rows, stationary_free, moving_free, stationary.itemsize == 4)
    recorder.emit(work, dst, stationary, moving)
    if recorder.numeric:
        _multiply(dst, stationary, moving, accumulate)


def _check_matmul(
    recorder: Recorder, dst: NkiTensor, stationary: NkiTensor, moving: NkiTensor
) -> tuple[int, int, int]:
    t, psum = recorder.device.tensor, recorder.device.psum
    for operand in (stationary, moving):
        if operand.space != Space.SBUF:
            raise NkiValidationError(f"nc_matmul reads from SBUF, not {operand!r}")
    if dst.space != Space.PSUM or dst.dtype != "float32":
        raise NkiValidationError(f"nc_matmul writes float32 to PSUM, not {dst!r}")
    rows, stationary_free, moving_free = stationary.shape[0], _free(stationary), _free(moving)
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
    if dst.shape[0] != stationary_free or _free(dst) != moving_free:
        raise NkiValidationError(
            f"nc_matmul writes [{stationary_free}, {moving_free}], dst is {list(dst.shape)}"
        )
    first = dst.offset % dst.allocation.row_elements * dst.itemsize
    extent = 1 + sum((n - 1) * s for n, s in zip(dst.shape[1:], dst.strides[1:], strict=True))
    last = first + extent * dst.itemsize - 1
    bank = psum.bank_bytes_per_partition
    banks = last // bank - first // bank + 1
    if banks > t.matmul_banks_max:
        raise NkiValidationError(
            f"nc_matmul: bytes {first}..{last} of a PSUM tile lie in {banks} banks of {bank} "
            f"bytes, at most {t.matmul_banks_max}"
        )
    _check_partitions(dst, stationary, moving)
    return rows, stationary_free, moving_free


def _multiply(
    dst: NkiTensor, stationary: NkiTensor, moving: NkiTensor, accumulate: bool | None
) -> None:
    left = stationary.read().reshape(stationary.shape[0], -1)
    right = moving.read().reshape(moving.shape[0], -1)
    product = (left.T @ right).reshape(dst.shape)
    if accumulate is None:
        dst.write(np.where(dst.written(), dst.read(), np.float32(0)) + product)
    elif accumulate:
        if not dst.written().all():
            raise NkiValidationError(
                f"nc_matmul(accumulate=True) onto {dst!r}, which was never written"
            )
        dst.write(dst.read() + product)
    else:
        dst.write(product)


def tensor_copy(
    dst: NkiTensor, src: NkiTensor, engine: engine = engine.unknown, name: str | None = None
) -> None:
    """Copies within SBUF and PSUM, casting through float32 where dtypes differ."""
    recorder = active()
    on = _engine(engine, Engine.VECTOR)
    if on == Engine.SCALAR and not recorder.device.scalar.tensor_copy:
        raise NkiValidationError(
            f"tensor_copy: ScalarE of {recorder.device.name} has no such instruction"
        )
    _elementwise(recorder, "tensor_copy", on, dst, src)
    if recorder.numeric:
        dst.write(src.read().reshape(dst.shape))


def memset(
    dst: NkiTensor, value: Any, engine: engine = engine.unknown, name: str | None = None
) -> None:
    """Sets every element; GpSimdE unless another engine is named."""
    recorder = active()
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise NkiValidationError(f"memset({value!r}): expected a number")
    _elementwise(recorder, "memset", _engine(engine, Engine.GPSIMD), dst, zero=value == 0)
    if recorder.numeric:
        dst.write(np.full(dst.shape, value, np.float32))


def tensor_tensor(
    dst: NkiTensor,
    data1: NkiTensor,
    data2: NkiTensor,
    op: Operation,
    engine: engine = engine.unknown,
    name: str | None = None,
) -> None:
    """dst = data1 op data2, in float32, element by element; at most one input in PSUM."""
    recorder = active()
    if op.name not in _BINARY:
        raise NotSupportedError(f"nki.isa.tensor_tensor(op={op!r})")
    if data1.space == data2.space == Space.PSUM:
        raise NkiValidationError("tensor_tensor: at most one input may be in PSUM")
    on = _engine(engine, Engine.VECTOR)
    if on == Engine.SCALAR:
        raise NkiValidationError("tensor_tensor: ScalarE cannot combine two tensors")
    _elementwise(recorder, "tensor_tensor", on, dst, data1, data2)
    if recorder.numeric:
        left, right = data1.read().reshape(dst.shape), data2.read().reshape(dst.shape)
        dst.write(_BINARY[op.name](left, right))


def activation(
    dst: NkiTensor,
    op: Operation,
    data: NkiTensor,
    bias: float | NkiTensor | None = None,
    scale: float | NkiTensor = 1.0,
    reduce_op: Operation | None = None,
    reduce_res: NkiTensor | None = None,
    reduce_cmd: reduce_cmd = reduce_cmd.idle,
    name: str | None = None,
) -> None:
    """dst = op(data * scale) on ScalarE, in float32; `scale` is a number."""
    recorder = active()
    if op.name not in _ACTIVATIONS:
        raise NotSupportedError(f"nki.isa.activation(op={op!r})")
    _only_default(
        "activation",
        bias=(bias, None),
        reduce_op=(reduce_op, None),
        reduce_res=(reduce_res, None),
        reduce_cmd=(reduce_cmd.name, "idle"),
    )
    if isinstance(scale, NkiTensor):
        raise NotSupportedError("nki.isa.activation(scale=tensor)")
    loads_table = recorder.activation != op.name
    recorder.activation = op.name
    _elementwise(recorder, "activation", Engine.SCALAR, dst, data, loads_table=loads_table)
    if recorder.numeric:
        dst.write(_ACTIVATIONS[op.name](data.read().reshape(dst.shape) * np.float32(scale)))


def _elementwise(
    recorder: Recorder,
    opcode: str,
    on: Engine,
    dst: NkiTensor,
    *sources: NkiTensor,
    loads_table: bool = False,
    zero: bool = False,
) -> None:
    elements = _free(dst)
    for operand in (dst, *sources):
        if operand.space == Space.HBM:
            raise NkiValidationError(f"{opcode}: {operand!r} is in HBM, not in SBUF or PSUM")
        if operand.shape[0] != dst.shape[0] or _free(operand) != elements:
            raise NkiValidationError(
                f"{opcode}: shapes {list(dst.shape)} and {list(operand.shape)} differ"
            )
        limit = MAX_PSUM_ELEMENTS if operand.space == Space.PSUM else MAX_SBUF_ELEMENTS
        if elements > limit:
            raise NkiValidationError(
                f"{opcode}: {elements} elements per partition, at most {limit}"
            )
        reads = on == Engine.GPSIMD and opcode != "memset" and not recorder.device.psum.gpsimd_reads
        if reads and operand.space == Space.PSUM:
            raise NkiValidationError(f"{opcode}: GpSimdE cannot reach PSUM ({operand!r})")
    _check_partitions(dst, *sources)
    operands = tuple(Operand(o.space, o.itemsize, _inner_stride(o)) for o in (dst, *sources))
    recorder.emit(ElementwiseWork(opcode, on, elements, operands, loads_table, zero), dst, *sources)


def _dma_work(dst: NkiTensor, src: NkiTensor) -> DmaWork:
    to_hbm = dst.space == Space.HBM
    in_hbm = dst if to_hbm else src
    on_chip = src if to_hbm else dst
    partitions = on_chip.shape[0]
    row = in_hbm.size // partitions or 1
    run = 1
    for size, stride in zip(reversed(in_hbm.shape), reversed(in_hbm.strides), strict=True):
        if size > 1 and stride != run:
            break
        run *= size
    contiguous = in_hbm.space == Space.HBM and run > row and run == in_hbm.size
    run = min(run, row)
    side = Engine.STORE if to_hbm else Engine.LOAD
    return DmaWork(side, partitions, -(-row // run), run * in_hbm.itemsize, contiguous)


def _free(view: NkiTensor) -> int:
    total = 1
    for size in view.shape[1:]:
        total *= size
    return total


def _inner_stride(view: NkiTensor) -> int:
    return next(
        (s for n, s in zip(view.shape[:0:-1], view.strides[:0:-1], strict=True) if n > 1), 1
    )


def _check_partitions(*views: NkiTensor) -> None:
    """Engines reach partitions from 0, from the middle if there are at most 64, from quarters if at
    most 32.
    """
    for view in views:
        start = view.offset // view.allocation.row_elements
        step = 128 if view.shape[0] > 64 else 64 if view.shape[0] > 32 else 32
        if start % step:
            raise NkiValidationError(
                f"{view!r} begins at partition {start}: "
                f"{view.shape[0]} partitions begin at a multiple of {step}"
            )
        if view.strides[0] != view.allocation.row_elements and view.shape[0] > 1:
            raise NkiValidationError(f"{view!r}: the partitions of an operand must be contiguous")


def _engine(asked: engine, default: Engine) -> Engine:
    if asked == engine.unknown:
        return default
    if asked not in _ENGINES:
        raise NkiValidationError(f"engine {asked.name}: expected vector, scalar or gpsimd")
    return _ENGINES[asked]


def _only_default(function: str, **arguments: tuple[Any, Any]) -> None:
    for name, (given, default) in arguments.items():
        if given != default:
            raise NotSupportedError(f"nki.isa.{function}({name}={given!r})")


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise NotSupportedError(f"nki.isa.{name}")

    return refuse
