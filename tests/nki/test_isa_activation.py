"""What activation functions compute, record and refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array, inside, psum, recorded, refused, sbuf, tile
from tuner.neuroncore.program import ElementwiseWork, Engine, Operand, Space
from tuner.nki import NotSupportedError
from tuner.nki.operations import ACTIVATIONS

F32, BF16 = nl.float32, nl.bfloat16
CMD = nisa.reduce_cmd


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def normal(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def derivative(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: (function(x + 1e-5) - function(x - 1e-5)) / 2e-5


def gelu_sigmoid(x: float) -> float:
    return x * sigmoid(1.702 * x)


EXPECTED: dict[str, Callable[[float], float]] = {
    "copy": lambda x: x,
    "square": lambda x: x * x,
    "sigmoid": sigmoid,
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: x * normal(x),
    "gelu_dx": derivative(lambda x: x * normal(x)),
    "gelu_apprx_tanh": lambda x: (
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "gelu_apprx_sigmoid": gelu_sigmoid,
    "gelu_apprx_sigmoid_dx": derivative(gelu_sigmoid),
    "silu": lambda x: x * sigmoid(x),
    "silu_dx": derivative(lambda x: x * sigmoid(x)),
    "tanh": math.tanh,
    "softplus": softplus,
    "mish": lambda x: x * math.tanh(softplus(x)),
    "erf": math.erf,
    "erf_dx": derivative(math.erf),
    "exp": math.exp,
    "log": math.log,
    "sin": math.sin,
    "arctan": math.atan,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "sign": lambda x: math.copysign(1.0, x) if x else 0.0,
    "abs": abs,
}
POSITIVE = {"log", "sqrt", "rsqrt"}


def activated(op: Any, values: Any, name: str = "trn2", **how: Any) -> Array:
    def body() -> Array:
        dst = sbuf(*np.shape(values), dtype=F32)
        tensors: dict[str, Any] = {
            k: tile(v) if isinstance(v, np.ndarray) else v for k, v in how.items()
        }
        nisa.activation(dst, op, tile(values), **tensors)
        return dst.read()

    found: Array = inside(body, name)
    return found


def test_every_function_is_looked_at() -> None:
    assert set(EXPECTED) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", EXPECTED)
def test_function(name: str) -> None:
    x = np.array([[-1.5, -0.75, -0.01, 0.1, 0.5, 1.25, 1.5]])
    if name in POSITIVE:
        x = np.abs(x)
    elif name != "sin" and name != "arctan":
        x = np.hstack([x, [[-6.0, 5.0]]])
    expected = [EXPECTED[name](float(np.float32(v))) for v in x[0]]
    found = activated(getattr(nl, name), x)[0]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "at_minus_infinity", "at_infinity"),
    [
        ("silu", 0, np.inf),
        ("gelu", 0, np.inf),
        ("gelu_apprx_tanh", 0, np.inf),
        ("gelu_apprx_sigmoid", 0, np.inf),
        ("mish", 0, np.inf),
        ("silu_dx", 0, 1),
        ("gelu_dx", 0, 1),
        ("gelu_apprx_sigmoid_dx", 0, 1),
        ("erf_dx", 0, 0),
        ("softplus", 0, np.inf),
        ("exp", 0, np.inf),
        ("sigmoid", 0, 1),
        ("tanh", -1, 1),
    ],
)
def test_far_out(name: str, at_minus_infinity: float, at_infinity: float) -> None:
    found = activated(getattr(nl, name), np.array([[-np.inf, np.inf]]))
    np.testing.assert_allclose(found, [[at_minus_infinity, at_infinity]], atol=1e-30)


@pytest.mark.parametrize(
    ("name", "inside_of_range", "outside"),
    [
        ("log", [2.0**-64, 2.0**64], [2.0**-65, 0.0, -1.0, 2.0**65, np.inf]),
        ("sin", [-3.1415, 3.1415], [-3.15, 3.15, 9.0]),
        ("arctan", [-1.57, 1.57], [-1.58, 1.58, 100.0]),
        ("sqrt", [2.0**-116, 2.0**118], [0.0, 2.0**-117, -1.0, 2.0**119]),
        ("rsqrt", [2.0**-87, 2.0**97], [0.0, 2.0**-88, 2.0**98]),
        ("reciprocal", [2.0**-42, -(2.0**-42), 2.0**42], [0.0, 2.0**-43, -(2.0**43), np.inf]),
    ],
)
def test_outside_of_its_range_a_function_is_undefined(
    name: str, inside_of_range: list[float], outside: list[float]
) -> None:
    op = getattr(nl, name)
    expected = [[EXPECTED[name](x) for x in inside_of_range]]
    np.testing.assert_allclose(activated(op, np.array([inside_of_range])), expected, 1e-5, 1e-6)
    assert np.isnan(activated(op, np.array([outside]))).all()


X = np.array([[-1.0, 0.5, 2.0], [3.0, -4.0, 0.25]], np.float32)
COLUMN = np.array([[2.0], [-0.5]], np.float32)


@pytest.mark.parametrize("scale", [0.5, 2, COLUMN])
@pytest.mark.parametrize("bias", [None, 1.5, COLUMN])
def test_scale_and_bias(scale: Any, bias: Any) -> None:
    found = activated(nl.tanh, X, scale=scale, bias=bias)
    expected = np.tanh(X * scale + (0 if bias is None else bias))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_bias_may_have_any_dtype() -> None:
    def body() -> Array:
        dst = sbuf(2, 3, dtype=F32)
        nisa.activation(dst, nl.copy, tile(X), bias=tile(COLUMN, BF16))
        return dst.read()

    np.testing.assert_array_equal(inside(body), X + COLUMN)


def summed(*steps: tuple[CMD, bool]) -> list[list[float]]:
    """What registers hold after activations of X, wherever they are read out."""

    def body() -> list[list[float]]:
        found = []
        for command, out in steps:
            result = sbuf(2, 1, dtype=F32) if out else None
            op = nl.add if command in (CMD.reduce, CMD.reset_reduce) else None
            nisa.activation(
                sbuf(2, 3), nl.copy, tile(X), reduce_op=op, reduce_res=result, reduce_cmd=command
            )
            if result is not None:
                found.append(result.read()[:, 0].tolist())
        return found

    found: list[list[float]] = inside(body)
    return found


SUMS = X.sum(axis=1)


def test_registers_sum_up() -> None:
    assert summed((CMD.reset_reduce, True)) == [SUMS.tolist()]
    assert summed((CMD.reset_reduce, False), (CMD.reduce, True)) == [(2 * SUMS).tolist()]
    assert summed((CMD.reset, False), (CMD.reduce, False), (CMD.idle, True)) == [SUMS.tolist()]
    again = summed((CMD.reset_reduce, True), (CMD.reset, True), (CMD.reset_reduce, True))
    assert again == [SUMS.tolist(), [0, 0], SUMS.tolist()]


def test_registers_hold_nothing_at_first() -> None:
    assert np.isnan(summed((CMD.reduce, True))).all()
    assert np.isnan(summed((CMD.idle, True))).all()


def test_sums_are_of_what_was_not_rounded() -> None:
    x = np.array([[1 + 2.0**-9, 1 + 2.0**-9]])

    def body() -> tuple[Array, Array]:
        dst, total = sbuf(1, 2), sbuf(1, 1, dtype=F32)
        nisa.activation_reduce(dst, nl.copy, tile(x), nl.add, total)
        return dst.read(), total.read()

    dst, total = inside(body)
    assert dst.tolist() == [[1, 1]]
    assert total.tolist() == [[2 + 2.0**-8]]


def test_activation_reduce_takes_scale_and_bias() -> None:
    def body() -> Array:
        total = sbuf(2, 1, dtype=F32)
        nisa.activation_reduce(
            sbuf(2, 3), nl.square, tile(X), nl.add, total, bias=1.0, scale=tile(COLUMN)
        )
        return total.read()

    expected = ((X * COLUMN + 1) ** 2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(inside(body), expected, rtol=1e-6)


def activation(
    op: Any = nl.exp, opcode: Any = nisa.activation, data: Any = sbuf, **how: Any
) -> Callable[[], Any]:
    def body() -> None:
        tensors = {k: v() if isinstance(v, partial) else v for k, v in how.items()}
        opcode(sbuf(8, 16), op, data(8, 16), **tensors)

    return body


def column(dtype: str = F32, *shape: int) -> Any:
    return partial(sbuf, *(shape or (8, 1)), dtype=dtype)


def test_work() -> None:
    (found,) = recorded(activation(data=psum, scale=column(), bias=column(BF16))).works
    operands = (Operand(Space.SBUF, 2, 1), Operand(Space.PSUM, 4, 1))
    assert found == ElementwiseWork("activation", Engine.SCALAR, 16, operands, "exp")
    how = {"reduce_op": nl.add, "reduce_res": column()}
    (found,) = recorded(activation(opcode=nisa.activation_reduce, **how)).works
    assert isinstance(found, ElementwiseWork)
    assert (found.opcode, found.table, found.reduces) == ("activation_reduce", "exp", True)
    (kept,) = recorded(activation(reduce_op=nl.add, reduce_cmd=CMD.reset_reduce)).works
    assert isinstance(kept, ElementwiseWork)
    assert not kept.reduces


def test_columns_are_read_and_the_sum_is_written() -> None:
    how = {"reduce_op": nl.add, "reduce_res": column(), "reduce_cmd": CMD.reset_reduce}
    program = recorded(activation(scale=column(), bias=column(), **how))
    assert np.diff(program.first_access).tolist() == [5]
    assert program.accesses[:, 1].tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("body", "message", "name"),
    [
        (activation(bias=1.0), "bias is a number, expected a column", "trn1"),
        (activation(nl.reciprocal, bias=column()), "nl.reciprocal takes no bias", "trn1"),
        (activation(bias=column(nl.tfloat32)), "bias is tfloat32", "trn2"),
        (activation(bias=column(F32, 8, 2)), r"bias is \[8, 2\], expected \[8, 1\]", "trn2"),
        (activation(scale=column(BF16)), "scale is bfloat16, expected float32", "trn2"),
        (activation(scale=column(F32, 4, 1)), r"scale is \[4, 1\]", "trn2"),
        (activation(scale="1"), "scale='1' is no tensor and no number", "trn2"),
        (
            activation(reduce_op=nl.maximum, reduce_cmd=CMD.reset_reduce),
            "reduce_op=maximum, expected nl.add",
            "trn2",
        ),
        (activation(reduce_cmd=CMD.reduce), "reduce_op=None, expected nl.add", "trn2"),
        (
            activation(reduce_op=nl.add, reduce_cmd=CMD.load_reduce),
            "ScalarE has no reduce_cmd.load_reduce",
            "trn2",
        ),
        (
            activation(reduce_op=nl.add, reduce_res=column(F32, 8, 2)),
            r"reduce_res is \[8, 2\]",
            "trn2",
        ),
    ],
)
def test_refuses(body: Callable[[], Any], message: str, name: str) -> None:
    refused(body, message, name)


def test_trn1_takes_columns_and_no_bias() -> None:
    for body in (activation(bias=column()), activation(), activation(nl.reciprocal)):
        assert len(recorded(body, "trn1")) == 1


def test_functions_that_scalar_does_not_have() -> None:
    for op in (nl.prelu, nl.add, nl.tan):
        with pytest.raises(NotSupportedError, match=r"nki\.isa\.activation\(op=nl\."):
            inside(activation(op), numeric=False)
