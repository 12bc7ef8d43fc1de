from __future__ import annotations

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
from tests.nki.tracing import Array, hbm, inside, numbered, psum, sbuf, tile
from tuner.nki import NkiValidationError

ONES = np.ones((128, 1))


def accumulated(*steps: Callable[[Any], None]) -> Array:
    """Runs steps on one PSUM tile of a single element and returns it."""

    def body() -> Array:
        dst = psum(1, 1)
        for step in steps:
            step(dst)
        return dst.read()

    found: Array = inside(body)
    return found


def product(value: float, accumulate: bool | None = None) -> Callable[[Any], None]:
    """A matmul whose result is `value`."""
    return lambda dst: nisa.nc_matmul(dst, tile([[value]]), tile([[1.0]]), accumulate=accumulate)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((None,), 3),
        ((None, None, None), 9),
        ((False, True, True), 9),
        ((False, False), 3),
        ((None, False, None), 6),
    ],
)
def test_accumulate(flags: tuple[bool | None, ...], expected: float) -> None:
    assert accumulated(*(product(3, flag) for flag in flags)) == expected


def test_accumulating_by_default_adds_to_a_memset() -> None:
    assert accumulated(lambda dst: nisa.memset(dst, 0.0), product(3)) == 3
    assert accumulated(lambda dst: nisa.memset(dst, 4.0), product(3)) == 7


def test_accumulating_onto_what_was_never_written_is_an_error() -> None:
    with pytest.raises(NkiValidationError, match="which was never written"):
        accumulated(product(3, accumulate=True))


def test_accumulating_by_default_is_decided_element_by_element() -> None:
    def body() -> Array:
        dst, one = psum(1, 4), tile([[1.0]])
        nisa.nc_matmul(dst[:, 0:2], one, tile([[1.0, 2.0]]))
        nisa.nc_matmul(dst[:, 1:4], one, tile([[10.0, 20.0, 30.0]]))
        return dst.read()

    assert inside(body).tolist() == [[1, 12, 20, 30]]


def test_matmul_accumulates_in_float32() -> None:
    def body() -> Array:
        dst, rows = psum(1, 1), tile(ONES, nl.bfloat16)
        for _ in range(3):
            nisa.nc_matmul(dst, rows, rows)
        nisa.nc_matmul(dst, tile([[1.0]], nl.bfloat16), tile([[2.0**-10]], nl.bfloat16))
        return dst.read()

    assert inside(body) == 3 * 128 + 2.0**-10  # in bfloat16 it would be 384


@settings(max_examples=30)
@given(st.integers(1, 128), st.integers(1, 128), st.integers(1, 512), st.integers(0, 99))
def test_matmul_is_numpy_s(rows: int, columns: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    left, right = random.integers(-8, 9, (rows, columns)), random.integers(-8, 9, (rows, width))

    def body() -> Array:
        dst = psum(columns, width)
        nisa.nc_matmul(dst, tile(left, nl.bfloat16), tile(right, nl.bfloat16))
        return dst.read()

    np.testing.assert_array_equal(inside(body), left.T @ right)


def test_uninitialised_memory_reads_as_nan() -> None:
    def body() -> list[Array]:
        drained, loaded = sbuf(2, 2), sbuf(2, 2)
        nisa.tensor_copy(drained, psum(2, 2))
        nisa.dma_copy(loaded, hbm(2, 2))
        return [sbuf(2, 2).read(), drained.read(), loaded.read()]

    assert all(np.isnan(found).all() for found in inside(body))


def test_copies_cast_and_keep_the_order_of_elements() -> None:
    def body() -> tuple[Array, Array, Array]:
        values = numbered((4, 6)) / 7
        narrow, wide, back = sbuf(4, 2, 3), sbuf(4, 6, dtype=nl.float32), hbm(24, dtype=nl.float32)
        nisa.dma_copy(narrow, tile(values, buffer=nl.hbm))
        nisa.tensor_copy(wide, narrow)
        nisa.dma_copy(back, wide)
        return narrow.read(), wide.read(), back.read()

    narrow, wide, back = inside(body)
    expected = (numbered((4, 6)) / 7).astype(ml_dtypes.bfloat16).astype(np.float32)
    for found in (narrow, wide, back):
        np.testing.assert_array_equal(found.reshape(4, 6), expected)


def test_tensor_tensor_rounds_once() -> None:
    left, right = np.array([[1.0, -3.0, 256.0]]), np.array([[2.0**-9, 5.0, 1.0]])

    def body(name: str) -> Array:
        dst = sbuf(1, 3)
        nisa.tensor_tensor(dst, tile(left, buffer=nl.psum), tile(right), getattr(nl, name))
        return dst.read()

    for name in ("add", "subtract", "multiply", "maximum", "minimum"):
        expected = getattr(np, name)(left, right).astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(inside(partial(body, name)), expected)


def test_activation() -> None:
    x = np.array([[-3.0, -0.5, 0.0, 0.25, 4.0]])
    expected = {
        "copy": x,
        "relu": np.where(x > 0, x, 0),
        "exp": np.exp(x),
        "square": x * x,
        "sigmoid": 1 / (1 + np.exp(-x)),
        "silu": x / (1 + np.exp(-x)),
        "tanh": np.tanh(x),
    }

    def body(name: str) -> Array:
        dst = sbuf(1, 5, dtype=nl.float32)
        nisa.activation(dst, getattr(nl, name), tile(2 * x), scale=0.5)
        return dst.read()

    for name, values in expected.items():
        np.testing.assert_allclose(inside(partial(body, name)), values, 1e-6, err_msg=name)


def test_memset_and_zeros() -> None:
    def body() -> list[Array]:
        third = sbuf(2, 3)
        nisa.memset(third, 1 / 3)
        return [third.read(), nl.zeros((2, 3), nl.float32, buffer=nl.psum).read()]

    third, zeros = inside(body)
    assert (third == np.float32(ml_dtypes.bfloat16(1 / 3))).all()
    assert (zeros == 0).all()
