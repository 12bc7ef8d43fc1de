"""Functions of nki.language on tiles, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array, inside, numbered, tile
from tuner.nki import NkiValidationError, NotSupportedError
from tuner.nki.tensors.tensor import NkiTensor

RANDOM = np.random.default_rng(3)
X = RANDOM.uniform(0.5, 3, (8, 12)).astype(np.float32)
Y = RANDOM.uniform(-3, 3, (8, 12)).astype(np.float32)


def close(found: NkiTensor, expected: Any, tolerance: float = 1e-6) -> None:
    assert found.buffer == nl.sbuf
    np.testing.assert_allclose(found.read(), expected, rtol=tolerance, atol=tolerance)


UNARY: dict[str, Callable[[Array], Any]] = {
    "abs": np.abs,
    "arctan": np.arctan,
    "copy": lambda x: x,
    "exp": np.exp,
    "negative": np.negative,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sign": np.sign,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sin": np.sin,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "square": np.square,
    "tanh": np.tanh,
    "logical_not": lambda x: x == 0,
}
POSITIVE: dict[str, Callable[[Array], Any]] = {
    "log": np.log,
    "reciprocal": np.reciprocal,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sqrt": np.sqrt,
}


@pytest.mark.parametrize("name", [*UNARY, *POSITIVE])
def test_functions_of_one_tile(name: str) -> None:
    array = X if name in POSITIVE else Y
    if name == "arctan":
        array = np.asarray(array / 2, np.float32)
    expected = {**UNARY, **POSITIVE}[name](array)

    def body() -> None:
        function = getattr(nl, name)
        close(function(tile(array)), expected)
        close(function(tile(array, buffer=nl.psum)), expected)
        half = function(tile(array), dtype=nl.bfloat16)
        assert half.dtype == nl.bfloat16
        close(half, expected.astype(ml_dtypes.bfloat16).astype(np.float32), 0.01)

    inside(body)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": np.power,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_tiles_or_a_number(name: str) -> None:
    expected = BINARY[name]

    def body() -> None:
        function = getattr(nl, name)
        close(function(tile(X), tile(X[::-1])), expected(X, X[::-1]), 1e-5)
        close(function(tile(X), 2.5), expected(X, np.float32(2.5)), 1e-5)
        close(function(2.5, tile(X)), expected(np.float32(2.5), X), 1e-5)
        assert function(tile(X, nl.bfloat16), tile(X)).dtype == nl.bfloat16
        with pytest.raises(NkiValidationError):
            function(tile(X), tile(X[:, :1]))  # no broadcasting between tiles

    inside(body)


def test_the_fourth_generation_compares_magnitudes() -> None:
    def body() -> None:
        close(nl.abs_max(tile(X), tile(Y)), np.where(np.abs(X) >= np.abs(Y), X, Y))

    inside(body, "trn3")
    with pytest.raises(NkiValidationError):
        inside(body, "trn2")


def test_bits() -> None:
    a, b = np.array([[12, 10, -7, 255]]), np.array([[10, 3, 2, 1]])

    def body() -> None:
        x, y = tile(a, nl.int32), tile(b, nl.int32)
        close(nl.bitwise_and(x, y), a & b)
        close(nl.bitwise_or(x, y), a | b)
        close(nl.bitwise_xor(x, 3), a ^ 3)
        close(nl.left_shift(x, y), a << b)
        close(nl.invert(x), ~a)
        close(nl.invert(tile(np.abs(a), nl.uint16)), 65535 - np.abs(a))
        with pytest.raises(NkiValidationError, match="whole numbers"):
            nl.invert(tile(X))

    inside(body)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
    "mean": np.mean,
    "prod": np.prod,
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    array = RANDOM.uniform(0.5, 1.5, (4, 3, 5)).astype(np.float32)

    def body() -> None:
        function, expected = getattr(nl, name), REDUCTIONS[name]
        close(function(tile(array), 2), expected(array, 2), 1e-5)
        close(
            function(tile(array), axis=-1, keepdims=True), expected(array, 2, keepdims=True), 1e-5
        )
        close(function(tile(array), axis=[2, 1]), expected(array, (1, 2))[:, None], 1e-5)
        both = expected(array, (1, 2), keepdims=True)
        close(function(tile(array), axis=(1, 2), keepdims=True), both, 1e-5)
        assert function(tile(array), 2, dtype=nl.bfloat16).dtype == nl.bfloat16
        for axis in (0, 1, (0, 1, 2), 3, ()):
            with pytest.raises(NkiValidationError, match="expected its last free dimensions"):
                function(tile(array), axis)

    inside(body)


def test_all_and_variance() -> None:
    flags = np.array([[1, 2, 3], [1, 0, 1]])

    def body() -> None:
        close(nl.all(tile(flags), 1), [[1], [0]])
        close(nl.var(tile(X), 1), X.var(1, keepdims=True), 1e-5)

    inside(body)


def test_softmax_and_rms_norm() -> None:
    def body() -> None:
        powers = np.exp(Y - Y.max(1, keepdims=True))
        close(nl.softmax(tile(Y)), powers / powers.sum(1, keepdims=True))
        w = X[:1]
        expected = Y / np.sqrt(np.square(Y).mean(1, keepdims=True) + 1e-6)
        close(nl.rms_norm(tile(Y), tile(w), axis=1, n=12), expected * w, 1e-5)
        close(nl.rms_norm(tile(Y), tile(X), axis=1, n=12), expected * X, 1e-5)
        with pytest.raises(NotSupportedError, match="along axes"):
            nl.softmax(tile(numbered((4, 3, 5))), axis=2)

    inside(body)


def test_where() -> None:
    chosen = (Y > 0).astype(np.float32)

    def body() -> None:
        found = nl.where(tile(chosen), tile(X), tile(Y))
        close(found, np.where(chosen, X, Y))
        close(nl.where(tile(chosen), tile(X), 0.0), np.where(chosen, X, 0))
        assert nl.where(tile(chosen), tile(X), tile(Y), dtype=nl.bfloat16).dtype == nl.bfloat16
        with pytest.raises(NkiValidationError, match="takes tiles and numbers"):
            nl.where(tile(chosen), tile(X), "0")

    inside(body)


def test_products_and_transposes() -> None:
    def body() -> None:
        left, right = tile(X, nl.bfloat16), tile(Y, nl.bfloat16)
        found = nl.matmul(left, right, transpose_x=True)
        assert (found.buffer, found.dtype) == (nl.psum, nl.float32)
        np.testing.assert_allclose(found.read(), left.read().T @ right.read(), rtol=1e-5)
        close(nl.transpose(tile(X)), X.T)
        with pytest.raises(NotSupportedError, match="transpose_x=False"):
            nl.matmul(left, right)
        with pytest.raises(NkiValidationError, match="takes two dimensions"):
            nl.transpose(tile(numbered((2, 3, 4))))

    inside(body)


def test_broadcasting() -> None:
    def body() -> None:
        for shape, wide in [
            ((1, 12), (8, 12)),
            ((8, 1), (8, 12)),
            ((1, 1), (8, 12)),
            ((8, 1, 3), (8, 2, 3)),
            ((8, 12), (8, 12)),
        ]:
            array = numbered(shape)
            for buffer in (nl.sbuf, nl.psum):
                found = nl.broadcast_to(tile(array, buffer=buffer), wide)
                np.testing.assert_array_equal(found.read(), np.broadcast_to(array, wide))
        same = tile(X)
        assert nl.broadcast_to(same, X.shape) is same
        assert nl.broadcast_to(same, X.shape, nl.bfloat16).dtype == nl.bfloat16
        assert nl.expand_dims(same, -1).shape == (8, 12, 1)
        assert nl.expand_dims(same, 1).shape == (8, 1, 12)
        with pytest.raises(NkiValidationError, match="cannot broadcast"):
            nl.broadcast_to(same, (8, 13))

    inside(body)


def test_loading_and_storing() -> None:
    def body() -> None:
        x = tile(X, buffer=nl.hbm)
        close(nl.load(x[2:4]), X[2:4])
        assert nl.load(x, dtype=nl.bfloat16).dtype == nl.bfloat16
        close(nl.load_transpose2d(x), X.T)
        assert nl.load_transpose2d(x, nl.bfloat16).dtype == nl.bfloat16
        out = nl.ndarray(X.shape, nl.float32, buffer=nl.shared_hbm)
        nl.store(out, value=nl.load(x))
        np.testing.assert_array_equal(out.read(), X)
        with pytest.raises(NkiValidationError, match="store writes SBUF to HBM"):
            nl.store(out, tile(X, buffer=nl.psum))
        with pytest.raises(NkiValidationError, match="load reads from HBM"):
            nl.load(tile(X))

    inside(body)


def test_filled_tensors() -> None:
    def body() -> None:
        for buffer in (nl.sbuf, nl.psum, nl.hbm):
            for dtype in (nl.bfloat16, nl.int32, nl.uint8):
                assert (nl.zeros((8, 3), dtype, buffer=buffer).read() == 0).all()
                assert (nl.ones((8, 3), dtype, buffer=buffer).read() == 1).all()
                found = nl.full((8, 3), 7, dtype, buffer, "seven")
                assert (found.read() == 7).all()
                assert (found.name, found.dtype, found.buffer) == ("seven", dtype, buffer)
        assert (nl.zeros((300, 3), nl.float32, buffer=nl.hbm).read() == 0).all()
        assert (nl.zeros((5,), nl.float32, buffer=nl.hbm).read() == 0).all()
        like = nl.zeros_like(tile(X, nl.bfloat16, buffer=nl.psum))
        assert (like.shape, like.dtype, like.buffer) == (X.shape, nl.bfloat16, nl.psum)
        like = nl.empty_like(like, dtype=nl.float32, buffer=nl.sbuf)
        assert (like.shape, like.dtype, like.buffer) == (X.shape, nl.float32, nl.sbuf)

    inside(body)


def test_constants() -> None:
    def body() -> None:
        for dtype in (nl.uint8, nl.bfloat16, nl.float32):
            close(nl.shared_identity_matrix(8, dtype), np.eye(8))
        given = nl.ndarray((8, 8), nl.bfloat16)
        assert nl.shared_identity_matrix(8, dst=given) is given
        constant = nl.shared_constant(X)
        assert (constant.buffer, constant.dtype) == (nl.shared_hbm, nl.float32)
        np.testing.assert_array_equal(constant.read(), X)
        with pytest.raises(NkiValidationError, match="float64"):
            nl.shared_constant(X.astype(np.float64))

    inside(body)


def test_tokens_are_the_functions() -> None:
    def body() -> None:
        dst = nl.ndarray(X.shape, nl.float32)
        nisa.tensor_tensor(dst, tile(X), tile(Y), op=nl.add)
        close(dst, X + Y)
        nisa.activation(dst, op=nl.exp, data=tile(Y))
        close(dst, np.exp(Y))
        assert repr(nl.add) == "nl.add"

    inside(body)


def test_functions_take_tiles() -> None:
    def body() -> None:
        exp: Any = nl.exp
        calls: list[Callable[[], Any]] = [
            lambda: exp(tile(X, buffer=nl.hbm)),
            lambda: nl.add(1.0, 2.0),
            lambda: exp(X),
        ]
        for call in calls:
            with pytest.raises(NkiValidationError, match="expected a tile in SBUF or PSUM"):
                call()

    inside(body)
