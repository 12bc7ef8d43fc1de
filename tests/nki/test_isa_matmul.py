"""What nc_matmul and nc_transpose compute, record and refuse."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array, hbm, inside, numbered, psum, recorded, refused, sbuf, tile
from tuner.neuroncore.program import ACCUMULATED, MODE, WRITTEN, ElementwiseWork, Engine, MatmulWork
from tuner.nki import HazardWarning, NkiValidationError
from tuner.nki.tensors.tensor import NkiTensor

DOUBLE = nisa.matmul_perf_mode.double_row
E4M3, E4M3FN, E5M2, BF16, F32 = (
    nl.float8_e4m3,
    nl.float8_e4m3fn,
    nl.float8_e5m2,
    nl.bfloat16,
    nl.float32,
)
Step = Callable[[NkiTensor], Any]


def accumulated(*steps: Step, name: str = "trn2", dtype: str = F32) -> float:
    """Runs steps on one PSUM tile of a single element and returns it; warnings are errors."""

    def body() -> float:
        dst = psum(1, 1, dtype=dtype)
        for step in steps:
            step(dst)
        return float(dst.read()[0, 0])

    with warnings.catch_warnings():
        warnings.simplefilter("error", HazardWarning)
        return float(inside(body, name))


def times(value: float, accumulate: bool | None = None) -> Step:
    """A matmul whose product is `value`."""
    return lambda dst: nisa.nc_matmul(dst, tile([[value]]), tile([[1.0]]), accumulate=accumulate)


def memset(value: float) -> Step:
    return lambda dst: nisa.memset(dst, value)


def copied(value: float) -> Step:
    return lambda dst: nisa.tensor_copy(dst, tile([[value]]))


def read(dst: NkiTensor) -> None:
    nisa.tensor_copy(sbuf(1, 1), dst)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([times(3)], 3),
        ([times(3), times(4), times(5)], 12),
        ([times(3, False), times(4, True), times(5, True)], 12),
        ([times(3, False), times(4, False)], 4),
        ([times(3), times(4, False), times(5)], 9),
        ([memset(0.0), times(3), times(4)], 7),
        ([times(3), read, memset(0.0), times(4)], 4),
        ([times(3), read, times(4, False)], 4),
        ([times(3), read, times(4, True)], 7),
        ([memset(2.0), times(3, False)], 3),
        ([copied(2.0), times(3, False), times(4)], 7),
    ],
)
def test_accumulate(steps: list[Step], expected: float) -> None:
    assert accumulated(*steps) == expected


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([memset(4.0), times(3)], "adds to what an instruction other than a matmul left"),
        ([copied(4.0), times(3)], "adds to what an instruction other than a matmul left"),
        ([memset(0.0), times(7, True)], "after a memset: the result is undefined on trn2"),
        ([times(4), read, times(3)], "adds to a product in .* that was read already"),
    ],
)
def test_accumulating_where_hardware_promises_nothing_warns(
    steps: list[Step], message: str
) -> None:
    def body() -> float:
        dst = psum(1, 1)
        for step in steps:
            step(dst)
        return float(dst.read()[0, 0])

    with pytest.warns(HazardWarning, match=message):
        assert inside(body) == 7


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([times(3, True)], "which was never written"),
        ([memset(1.0), times(3, True)], "an instruction other than a matmul wrote"),
        ([copied(0.0), times(3, True)], "an instruction other than a matmul wrote"),
        ([times(1), memset(1.0), times(3, True)], "an instruction other than a matmul wrote"),
    ],
)
def test_accumulating_onto_what_is_no_product_is_an_error(steps: list[Step], message: str) -> None:
    with pytest.raises(NkiValidationError, match=message):
        accumulated(*steps)


def test_what_was_only_read_was_not_written() -> None:
    assert accumulated(read, times(3)) == 3
    with pytest.raises(NkiValidationError, match="never written"):
        accumulated(read, times(3, True))


def test_each_element_of_a_tile_is_looked_at() -> None:
    def body(first: Step) -> None:
        dst = psum(1, 2)
        first(dst[:, 0:1])
        times(1)(dst[:, 1:2])
        read(dst[:, 1:2])
        nisa.nc_matmul(dst, tile([[1.0]]), tile([[1.0, 1.0]]), accumulate=True)

    with pytest.raises(NkiValidationError, match="an instruction other than a matmul wrote"):
        inside(partial(body, copied(2.0)))
    with pytest.raises(NkiValidationError, match="never written"):
        inside(partial(body, read))


def test_trn3_accumulates_onto_anything_that_was_written() -> None:
    assert accumulated(memset(4.0), times(3), name="trn3") == 7
    assert accumulated(copied(4.0), times(3, True), name="trn3") == 7
    with pytest.raises(NkiValidationError, match="never written"):
        accumulated(times(3, True), name="trn3")


def test_trn3_rounds_each_sum_in_a_bfloat16_tile() -> None:
    exact, small = 256.0, 1.0
    assert accumulated(times(exact), times(small), times(small), name="trn3", dtype=BF16) == 256
    assert accumulated(times(exact), times(small), times(small), name="trn3") == 258


def test_accumulating_by_default_is_decided_element_by_element() -> None:
    def body() -> Array:
        dst, one = psum(1, 6), tile([[1.0]])
        nisa.nc_matmul(dst[:, 0:2], one, tile([[1.0, 2.0]]))
        nisa.nc_matmul(dst[:, 1:4], one, tile([[10.0, 20.0, 30.0]]))
        nisa.nc_matmul(dst[:, 3:5], one, tile([[5.0, 6.0]]))
        return dst.read()[:, :5]

    assert inside(body).tolist() == [[1, 12, 20, 35, 6]]


def test_tiles_of_one_allocation_are_kept_apart() -> None:
    def body() -> Array:
        dst, one = psum(1, 2, 2), tile([[1.0]])
        for i in (0, 1, 0, 1):
            nisa.nc_matmul(dst[:, i, :], one, tile([[1.0 + i, 2.0]]))
        return dst.read()

    assert inside(body).tolist() == [[[2, 4], [4, 4]]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 128), st.integers(1, 128), st.integers(1, 512), st.integers(0, 99))
def test_matmul_is_numpy_s(rows: int, columns: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    left, right = random.integers(-8, 9, (rows, columns)), random.integers(-8, 9, (rows, width))

    def body() -> Array:
        dst = psum(columns, width)
        for _ in range(2):
            nisa.nc_matmul(dst, tile(left, BF16), tile(right, BF16))
        return dst.read()

    np.testing.assert_array_equal(inside(body), 2 * left.T @ right)


def test_matmul_of_strided_operands() -> None:
    left, right = numbered((4, 2, 6)), numbered((4, 3, 10))

    def sliced() -> Array:
        dst = psum(8, 40)[0:6, ::2][:, 0:12]
        nisa.nc_matmul(dst, tile(left)[:, :, ::2], tile(right)[:, :, 0:8:2])
        return dst.read()

    small = left[:, :, ::2].reshape(4, 6)
    expected = small.T @ right[:, :, 0:8:2].reshape(4, 12)
    np.testing.assert_array_equal(inside(sliced), expected)


def test_float32_accumulates_between_operands_of_16_bits() -> None:
    ones = np.ones((128, 1))

    def body() -> Array:
        dst, rows = psum(1, 1), tile(ones, BF16)
        for _ in range(3):
            nisa.nc_matmul(dst, rows, rows)
        nisa.nc_matmul(dst, tile([[1.0]], BF16), tile([[2.0**-10]], BF16))
        return dst.read()

    assert inside(body) == 3 * 128 + 2.0**-10


def test_double_row_sums_over_both_halves() -> None:
    random = np.random.default_rng(1)
    left, right = random.integers(-4, 5, (16, 2, 5)), random.integers(-4, 5, (16, 2, 7))

    def body() -> Array:
        dst = psum(5, 7)
        nisa.nc_matmul(dst, tile(left, E4M3), tile(right, E5M2), perf_mode=DOUBLE)
        return dst.read()

    expected = left.reshape(32, 5).T @ right.reshape(32, 7)
    np.testing.assert_array_equal(inside(body), expected)
    shapes = ((16, 2, 5), (16, 2, 7))
    (found,) = recorded(matmul(E4M3, E5M2, shapes, perf_mode=DOUBLE)).works
    assert found == MatmulWork(16, 5, 7, 1, double_row=True)
    assert found.flops == 2 * 32 * 5 * 7


def matmul(
    dtype: str = BF16,
    other: str | None = None,
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((32, 32), (32, 32)),
    dst: str = F32,
    **how: Any,
) -> Callable[[], Any]:
    """A matmul of tiles that hold nothing yet."""
    left, right = shapes
    halves = 2 if "perf_mode" in how else 1
    rows, columns = int(np.prod(left[1:])) // halves, int(np.prod(right[1:])) // halves
    return lambda: nisa.nc_matmul(
        psum(rows, columns, dtype=dst),
        sbuf(*left, dtype=dtype),
        sbuf(*right, dtype=other or dtype),
        **how,
    )


HALVES = ((32, 2, 32), (32, 2, 32))


@pytest.mark.parametrize(
    ("body", "message", "name"),
    [
        (matmul(nl.int8), "nc_matmul of int8: trn2 has no such operands", "trn2"),
        (matmul(E4M3FN), "nc_matmul of float8_e4m3fn: trn2", "trn2"),
        (matmul(E4M3, E4M3FN), "they do not go together", "trn3"),
        (matmul(F32, BF16), "float32 goes with float32", "trn2"),
        (matmul(BF16, nl.tfloat32), "float32 goes with float32", "trn2"),
        (matmul(dst=BF16), "writes float32 to PSUM, not .*bfloat16", "trn2"),
        (matmul(dst=nl.float16), "writes float32 or bfloat16 to PSUM", "trn3"),
        (matmul(E4M3, shapes=HALVES, perf_mode=DOUBLE), "trn1 has no double_row", "trn1"),
        (matmul(BF16, shapes=HALVES, perf_mode=DOUBLE), "expected float8", "trn2"),
        (matmul(E4M3, perf_mode=DOUBLE), r"expected float8 \[partitions, 2,", "trn2"),
        (
            matmul(E4M3, shapes=((8, 4, 8), (8, 2, 8)), perf_mode=DOUBLE),
            r"expected float8 \[partitions, 2,",
            "trn2",
        ),
        (
            matmul(E4M3, shapes=HALVES, perf_mode=DOUBLE, is_transpose=True),
            "neither is_transpose nor",
            "trn2",
        ),
        (
            matmul(
                E4M3, shapes=HALVES, perf_mode=DOUBLE, tile_position=(0, 0), tile_size=(128, 64)
            ),
            "nor tiles of columns",
            "trn2",
        ),
        (matmul(tile_position=(0, 0)), "expected two numbers in both", "trn2"),
        (matmul(tile_size=(32, 32)), "expected two numbers in both", "trn2"),
        (matmul(tile_position=(0, 0), tile_size=(48, 32)), r"sizes of \(32, 64, 128\)", "trn2"),
        (matmul(tile_position=(0, 0), tile_size=(32, 128)), r"sizes of \(64, 128\)", "trn1"),
        (matmul(tile_position=(32, 0), tile_size=(64, 128)), "at multiples of them", "trn2"),
        (matmul(tile_position=(128, 0), tile_size=(64, 128)), "at multiples of them", "trn2"),
        (
            matmul(shapes=((33, 8), (33, 8)), tile_position=(0, 0), tile_size=(32, 128)),
            "contracts 33 with 33 partitions: expected as many in both and at most 32",
            "trn2",
        ),
        (
            matmul(shapes=((8, 65), (8, 8)), tile_position=(0, 64), tile_size=(128, 64)),
            "stationary free size 65, at most 64",
            "trn2",
        ),
        (matmul(is_transpose=True, dst=F32), "writes bfloat16 to PSUM, not .*float32", "trn2"),
        (matmul(is_transpose=True, dst=BF16), "writes float32 to PSUM, not .*bfloat16", "trn1"),
    ],
)
def test_matmul_refuses(body: Callable[[], Any], message: str, name: str) -> None:
    refused(body, message, name)


@pytest.mark.parametrize(
    ("body", "expected", "name"),
    [
        (matmul(), MatmulWork(32, 32, 32, 2), "trn2"),
        (matmul(nl.float16, E5M2), MatmulWork(32, 32, 32, 2), "trn2"),
        (matmul(E4M3FN, E5M2), MatmulWork(32, 32, 32, 1), "trn3"),
        (matmul(dst=BF16), MatmulWork(32, 32, 32, 2), "trn3"),
        (matmul(F32), MatmulWork(32, 32, 32, 4), "trn2"),
        (matmul(F32, nl.tfloat32), MatmulWork(32, 32, 32, 4), "trn2"),
        (matmul(nl.tfloat32), MatmulWork(32, 32, 32, 2), "trn2"),
        (matmul(F32, is_moving_onezero=True), MatmulWork(32, 32, 32, 4, onezero=True), "trn2"),
        (matmul(F32, is_stationary_onezero=True), MatmulWork(32, 32, 32, 4, onezero=True), "trn2"),
        (matmul(BF16, is_moving_onezero=True), MatmulWork(32, 32, 32, 2), "trn2"),
        (
            matmul(is_transpose=True, dst=BF16),
            MatmulWork(32, 32, 32, 2, transpose=True),
            "trn2",
        ),
        (
            matmul(tile_position=(96, 64), tile_size=(32, 64)),
            MatmulWork(32, 32, 32, 2, tile=(96, 32, 64, 64)),
            "trn2",
        ),
        (matmul(name="implicit transpose"), MatmulWork(32, 32, 32, 2), "trn2"),
    ],
)
def test_matmul_work(body: Callable[[], Any], expected: MatmulWork, name: str) -> None:
    assert recorded(body, name).works == (expected,)


def test_trn3_moves_twice_as_many_columns_into_bfloat16() -> None:
    def body(columns: int, dtype: str) -> None:
        nisa.nc_matmul(psum(8, columns, dtype=dtype), sbuf(8, 8), sbuf(8, columns))

    inside(lambda: body(8192, BF16), "trn3", numeric=False)
    refused(lambda: body(8192, F32), "moving free size 8192, at most 4096", "trn3")


def test_whether_psum_is_added_to_is_recorded() -> None:
    def modes(**how: Any) -> Any:
        program = recorded(matmul(**how))
        return program.accesses[0, MODE]

    assert modes() == modes(accumulate=True) == ACCUMULATED
    assert modes(accumulate=False) == modes(is_transpose=True, dst=BF16) == WRITTEN


def test_banks_of_tiles_that_a_loop_turns_through() -> None:
    def body(width: int) -> None:
        dst = psum(128, 2048)
        for i in nl.affine_range(3):
            nisa.nc_matmul(dst[:, nl.ds(i * width, 256)], sbuf(128, 128), sbuf(128, 256))

    assert len(recorded(lambda: body(256))) == 3
    refused(lambda: body(384), r"bytes 1536..2559 of a PSUM tile lie in 2 banks")


def test_strided_tile_may_not_leave_its_bank() -> None:
    def body() -> None:
        nisa.nc_matmul(psum(8, 1024)[:, ::2], sbuf(8, 8), sbuf(8, 512))

    refused(body, r"bytes 0..4091 of a PSUM tile lie in 2 banks")


def transposed(values: Any, dtype: str, name: str = "trn2", **how: Any) -> Array:
    """The transpose of a tile in SBUF, through PSUM."""

    def body() -> Array:
        data = tile(values, dtype)
        dst = psum(int(np.prod(data.shape[1:])), data.shape[0], dtype=dtype)
        nisa.nc_transpose(dst, data, **how)
        return dst.read()

    found: Array = inside(body, name)
    return found


def test_transpose_moves_bits() -> None:
    values = np.array([[1.5, np.inf, -np.inf], [np.nan, -0.0, 3.0]])
    np.testing.assert_array_equal(transposed(values, BF16), values.T)
    np.testing.assert_array_equal(transposed(values, F32, engine=nisa.tensor_engine), values.T)
    np.testing.assert_array_equal(transposed(values, F32, engine=nisa.vector_engine), values.T)
    whole = np.array([[2**31 - 1, 5]])
    np.testing.assert_array_equal(transposed(whole, nl.int32, engine=nisa.vector_engine), whole.T)


def test_transpose_flattens_free_dimensions() -> None:
    values = numbered((3, 5, 20))
    np.testing.assert_array_equal(transposed(values, F32), values.reshape(3, 100).T)


def test_is_transpose_is_bit_exact_and_needs_an_identity() -> None:
    values = np.array([[1.5, np.nan, 2.0], [np.inf, 4.0, 5.0]])

    def body(moving: Any) -> Array:
        dst = psum(3, 2)
        nisa.nc_matmul(dst, tile(values), tile(moving), is_transpose=True)
        return dst.read()

    np.testing.assert_array_equal(inside(partial(body, np.eye(2))), values.T)
    with pytest.raises(NkiValidationError, match="moving is no identity matrix"):
        inside(partial(body, np.ones((2, 2))))


def test_products_may_be_added_to_a_transpose() -> None:
    def body() -> Array:
        dst = psum(1, 1)
        nisa.nc_transpose(dst, tile([[2.0]]), engine=nisa.tensor_engine)
        nisa.nc_matmul(dst, tile([[3.0]]), tile([[1.0]]), accumulate=True)
        return dst.read()

    assert inside(body) == 5


def test_transpose_into_a_16_bit_tile_that_was_initialised_warns() -> None:
    def body(dtype: str) -> Array:
        dst = psum(2, 2, dtype=dtype)
        nisa.memset(dst, 0.0)
        nisa.nc_transpose(dst, tile(np.eye(2), dtype), engine=nisa.tensor_engine)
        return dst.read()

    with pytest.warns(HazardWarning, match="refuses 16-bit tiles in PSUM"):
        inside(partial(body, BF16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside(partial(body, F32))


def test_transpose_works() -> None:
    def body(shape: tuple[int, int], dst: Any = psum, **how: Any) -> Any:
        def kernel() -> None:
            nisa.nc_transpose(dst(*shape[::-1], dtype=BF16), sbuf(*shape), **how)

        (work,) = recorded(kernel).works
        return work

    assert body((64, 128)) == MatmulWork(64, 128, 64, 2, transpose=True)
    assert isinstance(body((33, 8)), MatmulWork)
    small = body((32, 16))
    assert isinstance(small, ElementwiseWork)
    assert (small.opcode, small.engine, small.elements) == ("nc_transpose", Engine.VECTOR, 16)
    assert isinstance(body((32, 16), sbuf), ElementwiseWork)
    assert isinstance(body((32, 16), engine=nisa.tensor_engine), MatmulWork)


def transpose(dst: Callable[[], Any], data: Callable[[], Any], **how: Any) -> Callable[[], Any]:
    return lambda: nisa.nc_transpose(dst(), data(), **how)


TENSOR, VECTOR = nisa.tensor_engine, nisa.vector_engine


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            transpose(lambda: psum(129 - 1, 64), lambda: sbuf(64, 129, dtype=F32)),
            r"of \[64, 129\], at most \[128, 128\]",
        ),
        (
            transpose(lambda: sbuf(33, 8), lambda: sbuf(8, 33)),
            r"of \[8, 33\], at most \[32, 32\]",
        ),
        (
            transpose(lambda: sbuf(8, 8), lambda: sbuf(8, 8), engine=TENSOR),
            "reads SBUF and writes PSUM",
        ),
        (
            transpose(lambda: psum(8, 8), lambda: psum(8, 8), engine=TENSOR),
            "reads SBUF and writes PSUM",
        ),
        (transpose(lambda: sbuf(8, 8), lambda: hbm(8, 8), engine=VECTOR), "is in HBM"),
        (transpose(lambda: psum(64, 64), lambda: sbuf(64, 64)), "from bfloat16 to float32"),
        (transpose(lambda: sbuf(8, 9), lambda: sbuf(8, 8)), r"writes \[8, 8\], dst is \[8, 9\]"),
        (
            transpose(lambda: sbuf(8, 8), lambda: sbuf(8, 8), engine=nisa.scalar_engine),
            "ScalarE has no such instruction",
        ),
        (
            transpose(lambda: sbuf(8, 8), lambda: sbuf(8, 8), engine=nisa.engine.sync),
            "is no compute engine",
        ),
    ],
)
def test_transpose_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


def test_bfloat16_products_are_those_of_rounded_operands() -> None:
    random = np.random.default_rng(3)
    left, right = random.standard_normal((64, 8)), random.standard_normal((64, 9))

    def body() -> Array:
        dst = psum(8, 9)
        nisa.nc_matmul(dst, tile(left, BF16), tile(right, E4M3))
        return dst.read()

    a = left.astype(ml_dtypes.bfloat16).astype(np.float64)
    b = right.astype(ml_dtypes.float8_e4m3).astype(np.float64)
    np.testing.assert_allclose(inside(body), a.T @ b, rtol=1e-4, atol=1e-5)
