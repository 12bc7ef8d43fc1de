"""`nki.isa` in numpy, as far as the small kernel goes; it counts instructions."""

from __future__ import annotations

from typing import Any

import fake_device  # type: ignore[import-not-found]


class NkiValidationError(Exception):
    pass


class engine:  # noqa: N801
    vector = gpsimd = None


def dma_copy(dst: Any, src: Any) -> None:
    fake_device.count += 1
    dst[...] = src


def tensor_tensor(dst: Any, data1: Any, data2: Any, op: Any, engine: Any = None) -> None:
    fake_device.count += 1
    dst[...] = op(data1, data2)
