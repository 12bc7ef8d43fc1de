"""What the instructions refuse, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tuner.nki as nki
import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import hbm, inside, psum, recorded, refused, sbuf
from tuner.neuroncore.program import ElementwiseWork, Engine, MatmulWork
from tuner.nki import NkiValidationError, NotSupportedError

F32 = nl.float32


@pytest.mark.parametrize(
    ("dst", "stationary", "moving", "message"),
    [
        ((128, 8), (128, 129), (128, 8), "stationary free size 129, at most 128"),
        ((128, 513), (128, 128), (128, 513), "moving free size 513, at most 512"),
        ((128, 8), (64, 128), (128, 8), "contracts 64 with 128 partitions"),
        ((64, 8), (128, 128), (128, 8), r"writes \[128, 8\], dst is \[64, 8\]"),
        ((128, 9), (128, 128), (128, 8), r"writes \[128, 8\], dst is \[128, 9\]"),
    ],
)
def test_matmul_shapes(
    dst: tuple[int, int], stationary: tuple[int, int], moving: tuple[int, int], message: str
) -> None:
    refused(lambda: nisa.nc_matmul(psum(*dst), sbuf(*stationary), sbuf(*moving)), message)


def test_trn3_moves_4096_columns() -> None:
    def body(columns: int) -> None:
        nisa.nc_matmul(psum(128, columns), sbuf(128, 128), sbuf(128, columns))

    inside(lambda: body(4096), "trn3", numeric=False)
    refused(lambda: body(4097), "moving free size 4097, at most 4096", "trn3")


def test_matmul_flattens_free_dimensions() -> None:
    def body() -> None:
        nisa.nc_matmul(psum(8, 2, 16), sbuf(4, 2, 4), sbuf(4, 2, 16))

    assert recorded(body).works == (MatmulWork(4, 8, 32, 2),)


@pytest.mark.parametrize(
    ("dst", "stationary", "moving", "message"),
    [
        (lambda: psum(8, 8), lambda: psum(8, 8), lambda: sbuf(8, 8), "reads from SBUF, not .*psum"),
        (lambda: psum(8, 8), lambda: sbuf(8, 8), lambda: hbm(8, 8), "reads from SBUF, not .*hbm"),
        (lambda: sbuf(8, 8, dtype=F32), lambda: sbuf(8, 8), lambda: sbuf(8, 8), "to PSUM, not"),
        (
            lambda: psum(8, 8, dtype=nl.bfloat16),
            lambda: sbuf(8, 8),
            lambda: sbuf(8, 8),
            "writes float32 to PSUM, not .*bfloat16",
        ),
        (
            lambda: psum(8, 8),
            lambda: sbuf(8, 8, dtype=F32),
            lambda: sbuf(8, 8),
            "float32 with bfloat16: float32 goes with float32",
        ),
    ],
)
def test_matmul_operands(dst: Any, stationary: Any, moving: Any, message: str) -> None:
    refused(lambda: nisa.nc_matmul(dst(), stationary(), moving()), message)


def test_16_and_8_bit_operands_mix() -> None:
    def body() -> None:
        for dtype in (nl.bfloat16, nl.float16, nl.float8_e4m3):
            nisa.nc_matmul(psum(8, 8), sbuf(8, 8), sbuf(8, 8, dtype=dtype))

    assert len(recorded(body)) == 3


def test_matmul_stays_in_a_bank() -> None:
    def body(first: int) -> None:
        nisa.nc_matmul(psum(128, 2048)[:, nl.ds(first, 512)], sbuf(128, 128), sbuf(128, 512))

    inside(lambda: body(512), numeric=False)
    refused(lambda: body(511), r"bytes 2044..4091 of a PSUM tile lie in 2 banks of 2048 bytes")
    inside(lambda: body(511), "trn3", numeric=False)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda: nisa.dma_copy(psum(8, 8), hbm(8, 8)), "dma_copy cannot reach PSUM"),
        (lambda: nisa.dma_copy(hbm(8, 8), psum(8, 8)), "dma_copy cannot reach PSUM"),
        (lambda: nisa.dma_copy(sbuf(8, 8), hbm(8, 7)), "dma_copy of 56 elements .* into 64"),
        (lambda: nisa.tensor_copy(sbuf(8, 8), hbm(8, 8)), "is in HBM, not in SBUF or PSUM"),
        (lambda: nisa.tensor_copy(sbuf(8, 8), sbuf(8, 7)), r"shapes \[8, 8\] and \[8, 7\] differ"),
        (lambda: nisa.tensor_copy(sbuf(8, 8), sbuf(4, 16)), "differ"),
        (
            lambda: nisa.tensor_copy(sbuf(8, 8), psum(8, 8), engine=nisa.engine.gpsimd),
            "GpSimdE cannot reach PSUM",
        ),
        (lambda: nisa.tensor_copy(sbuf(8, 8), sbuf(8, 8), engine=nisa.engine.tensor), "tensor"),
        (lambda: nisa.tensor_copy(psum(8, 4097), psum(8, 4097)), "4097 elements .* at most 4096"),
        (lambda: nisa.memset(sbuf(1, 65537), 0.0), "65537 elements .* at most 65536"),
        (lambda: nisa.tensor_tensor(sbuf(8, 8), psum(8, 8), psum(8, 8), nl.add), "at most one"),
        (
            lambda: nisa.tensor_tensor(
                sbuf(8, 8), sbuf(8, 8), sbuf(8, 8), nl.add, engine=nisa.engine.scalar
            ),
            "ScalarE cannot combine two tensors",
        ),
        (lambda: nisa.memset(sbuf(8, 8), "0"), "expected a number"),
        (lambda: sbuf(129, 8), "129 partitions, nl.sbuf has 128"),
        (lambda: psum(129, 8), "129 partitions, nl.psum has 128"),
    ],
)
def test_refused(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


def test_memset_of_psum_is_gpsimd_s_only_access() -> None:
    inside(lambda: nisa.memset(psum(8, 8), 0.0, engine=nisa.gpsimd_engine), numeric=False)


def test_scalar_engine_of_trn1_has_no_tensor_copy() -> None:
    def body() -> None:
        nisa.tensor_copy(sbuf(8, 8), sbuf(8, 8), engine=nisa.engine.scalar)

    refused(body, "tensor_copy: ScalarE of trn1 has no such instruction", "trn1")
    (work,) = recorded(body, "trn2").works
    assert isinstance(work, ElementwiseWork)
    assert work.engine == Engine.SCALAR


def copy_rows(start: int, size: int) -> None:
    whole = sbuf(128, 8)
    nisa.tensor_copy(whole[start : start + size], whole[start : start + size])


@pytest.mark.parametrize(
    ("start", "size", "multiple"), [(1, 1, 32), (16, 32, 32), (32, 33, 64), (32, 65, 128)]
)
def test_wrong_start_partition(start: int, size: int, multiple: int) -> None:
    refused(
        lambda: copy_rows(start, size),
        f"begins at partition {start}: {size} partitions begin at a multiple of {multiple}",
    )


def test_right_start_partitions() -> None:
    def body() -> None:
        for start, size in [(0, 128), (0, 65), (64, 64), (64, 33), (96, 32), (32, 1)]:
            copy_rows(start, size)

    assert len(recorded(body)) == 6


def test_matmul_operands_begin_where_they_may() -> None:
    def body(first: int) -> None:
        whole = sbuf(128, 64)[first : first + 32]
        nisa.nc_matmul(psum(64, 64), whole, whole)

    inside(lambda: body(96), numeric=False)
    refused(lambda: body(80), "begins at partition 80: 32 partitions begin at a multiple of 32")


def test_partitions_are_contiguous() -> None:
    refused(lambda: nisa.memset(sbuf(128, 8)[0:64:2], 0.0), "must be contiguous")


def test_dma_may_begin_at_any_partition() -> None:
    inside(lambda: nisa.dma_copy(sbuf(128, 8)[3:5], hbm(2, 8)), numeric=False)


def test_instructions_need_a_kernel() -> None:
    calls: list[Callable[[], Any]] = [lambda: sbuf(8, 8), lambda: nl.tile_size.pmax]
    for call in calls:
        with pytest.raises(NkiValidationError, match="only inside a kernel that is being traced"):
            call()


def test_errors_are_found_where_nki_has_them() -> None:
    assert nki.isa.NkiValidationError is NkiValidationError
    assert issubclass(NotSupportedError, NkiValidationError)
