"""What copies, constants and arithmetic compute, record and refuse."""

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
from tests.nki.tracing import Array, hbm, inside, psum, recorded, refused, sbuf, tile
from tuner.neuroncore.program import ElementwiseWork, Engine, Operand, Space
from tuner.nki import NkiValidationError, NotSupportedError

BF16, F32 = nl.bfloat16, nl.float32
VECTOR, SCALAR, GPSIMD = nisa.vector_engine, nisa.scalar_engine, nisa.gpsimd_engine


def work(body: Callable[[], Any], name: str = "trn2") -> Any:
    """The piece of work of a single instruction."""
    (found,) = recorded(body, name).works
    return found


def result(
    instruction: Callable[..., Any],
    *inputs: Any,
    dtype: str = F32,
    name: str = "trn2",
    shape: Any = None,
) -> Array:
    """What an instruction writes: `inputs` are arrays, or pairs of an array and a dtype."""

    def body() -> Array:
        tiles = [tile(*i) if isinstance(i, tuple) else tile(i) for i in inputs]
        dst = nl.ndarray(shape or tiles[0].shape, dtype)
        instruction(dst, *tiles)
        return dst.read()

    found: Array = inside(body, name)
    return found


# Copies and constants


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (nl.int8, [-128.5, -2.5, -1.5, 0.5, 1.5, 126.5, 1e9], [-128, -2, -2, 0, 2, 126, 127]),
        (nl.uint8, [-3.0, 254.5, 255.4, 1e9], [0, 254, 255, 255]),
        (nl.int32, [2.5, 3.5, -3e9, 3e9], [2, 4, -(2**31), 2**31 - 1]),
        (nl.float8_e4m3, [240.0, 0.3, -17.0], [240, 0.3125, -16]),
        (nl.float8_e4m3fn, [448.0, 0.3, -17.0], [448, 0.3125, -16]),
    ],
)
def test_copy_casts(dtype: str, values: list[float], expected: list[float]) -> None:
    found = result(nisa.tensor_copy, np.array([values]), dtype=dtype)
    assert found.tolist() == [expected]


def test_ieee_like_float8_ends_at_240() -> None:
    beyond = np.array([[300.0, 448.0]])
    assert np.isinf(result(nisa.tensor_copy, beyond, dtype=nl.float8_e4m3)).all()
    assert result(nisa.tensor_copy, beyond, dtype=nl.float8_e4m3fn).tolist() == [[288, 448]]


@pytest.mark.parametrize("dtype", [nl.int32, nl.uint32])
def test_copy_of_equal_dtypes_keeps_every_bit(dtype: str) -> None:
    exact = np.array([[2**31 - 1, 2**24 + 1]])
    assert result(nisa.tensor_copy, (exact, dtype), dtype=dtype).tolist() == exact.tolist()
    through = result(nisa.tensor_copy, (exact, dtype), dtype=F32)
    assert through.tolist() == [[2.0**31, 2.0**24]]


def test_copy_works() -> None:
    def engine(dst: Any, src: Any, name: str = "trn2", **how: Any) -> Engine:
        found = work(lambda: nisa.tensor_copy(dst(8, 8), src(8, 8), **how), name)
        assert isinstance(found, ElementwiseWork)
        return found.engine

    assert engine(sbuf, sbuf) == engine(sbuf, psum) == engine(sbuf, sbuf, "trn1") == Engine.ANY
    assert engine(sbuf, psum, "trn1") == Engine.ANY
    assert engine(sbuf, sbuf, engine=GPSIMD) == Engine.GPSIMD
    assert engine(psum, sbuf, engine=VECTOR) == Engine.VECTOR


def test_copy_work_names_its_operands() -> None:
    def body() -> None:
        nisa.tensor_copy(sbuf(8, 4, 8)[:, :, ::2], psum(8, 16), engine=VECTOR)

    assert work(body) == ElementwiseWork(
        "tensor_copy",
        Engine.VECTOR,
        16,
        (Operand(Space.SBUF, 2, 2), Operand(Space.PSUM, 4, 1)),
    )


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (BF16, 1 / 3, float(ml_dtypes.bfloat16(1 / 3))),
        (F32, 2, 2.0),
        (F32, float("-inf"), float("-inf")),
        (nl.int32, 2**31 - 1, 2**31 - 1),
        (nl.uint8, 255, 255),
    ],
)
def test_memset(dtype: str, value: Any, expected: float) -> None:
    def body() -> Array:
        dst = sbuf(2, 3, dtype=dtype)
        nisa.memset(dst, value)
        return dst.read()

    assert inside(body).tolist() == [[expected] * 3] * 2


def memset(value: Any, dtype: str = BF16, **how: Any) -> Callable[[], Any]:
    return lambda: nisa.memset(sbuf(8, 8, dtype=dtype), value, **how)


def test_memset_work() -> None:
    assert work(memset(0.0)).zero
    assert not work(memset(1.0)).zero
    assert work(memset(0)).engine == Engine.ANY
    assert work(memset(0, engine=GPSIMD)).engine == Engine.GPSIMD
    in_psum = work(lambda: nisa.memset(psum(8, 8), 0.0, engine=GPSIMD))
    assert (in_psum.engine, in_psum.operands) == (Engine.GPSIMD, (Operand(Space.PSUM, 4, 1),))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (memset(2.0, nl.int32), r"memset\(2.0\) of int32: expected a whole number"),
        (memset(256, nl.uint8), r"memset\(256\) of uint8: expected 0 to 255"),
        (memset(-1, nl.uint8), "expected 0 to 255"),
        (memset("0"), "expected a number"),
        (memset(True), "expected a number"),
        (memset(0.0, engine=SCALAR), "memset: ScalarE has no such instruction"),
    ],
)
def test_memset_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("src", [np.array([[10.0, 20.0, 30.0]]), 7.0])
def test_predicated_copy(src: Any, reverse: bool) -> None:
    before, predicate = np.array([[1.0, 2.0, 3.0]]), np.array([[0, 1, 200]])

    def body() -> Array:
        dst = tile(before)
        source = tile(src) if isinstance(src, np.ndarray) else src
        nisa.tensor_copy_predicated(dst, source, tile(predicate, nl.uint8), reverse)
        return dst.read()

    expected = np.where((predicate != 0) ^ reverse, src, before)
    np.testing.assert_array_equal(inside(body), expected)


def predicated(
    dst: Any = sbuf, src: Any = sbuf, dtype: str = nl.uint8, width: int = 8, in_psum: bool = False
) -> Callable[[], Any]:
    predicate = partial(psum if in_psum else sbuf, 8, width, dtype=dtype)
    return lambda: nisa.tensor_copy_predicated(dst(8, 8), src(8, 8), predicate())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (predicated(dtype=nl.int8), "predicate is int8, expected uint8, uint16 or uint32"),
        (predicated(dtype=F32), "predicate is float32"),
        (predicated(src=partial(sbuf, dtype=F32)), "from float32 to bfloat16: it does not cast"),
        (predicated(width=7), "differ"),
        (predicated(psum, psum, nl.uint8, in_psum=True), "at most one input may be in PSUM"),
    ],
)
def test_predicated_copy_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


@pytest.mark.parametrize("rows", [20, 32, 128])
def test_shuffle(rows: int) -> None:
    source, before = np.arange(3.0 * rows).reshape(rows, 3), -np.ones((rows, 3))
    mask = [(5 * i) % 20 if i % 3 else 255 for i in range(32)]

    def body() -> Array:
        dst = tile(before)
        nisa.nc_stream_shuffle(dst, tile(source), mask)
        return dst.read()

    for i, row in enumerate(inside(body)):
        kept = mask[i % 32] == 255
        assert row.tolist() == (before[i] if kept else source[i // 32 * 32 + mask[i % 32]]).tolist()


@pytest.mark.parametrize(
    ("mask", "src", "message"),
    [
        (range(31), (32, 8), "expected 32 numbers below 32"),
        ([32] * 32, (32, 8), "expected 32 numbers below 32"),
        (range(32), (32, 7), "differ"),
        ([20] * 32, (16, 8), "partition 0 of dst comes from 20, src has 16"),
    ],
)
def test_shuffle_refuses(mask: Any, src: tuple[int, int], message: str) -> None:
    refused(lambda: nisa.nc_stream_shuffle(sbuf(32, 8), sbuf(*src), mask), message)
    casts: Any = partial(nisa.nc_stream_shuffle, shuffle_mask=range(32))
    refused(lambda: casts(sbuf(32, 8), sbuf(32, 8, dtype=F32)), "it does not cast")


# Arithmetic

FLOAT_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "maximum": lambda x, y: np.where(x > y, x, y),
    "minimum": lambda x, y: np.where(x < y, x, y),
    "power": lambda x, y: x**y,
    "equal": lambda x, y: x == y,
    "not_equal": lambda x, y: x != y,
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "logical_and": lambda x, y: (x != 0) & (y != 0),
    "logical_or": lambda x, y: (x != 0) | (y != 0),
    "logical_xor": lambda x, y: (x != 0) ^ (y != 0),
}
X = np.array([[1.5, 2.0, 0.0, 256.0, 3.0, 0.5]], np.float32)
Y = np.array([[2.0, 2.0, 0.0, 1.0, -2.0, 0.25]], np.float32)


def test_every_arithmetic_operation_is_looked_at() -> None:
    from tuner.nki.operations import ARITHMETIC

    assert set(FLOAT_OPERATIONS) | {"abs_max", "abs_min"} == set(ARITHMETIC)


@pytest.mark.parametrize("name", FLOAT_OPERATIONS)
@pytest.mark.parametrize("dtype", [F32, BF16])
def test_tensor_tensor(name: str, dtype: str) -> None:
    exact = np.asarray(FLOAT_OPERATIONS[name](X, Y), np.float32)
    expected = exact.astype(ml_dtypes.bfloat16).astype(np.float32) if dtype == BF16 else exact
    operation = partial(nisa.tensor_tensor, op=getattr(nl, name))
    np.testing.assert_allclose(result(operation, X, Y, dtype=dtype), expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("abs_max", [[-5, 4]]), ("abs_min", [[3, 1]])])
def test_magnitudes_are_compared_from_trn3_on(name: str, expected: list[list[float]]) -> None:
    operation = partial(nisa.tensor_tensor, op=getattr(nl, name))
    inputs = np.array([[-5.0, 1.0]]), np.array([[3.0, 4.0]])
    assert result(operation, *inputs, name="trn3").tolist() == expected
    with pytest.raises(NkiValidationError, match=f"trn2 has no nl.{name}"):
        result(operation, *inputs)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "maximum", "less"])
@given(
    left=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=4, max_size=4),
    right=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=4, max_size=4),
)
@settings(max_examples=20, deadline=None)
def test_whole_numbers_are_exact_on_gpsimd(name: str, left: list[int], right: list[int]) -> None:
    operation = partial(nisa.tensor_tensor, op=getattr(nl, name))
    a, b = np.array([left]), np.array([right])
    found = result(operation, (a, nl.int32), (b, nl.int32), dtype=nl.int32)
    expected = np.asarray(FLOAT_OPERATIONS[name](a.astype(object), b.astype(object)))
    wrapped = [(int(v) + 2**31) % 2**32 - 2**31 for v in expected[0]]
    assert found.tolist() == [wrapped]


def test_whole_numbers_on_vector_go_through_float32() -> None:
    inputs = [(np.array([[2**24]]), nl.int32), (np.array([[1]]), nl.int32)]
    add = partial(nisa.tensor_tensor, op=nl.add)
    assert result(add, *inputs, dtype=nl.int32).tolist() == [[2**24 + 1]]
    on_vector = partial(add, engine=VECTOR)
    assert result(on_vector, *inputs, dtype=nl.int32).tolist() == [[2**24]]
    assert result(partial(add, engine=GPSIMD), *inputs, dtype=nl.int32).tolist() == [[2**24 + 1]]


def tensor_tensor(
    op: Any = nl.add,
    dst: Any = sbuf,
    first: Any = sbuf,
    second: Any = sbuf,
    dtype: str = BF16,
    **how: Any,
) -> Callable[[], Any]:
    def body() -> None:
        views = [buffer(8, 8, dtype=dtype) for buffer in (dst, first, second)]
        nisa.tensor_tensor(views[0], views[1], views[2], op, **how)

    return body


@pytest.mark.parametrize(
    ("body", "engine"),
    [
        (tensor_tensor(), Engine.ANY),
        (tensor_tensor(first=psum), Engine.VECTOR),
        (tensor_tensor(dst=psum), Engine.VECTOR),
        (tensor_tensor(nl.power), Engine.GPSIMD),
        (tensor_tensor(dtype=nl.int32), Engine.GPSIMD),
        (tensor_tensor(dtype=nl.uint32, second=psum), Engine.VECTOR),
        (tensor_tensor(nl.bitwise_and, dtype=nl.int32), Engine.VECTOR),
        (tensor_tensor(dtype=nl.int32, engine=VECTOR), Engine.VECTOR),
        (tensor_tensor(engine=GPSIMD), Engine.GPSIMD),
    ],
)
def test_tensor_tensor_engine(body: Callable[[], Any], engine: Engine) -> None:
    found = work(body)
    assert (found.opcode, found.engine, found.elements) == ("tensor_tensor", engine, 8)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (tensor_tensor(first=psum, second=psum), "at most one input may be in PSUM"),
        (tensor_tensor(nl.power, dst=psum), "GpSimdE cannot reach PSUM"),
        (tensor_tensor(first=psum, engine=GPSIMD), "GpSimdE cannot reach PSUM"),
        (tensor_tensor(engine=SCALAR), "ScalarE cannot combine two tensors"),
        (tensor_tensor(engine=nisa.tensor_engine), "TensorE has no such instruction"),
        (tensor_tensor(nl.bitwise_or), "nl.bitwise_or needs whole numbers"),
        (tensor_tensor(np.add), "expected an operation of nki.language"),
        (tensor_tensor("add"), "expected an operation of nki.language"),
        (tensor_tensor(first=hbm), "is in HBM"),
    ],
)
def test_tensor_tensor_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


@pytest.mark.parametrize("op", [nl.divide, nl.mod, nl.exp, nl.invert, nl.abs, nl.bypass])
def test_operations_that_an_engine_does_not_have(op: Any) -> None:
    with pytest.raises(NotSupportedError, match=r"nki\.isa\.tensor_tensor\(op=nl\."):
        inside(tensor_tensor(op), numeric=False)


BITS: dict[str, Callable[[Any, Any], Any]] = {
    "bitwise_and": lambda x, y: x & y,
    "bitwise_or": lambda x, y: x | y,
    "bitwise_xor": lambda x, y: x ^ y,
    "left_shift": lambda x, y: x << y,
    "right_shift": lambda x, y: x >> y,
}


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("dtype", [nl.uint8, nl.uint16, nl.uint32])
def test_bitwise(name: str, dtype: str) -> None:
    a, b = np.array([[1, 2, 200, 77]]), np.array([[3, 0, 1, 5]])
    bits = 8 * np.dtype(dtype).itemsize
    expected = (BITS[name](a, b) % 2**bits).tolist()
    by_tile = partial(nisa.tensor_tensor, op=getattr(nl, name))
    assert result(by_tile, (a, dtype), (b, dtype), dtype=dtype).tolist() == expected

    def by_column(dst: Any, data: Any, column: Any) -> None:
        nisa.tensor_scalar(dst, data, getattr(nl, name), column)

    found = result(by_column, (a.T, dtype), (b.T, dtype), dtype=dtype)
    assert found.T.tolist() == expected


def test_right_shift_brings_in_zeros() -> None:
    shifted = partial(nisa.tensor_scalar, op0=nl.right_shift, operand0=1)
    found = result(shifted, (np.array([[-2, 4]]), nl.int8), dtype=nl.int8)
    assert found.tolist() == [[127, 2]]


def test_two_bitwise_steps_and_reversed_sides() -> None:
    steps = partial(
        nisa.tensor_scalar, op0=nl.invert, operand0=None, op1=nl.bitwise_and, operand1=15
    )
    found = result(steps, (np.array([[5, 250]]), nl.uint8), dtype=nl.uint8)
    assert found.tolist() == [[10, 5]]
    reversed_shift = partial(nisa.tensor_scalar, op0=nl.left_shift, operand0=1, reverse0=True)
    found = result(reversed_shift, (np.array([[3, 5]]), nl.uint8), dtype=nl.uint8)
    assert found.tolist() == [[8, 32]]


DATA = np.array([[1.0, -2.0, 4.0], [0.5, 8.0, -16.0]], np.float32)
COLUMN = np.array([[3.0], [0.25]], np.float32)


@pytest.mark.parametrize("name", set(FLOAT_OPERATIONS) - {"power"})
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("operand", [2, 2.5, COLUMN])
def test_tensor_scalar(name: str, reverse: bool, operand: Any) -> None:
    def body() -> Array:
        dst = sbuf(2, 3, dtype=F32)
        other = tile(operand) if isinstance(operand, np.ndarray) else operand
        nisa.tensor_scalar(dst, tile(DATA), getattr(nl, name), other, reverse0=reverse)
        return dst.read()

    sides = (operand, DATA) if reverse else (DATA, operand)
    expected = np.broadcast_to(FLOAT_OPERATIONS[name](*sides), DATA.shape)
    np.testing.assert_allclose(inside(body), expected.astype(np.float32), rtol=1e-6)


def test_tensor_scalar_in_two_steps_rounds_once() -> None:
    def body() -> Array:
        dst = sbuf(2, 3)
        nisa.tensor_scalar(
            dst,
            tile(DATA),
            nl.subtract,
            tile(COLUMN),
            reverse0=True,
            op1=nl.multiply,
            operand1=1 / 3,
        )
        return dst.read()

    exact = ((COLUMN - DATA) * np.float32(1 / 3)).astype(np.float32)
    np.testing.assert_array_equal(inside(body), exact.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("abs", np.abs(DATA)),
        ("square", DATA * DATA),
        ("relu", np.where(DATA > 0, DATA, 0)),
        ("reciprocal", 1 / DATA),
        ("rsqrt", 1 / np.sqrt(np.where(DATA > 0, DATA, np.nan))),
        ("bypass", DATA),
    ],
)
@pytest.mark.parametrize("operand", [None, 0, 0.0])
def test_tensor_scalar_of_one_side(name: str, expected: Array, operand: Any) -> None:
    op = partial(nisa.tensor_scalar, op0=getattr(nl, name), operand0=operand)
    np.testing.assert_allclose(result(op, DATA), expected, rtol=1e-6)


def tensor_scalar(
    op0: Any = nl.multiply,
    operand0: Any = 2.0,
    op1: Any = None,
    operand1: Any = None,
    data: Any = sbuf,
    dtype: str = BF16,
    **how: Any,
) -> Callable[[], Any]:
    def body() -> None:
        first, second = (o() if callable(o) else o for o in (operand0, operand1))
        nisa.tensor_scalar(
            sbuf(8, 8, dtype=dtype),
            data(8, 8, dtype=dtype),
            op0,
            first,
            op1=op1,
            operand1=second,
            **how,
        )

    return body


def column(dtype: str = F32, shape: tuple[int, ...] = (8, 1)) -> Callable[[], Any]:
    return lambda: sbuf(*shape, dtype=dtype)


@pytest.mark.parametrize(
    ("body", "engine"),
    [
        (tensor_scalar(), Engine.ANY),
        (tensor_scalar(op1=nl.add, operand1=1.0), Engine.ANY),
        (tensor_scalar(nl.add), Engine.ANY),
        (tensor_scalar(nl.add, op1=nl.multiply, operand1=1.0), Engine.VECTOR),
        (tensor_scalar(nl.subtract), Engine.VECTOR),
        (tensor_scalar(engine=SCALAR), Engine.SCALAR),
        (tensor_scalar(nl.rsqrt, None), Engine.GPSIMD),
        (tensor_scalar(nl.rsqrt, None, data=psum), Engine.VECTOR),
        (tensor_scalar(nl.add, 1e-6, nl.rsqrt, engine=GPSIMD), Engine.GPSIMD),
        (tensor_scalar(nl.bitwise_and, 3, dtype=nl.int32), Engine.VECTOR),
    ],
)
def test_tensor_scalar_engine(body: Callable[[], Any], engine: Engine) -> None:
    found = work(body)
    assert (found.opcode, found.engine, len(found.operands)) == ("tensor_scalar", engine, 2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (tensor_scalar(nl.subtract, engine=SCALAR), "ScalarE has no such instruction"),
        (tensor_scalar(nl.add, 1.0, nl.add, 1.0, engine=SCALAR), "ScalarE has no such"),
        (tensor_scalar(engine=GPSIMD), "GpSimdE has no such instruction"),
        (tensor_scalar(nl.rsqrt, None, data=psum, engine=GPSIMD), "GpSimdE cannot reach PSUM"),
        (
            tensor_scalar(nl.bitwise_and, 3, dtype=nl.int32, engine=GPSIMD),
            "GpSimdE has no such instruction",
        ),
        (tensor_scalar(nl.bitwise_and, 3), "nl.bitwise_and needs whole numbers"),
        (tensor_scalar(nl.bitwise_and, 3.0, dtype=nl.int32), "is no whole number"),
        (tensor_scalar(nl.bitwise_and, 3, nl.add, 1, dtype=nl.int32), "are not both bitwise"),
        (tensor_scalar(nl.add, 3, nl.left_shift, 1, dtype=nl.int32), "are not both bitwise"),
        (tensor_scalar(operand0=column(BF16)), "operand0 is bfloat16, expected float32"),
        (tensor_scalar(op1=nl.add, operand1=column(BF16)), "operand1 is bfloat16"),
        (tensor_scalar(operand0=column(shape=(8, 2))), r"is \[8, 2\], expected \[8, 1\]"),
        (tensor_scalar(operand0=column(shape=(4, 1))), r"is \[4, 1\], expected \[8, 1\]"),
        (
            tensor_scalar(nl.bitwise_and, column(F32), dtype=nl.int32),
            "operand0 of nl.bitwise_and is float32",
        ),
        (tensor_scalar(nl.abs, 2.0), "nl.abs takes no operand0, expected None or 0"),
        (tensor_scalar(operand0=None), "nl.multiply needs operand0"),
        (tensor_scalar(operand1=1.0), "operand1 without an operation"),
        (tensor_scalar(operand0="2"), "operand0='2' is no tensor and no number"),
    ],
)
def test_tensor_scalar_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("operand", [0.5, COLUMN])
def test_scalar_tensor_tensor(operand: Any, reverse: bool) -> None:
    other = np.array([[7.0, 1.0, -1.0], [2.0, 4.0, 0.5]], np.float32)

    def body() -> Array:
        dst = sbuf(2, 3)
        first = tile(operand) if isinstance(operand, np.ndarray) else operand
        nisa.scalar_tensor_tensor(
            dst,
            tile(DATA),
            nl.subtract,
            first,
            nl.subtract,
            tile(other),
            reverse0=reverse,
            reverse1=reverse,
        )
        return dst.read()

    exact = other - (operand - DATA) if reverse else (DATA - operand) - other
    np.testing.assert_array_equal(inside(body), exact.astype(ml_dtypes.bfloat16))


def three(
    op0: Any = nl.multiply,
    operand0: Any = 2.0,
    op1: Any = nl.add,
    data: Any = sbuf,
    second: Any = sbuf,
) -> Callable[[], Any]:
    def body() -> None:
        first = operand0() if callable(operand0) else operand0
        nisa.scalar_tensor_tensor(sbuf(8, 8), data(8, 8), op0, first, op1, second(8, 8))

    return body


def test_scalar_tensor_tensor_work() -> None:
    found = work(three(nl.abs, None, data=psum))
    assert (found.opcode, found.engine) == ("scalar_tensor_tensor", Engine.VECTOR)
    assert [operand.space for operand in found.operands] == [Space.SBUF, Space.PSUM, Space.SBUF]
    assert work(three(operand0=column(BF16))).engine == Engine.VECTOR


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (three(data=psum, second=psum), "at most one input may be in PSUM"),
        (three(nl.bitwise_and), "nl.bitwise_and is not arithmetic"),
        (three(op1=nl.left_shift), "nl.left_shift is not arithmetic"),
        (three(operand0=column(shape=(8, 2))), r"operand0 is \[8, 2\]"),
        (three(operand0=None), "nl.multiply needs operand0"),
    ],
)
def test_scalar_tensor_tensor_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


def test_reciprocal() -> None:
    values = np.array([[2.0, -0.5, np.inf, 0.0, 3.0]], np.float32)
    with np.errstate(divide="ignore"):
        expected = 1 / values
    np.testing.assert_array_equal(result(nisa.reciprocal, values), expected)
    found = work(lambda: nisa.reciprocal(sbuf(8, 8), psum(8, 8)))
    assert (found.opcode, found.engine) == ("reciprocal", Engine.VECTOR)


def test_shapes_may_differ_as_long_as_partitions_and_elements_do_not() -> None:
    def body() -> Array:
        dst = sbuf(2, 3, 2, dtype=F32)
        nisa.tensor_tensor(dst, tile(np.ones((2, 6))), tile(np.ones((2, 2, 3))), nl.add)
        return dst.read()

    assert inside(body).tolist() == np.full((2, 3, 2), 2.0).tolist()


def test_instructions_return_a_handle_that_orders_nothing() -> None:
    def body() -> None:
        first = nisa.memset(sbuf(8, 8), 0.0)
        nisa.memset(sbuf(8, 8), 0.0, name="second").depends_on(first)

    with pytest.raises(NotSupportedError, match="depends_on"):
        inside(body)
