"""What DMA instructions compute, record and refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array, hbm, inside, numbered, psum, recorded, refused, sbuf, tile
from tuner.neuroncore.program import DmaWork, Engine
from tuner.nki.tensors.tensor import NkiTensor

HWDGE, SWDGE = nisa.dge_mode.hwdge, nisa.dge_mode.swdge
BF16 = nl.bfloat16


def work(body: Callable[[], Any], name: str = "trn2") -> Any:
    """The piece of work of a single instruction."""
    (found,) = recorded(body, name).works
    return found


def test_copy_casts_through_float32() -> None:
    values = np.array([[-3.6, 0.5, 1.5, 2.5, 300.0]], np.float32)

    def body() -> Array:
        dst = nl.ndarray((1, 5), nl.int8)
        nisa.dma_copy(dst, tile(values, buffer=nl.hbm))
        return dst.read()

    assert inside(body).tolist() == [[-4, 0, 2, 2, 127]]


def test_copy_of_equal_dtypes_keeps_every_bit() -> None:
    def body() -> Array:
        dst = nl.ndarray((1, 2), nl.int32)
        nisa.dma_copy(dst, tile(np.array([[2**31 - 1, 2**24 + 1]]), nl.int32, nl.hbm))
        return dst.read()

    assert inside(body).tolist() == [[2**31 - 1, 2**24 + 1]]


def test_copy_work() -> None:
    assert work(lambda: nisa.dma_copy(sbuf(128, 512), hbm(256, 512)[0:128])) == DmaWork(
        Engine.LOAD, 128, 1, 1024, True, read_bytes=128 * 1024
    )
    assert work(lambda: nisa.dma_copy(hbm(128, 512)[:, 0:64], sbuf(128, 64))) == DmaWork(
        Engine.STORE, 128, 1, 128, False, written_bytes=128 * 128
    )
    assert work(lambda: nisa.dma_copy(sbuf(8, 4, 8), hbm(8, 4, 16)[:, :, 0:8])) == DmaWork(
        Engine.LOAD, 8, 4, 16, False, read_bytes=8 * 64
    )
    assert work(lambda: nisa.dma_copy(sbuf(8, 16), hbm(8, 32)[:, ::2])).runs == 16


def test_copy_within_hbm_is_cut_by_the_side_in_smaller_pieces() -> None:
    found = work(lambda: nisa.dma_copy(hbm(8, 64), hbm(8, 128)[:, 0:64]))
    assert found == DmaWork(Engine.STORE, 8, 1, 128, False, read_bytes=1024, written_bytes=1024)


def test_who_makes_descriptors_is_recorded() -> None:
    def body(**how: Any) -> Any:
        return work(lambda: nisa.dma_copy(sbuf(8, 8), hbm(8, 8), **how))

    assert (body().dge, body().trigger) == ("unknown", None)
    assert (body(dge_mode=SWDGE).dge, body(dge_mode=SWDGE).trigger) == ("swdge", Engine.GPSIMD)
    assert body(dge_mode=HWDGE, engine=nisa.scalar_engine).trigger == Engine.SCALAR
    assert body(dge_mode=HWDGE, engine=nisa.engine.sync).trigger is None
    assert body(dge_mode=nisa.dge_mode.none, oob_mode=nisa.oob_mode.skip).dge == "none"


def copy(**how: Any) -> Callable[[], Any]:
    return lambda: nisa.dma_copy(sbuf(8, 8), hbm(8, 8), **how)


@pytest.mark.parametrize(
    ("body", "message", "name"),
    [
        (copy(dge_mode=HWDGE), "trn1 has no dge_mode.hwdge", "trn1"),
        (copy(engine=nisa.scalar_engine), "with dge_mode.hwdge", "trn2"),
        (copy(dge_mode=SWDGE, engine=nisa.engine.sync), "with dge_mode.hwdge", "trn2"),
        (copy(dge_mode=HWDGE, engine=nisa.vector_engine), "expected engine.sync", "trn2"),
        (copy(priority=1), "expected 0 to 3, on trn3", "trn2"),
        (copy(priority=4), "expected 0 to 3, on trn3", "trn3"),
        (
            lambda: nisa.dma_copy(sbuf(8, 8), hbm(8, 8, dtype=nl.float32), dge_mode=HWDGE),
            "from float32 to bfloat16: dge_mode.hwdge does not cast",
            "trn2",
        ),
    ],
)
def test_copy_refuses(body: Callable[[], Any], message: str, name: str) -> None:
    refused(body, message, name)


def test_priority_on_trn3() -> None:
    assert len(recorded(copy(priority=3), "trn3")) == 1


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (3, 4, 5, 6)])
@pytest.mark.parametrize("given", [True, False])
def test_transpose(shape: tuple[int, ...], given: bool) -> None:
    order = {2: (1, 0), 3: (2, 1, 0), 4: (3, 1, 2, 0)}[len(shape)]
    values = numbered(shape)

    def body() -> Array:
        dst = nl.ndarray(values.transpose(order).shape, nl.float32)
        source = tile(values, buffer=nl.hbm)
        nisa.dma_transpose(dst, source, axes=order if given else None)
        return dst.read()

    np.testing.assert_array_equal(inside(body), values.transpose(order))


def test_transpose_work() -> None:
    def body(src: Callable[[], NkiTensor]) -> Any:
        return work(lambda: nisa.dma_transpose(sbuf(128, 1024), src()))

    from_hbm = body(lambda: hbm(1024, 128))
    assert (from_hbm.engine, from_hbm.transpose) == (Engine.LOAD, "hbm")
    assert from_hbm.partitions * from_hbm.runs * from_hbm.run_bytes == 2 * 128 * 1024
    assert work(lambda: nisa.dma_transpose(sbuf(64, 16), sbuf(16, 64))).transpose == "sbuf"
    hardware = work(lambda: nisa.dma_transpose(sbuf(64, 16), hbm(16, 64), dge_mode=HWDGE))
    assert hardware.dge == "hwdge"


def transpose(dst: tuple[int, ...], src: tuple[int, ...], dtype: str = BF16, **how: Any) -> Any:
    return lambda: nisa.dma_transpose(sbuf(*dst, dtype=dtype), hbm(*src, dtype=dtype), **how)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (transpose((4, 6), (6, 4), axes=(0, 1)), r"axes=\(0, 1\): expected one of"),
        (transpose((5, 4, 3), (3, 4, 5), axes=(2, 0, 1)), "expected one of"),
        (transpose((4, 7), (6, 4)), r"writes \[4, 6\], dst is \[4, 7\]"),
        (transpose((4, 6, 1), (6, 4)), r"writes \[4, 6\], dst is \[4, 6, 1\]"),
        (transpose((1, 5), (5,)), "expected one of"),
        (
            lambda: nisa.dma_transpose(sbuf(4, 6), hbm(6, 4, dtype=nl.float16)),
            "from float16 to bfloat16: it does not cast",
        ),
        (lambda: nisa.dma_transpose(psum(4, 6), hbm(6, 4, dtype=nl.float32)), "cannot reach PSUM"),
        (transpose((4, 6), (6, 4), dtype=nl.float8_e4m3), "expected 2 or 4 bytes an element"),
        (transpose((4, 6), (6, 4), dge_mode=SWDGE), "expected unknown or hwdge"),
        (transpose((4, 6), (6, 4), dge_mode=nisa.dge_mode.none), "expected unknown or hwdge"),
        (transpose((4, 6), (6, 4), oob_mode=nisa.oob_mode.skip), "an index computed at run time"),
        (transpose((4, 8), (8, 4), dge_mode=HWDGE), "by dge_mode.hwdge: expected 2 bytes"),
        (transpose((128, 16), (16, 128), dtype=nl.float32, dge_mode=HWDGE), "expected 2 bytes"),
        (
            lambda: nisa.dma_transpose(hbm(129, 16), hbm(16, 129), dge_mode=HWDGE),
            "at most 128 columns",
        ),
        (transpose((5, 3, 8), (8, 3, 5), dge_mode=HWDGE), "a multiple of 16"),
    ],
)
def test_transpose_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


def test_transpose_by_hardware_of_three_dimensions() -> None:
    assert len(recorded(transpose((5, 4, 8), (8, 4, 5), dge_mode=HWDGE))) == 1


def test_compute_adds_in_float32_and_rounds_once() -> None:
    parts = [np.full((2, 3), 1.0), np.full((2, 3), 2.0**-9), np.full((2, 3), 2.0**-9)]

    def body() -> Array:
        dst = sbuf(2, 3)
        sources = [tile(part, BF16, nl.hbm) for part in parts]
        nisa.dma_compute(dst, sources, nl.add, scales=[1.0] * 3)
        return dst.read()

    expected = np.float32(ml_dtypes.bfloat16(np.float32(1 + 2.0**-8)))
    assert (inside(body) == expected).all()


def test_compute_work_counts_every_source() -> None:
    found = work(lambda: nisa.dma_compute(sbuf(8, 16), [hbm(8, 16), hbm(8, 16)], nl.add))
    assert found == DmaWork(Engine.LOAD, 8, 2, 32, False, dge="none", read_bytes=2 * 256)


def compute(*shapes: tuple[int, ...], op: Any = nl.add, **how: Any) -> Callable[[], Any]:
    return lambda: nisa.dma_compute(sbuf(8, 8), [hbm(*shape) for shape in shapes], op, **how)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (compute((8, 8), op=nl.multiply), "expected nl.add and True"),
        (compute((8, 8), unique_indices=False), "expected nl.add and True"),
        (compute((8, 8), scales=[2.0]), "expected 1.0 for each source"),
        (compute((8, 8), (8, 8), scales=[1.0]), "expected 1.0 for each source"),
        (compute((8, 8), (8, 7)), "of 56 elements .* into 64"),
        (compute(*[(8, 8)] * 17), "17 sources: at most 16"),
        (compute(), "0 sources"),
        (
            lambda: nisa.dma_compute(sbuf(8, 8), [psum(8, 8)], nl.add),
            "dma_compute cannot reach PSUM",
        ),
    ],
)
def test_compute_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)
