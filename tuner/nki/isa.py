"""nki.isa, simulated: each function checks what the hardware would refuse, records, and computes if
asked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tuner.neuroncore.program import DmaWork, ElementwiseWork, Engine, MatmulWork, Operand, Space
from tuner.nki.enums import dge_mode, engine, matmul_perf_mode, oob_mode, reduce_cmd
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.limits import check_elementwise, check_matmul
from tuner.nki.operations import ACTIVATIONS, BINARY, Operation
from tuner.nki.recorder import Recorder, active
from tuner.nki.tensor import NkiTensor, free_size, inner_stride

__all__ = [
    "NkiValidationError",
    "activation",
    "dge_mode",
    "dma_copy",
    "engine",
    "gpsimd_engine",
    "matmul_perf_mode",
    "memset",
    "nc_matmul",
    "oob_mode",
    "reduce_cmd",
    "scalar_engine",
    "tensor_copy",
    "tensor_engine",
    "tensor_tensor",
    "unknown_engine",
    "vector_engine",
]

tensor_engine = engine.tensor
vector_engine = engine.vector
scalar_engine = engine.scalar
gpsimd_engine = engine.gpsimd
unknown_engine = engine.unknown

_ENGINES = {
    engine.vector: Engine.VECTOR,
    engine.scalar: Engine.SCALAR,
    engine.gpsimd: Engine.GPSIMD,
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
    recorder.emit(_dma_work(dst, src), (dst,), (src,))
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
    check_matmul(recorder.device, dst, stationary, moving)
    work = MatmulWork(
        stationary.shape[0], free_size(stationary), free_size(moving), stationary.itemsize
    )
    recorder.emit(work, (dst,), (stationary, moving), accumulates=accumulate is not False)
    if recorder.numeric:
        _multiply(dst, stationary, moving, accumulate)


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
    on = _engine(engine, Engine.ANY)
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
    _elementwise(recorder, "memset", _engine(engine, Engine.ANY), dst, zero=value == 0)
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
    if op.name not in BINARY:
        raise NotSupportedError(f"nki.isa.tensor_tensor(op={op!r})")
    if data1.space == data2.space == Space.PSUM:
        raise NkiValidationError("tensor_tensor: at most one input may be in PSUM")
    on = _engine(engine, Engine.ANY)
    if on == Engine.SCALAR:
        raise NkiValidationError("tensor_tensor: ScalarE cannot combine two tensors")
    _elementwise(recorder, "tensor_tensor", on, dst, data1, data2)
    if recorder.numeric:
        left, right = data1.read().reshape(dst.shape), data2.read().reshape(dst.shape)
        dst.write(BINARY[op.name](left, right))


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
    if op.name not in ACTIVATIONS:
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
    _elementwise(recorder, "activation", Engine.SCALAR, dst, data, table=op.name)
    if recorder.numeric:
        dst.write(ACTIVATIONS[op.name](data.read().reshape(dst.shape) * np.float32(scale)))


def _elementwise(
    recorder: Recorder,
    opcode: str,
    on: Engine,
    dst: NkiTensor,
    *sources: NkiTensor,
    table: str = "",
    zero: bool = False,
) -> None:
    check_elementwise(recorder.device, opcode, on, dst, *sources)
    operands = tuple(Operand(o.space, o.itemsize, inner_stride(o)) for o in (dst, *sources))
    work = ElementwiseWork(opcode, on, free_size(dst), operands, table, zero)
    recorder.emit(work, (dst,), sources)


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
    return DmaWork(
        Engine.STORE if to_hbm else Engine.LOAD,
        partitions,
        -(-row // run),
        run * in_hbm.itemsize,
        contiguous,
        read_bytes=src.size * src.itemsize if src.space == Space.HBM else 0,
        written_bytes=dst.size * dst.itemsize if to_hbm else 0,
    )


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
