from __future__ import annotations

from functools import partial

import ml_dtypes
import numpy as np

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array, hbm, inside, numbered, psum, sbuf, tile


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
