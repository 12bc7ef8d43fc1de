"""nki.isa: statistics of the elements of a partition."""

from __future__ import annotations

import numpy as np

from tuner.neuroncore.device import Device
from tuner.neuroncore.program import ElementwiseWork, Engine
from tuner.nki.errors import NkiValidationError
from tuner.nki.isa.instruction import HANDLE, NkiInstruction, elementwise, issue
from tuner.nki.isa.values import floats, store
from tuner.nki.limits import check_on_chip
from tuner.nki.record.recorder import active
from tuner.nki.tensors.tensor import NkiTensor, free_size

__all__ = ["bn_aggr", "bn_stats", "max8"]

BN_STATS_MAX = 512
MAX8_ELEMENTS = range(8, 16_385)


def bn_stats(dst: NkiTensor, data: NkiTensor, name: str | None = None) -> NkiInstruction:
    """dst[P,6]: count, mean and count * variance of the even elements, then of the odd ones."""
    recorder = active()
    issue(recorder, _bn_stats, (dst,), (data,))
    if recorder.numeric:
        values = floats(data)
        found = np.zeros((values.shape[0], 6), np.float32)
        for first in (0, 1):
            part = values[:, first::2]
            if part.shape[1]:
                mean = part.mean(axis=1, keepdims=True)
                found[:, 3 * first] = part.shape[1]
                found[:, 3 * first + 1] = mean[:, 0]
                found[:, 3 * first + 2] = np.square(part - mean).sum(axis=1)
        store(dst, found)
    return HANDLE


def _bn_stats(device: Device, dst: NkiTensor, data: NkiTensor) -> ElementwiseWork:
    check_on_chip(device, "bn_stats", Engine.VECTOR, dst, data)
    if free_size(data) > BN_STATS_MAX:
        raise NkiValidationError(f"bn_stats of {free_size(data)} elements, at most {BN_STATS_MAX}")
    _check_outputs("bn_stats", dst, data, 6)
    return elementwise("bn_stats", Engine.VECTOR, free_size(data), (dst, data))


def bn_aggr(dst: NkiTensor, data: NkiTensor, name: str | None = None) -> NkiInstruction:
    """dst[P,2]: mean and variance of what several bn_stats counted."""
    recorder = active()
    issue(recorder, _bn_aggr, (dst,), (data,))
    if recorder.numeric:
        counts, means, squares = np.moveaxis(floats(data).reshape(data.shape[0], -1, 3), 2, 0)
        total = counts.sum(axis=1, keepdims=True)
        mean = (counts * means).sum(axis=1, keepdims=True) / total
        spread = squares + counts * np.square(means - mean)
        store(dst, np.hstack([mean, spread.sum(axis=1, keepdims=True) / total]))
    return HANDLE


def _bn_aggr(device: Device, dst: NkiTensor, data: NkiTensor) -> ElementwiseWork:
    check_on_chip(device, "bn_aggr", Engine.VECTOR, dst, data)
    if free_size(data) % 3:
        raise NkiValidationError(f"bn_aggr of {free_size(data)} elements, expected a multiple of 3")
    _check_outputs("bn_aggr", dst, data, 2)
    return elementwise("bn_aggr", Engine.VECTOR, free_size(data), (dst, data))


def max8(dst: NkiTensor, src: NkiTensor, name: str | None = None) -> NkiInstruction:
    """dst[P,8]: the largest elements of each partition, the largest first."""
    recorder = active()
    issue(recorder, _max8, (dst,), (src,))
    if recorder.numeric:
        store(dst, -np.sort(-floats(src), axis=1)[:, :8])
    return HANDLE


def _max8(device: Device, dst: NkiTensor, src: NkiTensor) -> ElementwiseWork:
    check_on_chip(device, "max8", Engine.VECTOR, dst, src)
    if free_size(src) not in MAX8_ELEMENTS or src.ndim > 3:
        raise NkiValidationError(f"max8 of {src!r}: expected 8 to 16384 elements, 3 dimensions")
    _check_outputs("max8", dst, src, 8)
    return elementwise("max8", Engine.VECTOR, free_size(src), (dst, src))


def _check_outputs(opcode: str, dst: NkiTensor, data: NkiTensor, count: int) -> None:
    if dst.shape[0] != data.shape[0] or free_size(dst) != count:
        raise NkiValidationError(
            f"{opcode} writes [{data.shape[0]}, {count}], dst is {list(dst.shape)}"
        )
