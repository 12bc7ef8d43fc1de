"""nki.isa: activation functions on ScalarE, and the one that VectorE has."""

from __future__ import annotations

from typing import Any

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ElementwiseWork, Engine
from tuner.nki.enums import reduce_cmd
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.isa.instruction import (
    HANDLE,
    NkiInstruction,
    Number,
    elementwise,
    issue,
    kind_of,
    tiles,
)
from tuner.nki.isa.values import column, floats, reduce_into, registers, store
from tuner.nki.limits import check_column, check_on_chip, check_same_size, generation
from tuner.nki.operations import ACTIVATIONS, Operation, activated, name_of
from tuner.nki.record.recorder import Recorder, active
from tuner.nki.tensors.tensor import NkiTensor, free_size

__all__ = ["activation", "activation_reduce", "exponential"]


def activation(
    dst: NkiTensor,
    op: Operation,
    data: NkiTensor,
    bias: Number | NkiTensor | None = None,
    scale: Number | NkiTensor = 1.0,
    reduce_op: Operation | None = None,
    reduce_res: NkiTensor | None = None,
    reduce_cmd: reduce_cmd = reduce_cmd.idle,
    name: str | None = None,
) -> NkiInstruction:
    """dst = op(data * scale + bias) on ScalarE in float32, scale and bias numbers or columns.

    Where op is approximated in a range only, it is NaN outside. The registers of ScalarE can sum up
    the results along each partition (`reduce_op` nl.add); `reduce_res` reads them out.
    """
    _activate("activation", dst, op, data, bias, scale, reduce_op, reduce_res, reduce_cmd)
    return HANDLE


def activation_reduce(
    dst: NkiTensor,
    op: Operation,
    data: NkiTensor,
    reduce_op: Operation,
    reduce_res: NkiTensor,
    bias: Number | NkiTensor | None = None,
    scale: Number | NkiTensor = 1.0,
    name: str | None = None,
) -> NkiInstruction:
    """dst = op(data * scale + bias), and reduce_res[P,1] its sum along each partition."""
    command = reduce_cmd.reset_reduce
    _activate("activation_reduce", dst, op, data, bias, scale, reduce_op, reduce_res, command)
    return HANDLE


def _activate(
    opcode: str,
    dst: NkiTensor,
    op: Operation,
    data: NkiTensor,
    bias: Number | NkiTensor | None,
    scale: Number | NkiTensor,
    reduce_op: Operation | None,
    reduce_res: NkiTensor | None,
    command: reduce_cmd,
) -> None:
    recorder = active()
    function = name_of(op)
    reads: tuple[NkiTensor, ...] = (data,)
    kinds = "none", "number"
    if bias is not None or type(scale) is not float:
        reads = (data, *tiles(opcode, bias=bias, scale=scale))
        kinds = (
            "tile" if isinstance(bias, NkiTensor) else "none" if bias is None else "number",
            "tile" if isinstance(scale, NkiTensor) else "number",
        )
    writes = (dst,) if reduce_res is None else (dst, reduce_res)
    reduction = None if reduce_op is None else name_of(reduce_op)
    rest = (len(writes), opcode, function, kinds, reduction, command)
    issue(recorder, _activation, writes, reads, *rest)
    if recorder.numeric:
        with np.errstate(all="ignore"):
            x = floats(data) * column(scale)
            if bias is not None:
                x = x + column(bias)
        values = activated(function, x)
        store(dst, values)
        _reduce(recorder, data, values, reduce_res, command)


def _reduce(
    recorder: Recorder,
    data: NkiTensor,
    values: Any,
    reduce_res: NkiTensor | None,
    command: reduce_cmd,
) -> None:
    held = registers(recorder, Engine.SCALAR, data)
    if command in (reduce_cmd.reset, reduce_cmd.reset_reduce):
        held[...] = 0
    if command in (reduce_cmd.reduce, reduce_cmd.reset_reduce):
        held += values.sum(axis=1)
    if reduce_res is not None:
        store(reduce_res, held)


def _activation(device: Device, dst: NkiTensor, *rest: Any) -> ElementwiseWork:
    *views, writes, opcode, function, kinds, reduction, command = rest
    results, (data, *columns) = views[: writes - 1], views[writes - 1 :]
    if function not in ACTIVATIONS:
        raise NotSupportedError(f"nki.isa.{opcode}(op=nl.{function})")
    bias_kind, scale_kind = kinds
    given = iter(columns)
    if bias_kind == "tile":
        bias = next(given)
        check_column(opcode, "bias", bias, data.shape[0])
        if bias.dtype == "tfloat32":
            raise NkiValidationError(f"{opcode}: bias is tfloat32")
    elif bias_kind == "number" and generation(device) < 3:
        raise NkiValidationError(f"{opcode} on {device.name}: bias is a number, expected a column")
    if bias_kind != "none" and function == "reciprocal" and generation(device) < 3:
        raise NkiValidationError(f"{opcode} on {device.name}: nl.reciprocal takes no bias")
    if scale_kind == "tile":
        scale = next(given)
        check_column(opcode, "scale", scale, data.shape[0])
        if scale.dtype != "float32":
            raise NkiValidationError(f"{opcode}: scale is {scale.dtype}, expected float32")
    _check_reduction(opcode, reduction, command)
    for result in results:
        check_column(opcode, "reduce_res", result, data.shape[0])
    check_on_chip(device, opcode, Engine.SCALAR, dst, *views)
    check_same_size(opcode, dst, data)
    return elementwise(
        opcode, Engine.SCALAR, free_size(dst), (dst, data), table=function, reduces=bool(results)
    )


def _check_reduction(opcode: str, reduction: str | None, command: reduce_cmd) -> None:
    if command == reduce_cmd.load_reduce:
        raise NkiValidationError(f"{opcode}: ScalarE has no reduce_cmd.load_reduce")
    needed = command in (reduce_cmd.reduce, reduce_cmd.reset_reduce)
    if reduction not in (None, "add") or (needed and reduction is None):
        raise NkiValidationError(f"{opcode}: reduce_op={reduction}, expected nl.add")


def exponential(
    dst: NkiTensor,
    src: NkiTensor,
    max_value: Number | NkiTensor = 0.0,
    reduce_res: NkiTensor | None = None,
    reduce_cmd: reduce_cmd = reduce_cmd.idle,
    reduce_init: Number | NkiTensor = 0.0,
    name: str | None = None,
) -> NkiInstruction:
    """dst = exp(src - max_value) on VectorE, whose registers can sum it up; 4th generation."""
    recorder = active()
    writes = (dst,) if reduce_res is None else (dst, reduce_res)
    reads = (src, *tiles("exponential", max_value=max_value, reduce_init=reduce_init))
    loads = kind_of(reduce_init) != "zero"
    issue(recorder, _exponential, writes, reads, len(writes), loads, reduce_cmd)
    if recorder.numeric:
        with np.errstate(all="ignore"):
            found = np.exp(floats(src) - column(max_value))
        held = reduce_into(recorder, src, found, "add", reduce_cmd, reduce_init)
        store(dst, found)
        if reduce_res is not None:
            store(reduce_res, held)
    return HANDLE


def _exponential(device: Device, dst: NkiTensor, *rest: Any) -> ElementwiseWork:
    opcode = "exponential"
    *views, writes, loads, command = rest
    results, (src, *columns) = views[: writes - 1], views[writes - 1 :]
    if generation(device) < 4:
        raise NkiValidationError(f"{opcode}: {device.name} has no such instruction")
    if loads and command != reduce_cmd.load_reduce:
        raise NkiValidationError(f"{opcode}: reduce_init goes with reduce_cmd.load_reduce")
    for tile in columns:
        check_column(opcode, "max_value or reduce_init", tile, src.shape[0])
        if tile.dtype != "float32":
            raise NkiValidationError(f"{opcode}: a column is {tile.dtype}, expected float32")
    for result in results:
        check_column(opcode, "reduce_res", result, src.shape[0])
    check_on_chip(device, opcode, Engine.VECTOR, dst, *views)
    check_same_size(opcode, dst, src)
    return elementwise(opcode, Engine.VECTOR, free_size(dst), (dst, src), reduces=bool(results))
