"""What reductions, scans and statistics compute, record and refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array, inside, numbered, psum, recorded, refused, sbuf, tile
from tuner.neuroncore.program import ElementwiseWork, Engine
from tuner.nki import NotSupportedError

F32, BF16 = nl.float32, nl.bfloat16
CMD = nisa.reduce_cmd


def work(body: Callable[[], Any], name: str = "trn2") -> ElementwiseWork:
    """The piece of work of a single instruction."""
    (found,) = recorded(body, name).works
    assert isinstance(found, ElementwiseWork)
    return found


REDUCED: dict[str, Callable[[list[float]], float]] = {
    "add": sum,
    "subtract": lambda x: x[0] - sum(x[1:]),
    "multiply": lambda x: float(np.prod(x)),
    "maximum": max,
    "minimum": min,
    "logical_and": lambda x: float(all(x)),
    "logical_or": lambda x: float(any(x)),
    "logical_xor": lambda x: float(sum(map(bool, x)) % 2),
}


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("negate", [False, True])
def test_reduce(name: str, negate: bool) -> None:
    values = np.array([[[1.0, 2.0, 0.0], [3.0, -4.0, 0.5]], [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]])

    def body() -> Array:
        dst = sbuf(2, 2, dtype=F32)
        nisa.tensor_reduce(dst, getattr(nl, name), tile(values), 2, negate=negate)
        return dst.read()

    sign = -1 if negate else 1
    expected = [[sign * REDUCED[name](row.tolist()) for row in block] for block in values]
    np.testing.assert_allclose(inside(body), expected)


@pytest.mark.parametrize("axes", [(3,), (2, 3), (1, 2, 3), (3, 2), 3])
@pytest.mark.parametrize("keepdims", [False, True])
def test_axes(axes: Any, keepdims: bool) -> None:
    values = numbered((2, 3, 4, 5))
    over = axes if isinstance(axes, tuple) else (axes,)
    expected = values.sum(axis=over, keepdims=keepdims).reshape(2, -1)

    def body() -> Array:
        dst = sbuf(*expected.shape, dtype=F32)
        nisa.tensor_reduce(dst, nl.add, tile(values), axes, keepdims=keepdims)
        return dst.read()

    np.testing.assert_array_equal(inside(body), expected)


def test_bitwise_reduction() -> None:
    def body(op: Any) -> Any:
        dst = sbuf(1, 1, dtype=nl.int32)
        nisa.tensor_reduce(dst, op, tile(np.array([[12, 10, 14]]), nl.int32), 1)
        return dst.read().item()

    assert inside(partial(body, nl.bitwise_and)) == 12 & 10 & 14
    assert inside(partial(body, nl.bitwise_or)) == 12 | 10 | 14
    assert inside(partial(body, nl.bitwise_xor)) == 12 ^ 10 ^ 14


def reduce(
    axis: Any = 2, op: Any = nl.add, dst: tuple[int, ...] = (8, 4), dtype: str = BF16, **how: Any
) -> Callable[[], Any]:
    return lambda: nisa.tensor_reduce(
        sbuf(*dst, dtype=dtype), op, sbuf(8, 4, 16, dtype=dtype), axis, **how
    )


def test_reduce_work_walks_over_its_input() -> None:
    found = work(reduce())
    assert (found.opcode, found.engine, found.elements) == ("tensor_reduce", Engine.VECTOR, 64)
    assert len(found.operands) == 2
    assert not found.reduces


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (reduce(axis=1), "expected the last free dimensions by number, up to 2"),
        (reduce(axis=0), "expected the last free dimensions"),
        (reduce(axis=(0, 1, 2)), "expected the last free dimensions"),
        (reduce(axis=-1), "expected the last free dimensions"),
        (reduce(axis=()), "expected the last free dimensions"),
        (reduce(dst=(8, 5)), r"writes \[8, 4\], dst is \[8, 5\]"),
        (reduce(dst=(4, 4)), r"writes \[8, 4\], dst is \[4, 4\]"),
        (reduce(axis=(1, 2)), r"writes \[8, 1\], dst is \[8, 4\]"),
        (reduce(op=nl.bitwise_and), "nl.bitwise_and needs whole numbers"),
        (reduce(op=nl.bitwise_and, dtype=nl.int32, negate=True), "cannot be negated"),
    ],
)
def test_reduce_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


def test_operations_that_do_not_reduce() -> None:
    for op in (nl.less, nl.power, nl.left_shift, nl.abs_max):
        with pytest.raises(NotSupportedError, match=r"tensor_reduce\(op="):
            inside(reduce(op=op), numeric=False)


X = np.array([[1.0, -2.0, 4.0], [0.5, 8.0, -16.0]], np.float32)
COLUMN = np.array([[3.0], [0.25]], np.float32)


@pytest.mark.parametrize(
    ("name", "expected"), [("add", np.sum), ("multiply", np.prod), ("max", np.max), ("min", np.min)]
)
@pytest.mark.parametrize("negate", [False, True])
def test_scalar_reduce(name: str, expected: Callable[..., Any], negate: bool) -> None:
    def body() -> tuple[Array, Array]:
        dst, total = sbuf(2, 3, dtype=F32), sbuf(2, 1, dtype=F32)
        op = getattr(nl, name)
        nisa.tensor_scalar_reduce(
            dst, tile(X), nl.subtract, tile(COLUMN), op, total, reduce_res_negate=negate
        )
        return dst.read(), total.read()

    values, total = inside(body)
    np.testing.assert_array_equal(values, X - COLUMN)
    sign = -1 if negate else 1
    np.testing.assert_allclose(total, sign * expected(X - COLUMN, axis=1, keepdims=True))


def test_vector_registers_go_on_or_are_loaded() -> None:
    def body() -> list[list[float]]:
        found = []
        initial = tile(np.array([[10.0], [20.0]]))
        for how in (
            {},
            {"reduce_cmd": CMD.reduce},
            {"reduce_cmd": CMD.load_reduce, "reduce_init": 100.0},
            {"reduce_cmd": CMD.load_reduce, "reduce_init": initial},
            {},
        ):
            total = sbuf(2, 1, dtype=F32)
            step: Any = partial(nisa.tensor_scalar_reduce, sbuf(2, 3), tile(X), nl.add, 0.0)
            step(nl.add, total, **how)
            found.append(total.read()[:, 0].tolist())
        return found

    a, b = X.sum(axis=1).tolist()
    assert inside(body) == [[a, b], [2 * a, 2 * b], [a + 100, b + 100], [a + 10, b + 20], [a, b]]


def test_registers_of_the_engines_are_apart_and_so_are_lanes() -> None:
    def body() -> list[Any]:
        whole = nl.ndarray((64, 1), F32)
        nisa.memset(whole, 0.0)
        top, low = whole[0:32], whole[32:64]
        results = [sbuf(32, 1, dtype=F32) for _ in range(3)]
        nisa.tensor_scalar_reduce(sbuf(32, 1), top, nl.add, 1.0, nl.add)
        nisa.tensor_scalar_reduce(sbuf(32, 1), low, nl.add, 2.0, nl.add)
        nisa.activation(
            sbuf(32, 1), nl.copy, top, bias=5.0, reduce_op=nl.add, reduce_cmd=CMD.reset_reduce,
            reduce_res=results[0],
        )  # fmt: skip
        for data, result in zip((top, low), results[1:], strict=True):
            nisa.tensor_scalar_reduce(
                sbuf(32, 1), data, nl.add, 0.0, nl.add, result, reduce_cmd=CMD.reduce
            )
        return [result.read()[0, 0] for result in results]

    assert inside(body) == [5, 1, 2]


def scalar_reduce(
    op0: Any = nl.add, reduce_op: Any = nl.add, result: Any = (8, 1), **how: Any
) -> Callable[[], Any]:
    def body() -> None:
        tensors = {k: v() if isinstance(v, partial) else v for k, v in how.items()}
        nisa.tensor_scalar_reduce(
            sbuf(8, 8),
            sbuf(8, 8),
            op0,
            tensors.pop("operand0", 1.0),
            reduce_op,
            None if result is None else sbuf(*result, dtype=F32),
            **tensors,
        )

    return body


def test_scalar_reduce_work_says_whether_registers_are_read() -> None:
    found = work(scalar_reduce())
    assert (found.opcode, found.engine) == ("tensor_scalar_reduce", Engine.VECTOR)
    assert (found.elements, found.reduces) == (8, True)
    assert not work(scalar_reduce(result=None)).reduces


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (scalar_reduce(nl.bitwise_and), "nl.bitwise_and is not arithmetic"),
        (scalar_reduce(reduce_op=nl.subtract), "reduce_op=nl.subtract, expected nl.add, multiply"),
        (scalar_reduce(reduce_cmd=CMD.idle), "it has no reduce_cmd.idle"),
        (scalar_reduce(reduce_init=1.0), "reduce_init goes with reduce_cmd.load_reduce"),
        (scalar_reduce(reduce_cmd=CMD.load_reduce), "reduce_init goes with"),
        (
            scalar_reduce(reduce_cmd=CMD.load_reduce, reduce_init=partial(sbuf, 8, 1)),
            "reduce_init is bfloat16, expected float32",
        ),
        (scalar_reduce(operand0=partial(sbuf, 8, 1)), "operand0 is bfloat16, expected float32"),
        (scalar_reduce(result=(8, 2)), r"reduce_res is \[8, 2\], expected \[8, 1\]"),
    ],
)
def test_scalar_reduce_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


def test_scalar_reduce_does_not_turn_sides() -> None:
    with pytest.raises(NotSupportedError, match="reverse0=True"):
        inside(scalar_reduce(reverse0=True))


FLOATS = st.floats(-4, 4, width=16)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=6),
    FLOATS,
    st.booleans(),
    st.booleans(),
)
def test_scan(
    pairs: list[tuple[float, float]], initial: float, reverse0: bool, reverse1: bool
) -> None:
    data = np.array([pairs], np.float32)

    def body() -> Array:
        dst = sbuf(1, len(pairs), dtype=F32)
        first, second = tile(data[:, :, 0]), tile(data[:, :, 1])
        nisa.tensor_tensor_scan(
            dst, first, second, initial, nl.multiply, nl.subtract, reverse0, reverse1
        )
        return dst.read()

    held, expected = np.float32(initial), []
    for a, b in data[0]:
        product = a * held
        held = b - product if reverse1 else product - b
        expected.append(held)
    np.testing.assert_array_equal(inside(body), [expected])


def test_scan_of_non_commutative_operations_from_a_column() -> None:
    def body(reverse: bool) -> Array:
        dst = sbuf(2, 3, dtype=F32)
        ones = tile(np.ones((2, 3)))
        nisa.tensor_tensor_scan(
            dst, tile(X), ones, tile(COLUMN), nl.subtract, nl.multiply, reverse0=reverse
        )
        return dst.read()

    held, forward, backward = COLUMN[:, 0], [], []
    other = held
    for i in range(3):
        held, other = X[:, i] - held, other - X[:, i]
        forward.append(held)
        backward.append(other)
    np.testing.assert_array_equal(inside(partial(body, False)), np.array(forward).T)
    np.testing.assert_array_equal(inside(partial(body, True)), np.array(backward).T)


def scan(
    op0: Any = nl.multiply, first: Any = sbuf, second: Any = sbuf, initial: Any = 0.0
) -> Callable[[], Any]:
    def body() -> None:
        start = initial() if isinstance(initial, partial) else initial
        nisa.tensor_tensor_scan(sbuf(8, 8), first(8, 8), second(8, 8), start, op0, nl.add)

    return body


def test_scan_work() -> None:
    found = work(scan(first=psum, initial=partial(sbuf, 8, 1)))
    assert (found.opcode, found.engine, found.elements) == ("tensor_tensor_scan", Engine.VECTOR, 8)
    assert len(found.operands) == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (scan(first=psum, second=psum), "at most one input may be in PSUM"),
        (scan(nl.bitwise_and), "nl.bitwise_and is not arithmetic"),
        (scan(initial=partial(sbuf, 8, 2)), r"initial is \[8, 2\], expected \[8, 1\]"),
        (scan(initial="0"), "initial='0' is no tensor and no number"),
    ],
)
def test_scan_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("add", np.cumsum(X * 2, axis=1)),
        ("multiply", np.cumprod(X * 2, axis=1)),
        ("maximum", np.maximum.accumulate(X * 2, axis=1)),
        ("minimum", np.minimum.accumulate(X * 2, axis=1)),
    ],
)
def test_cumulative(name: str, expected: Array) -> None:
    def body() -> Array:
        dst = sbuf(2, 3, dtype=F32)
        nisa.tensor_scalar_cumulative(dst, tile(X), nl.multiply, getattr(nl, name), 2.0)
        return dst.read()

    np.testing.assert_array_equal(inside(body), expected)


def test_cumulative_goes_on_or_is_loaded() -> None:
    def body() -> list[Any]:
        found = []
        hows: list[dict[str, Any]] = [
            {},
            {"reduce_cmd": CMD.reduce},
            {"reduce_cmd": CMD.load_reduce, "imm1": 9.0},
        ]
        for how in hows:
            dst = sbuf(2, 3, dtype=F32)
            nisa.tensor_scalar_cumulative(dst, tile(X), nl.add, nl.add, 0.0, **how)
            found.append(dst.read()[:, -1].tolist())
        return found

    a, b = X.sum(axis=1).tolist()
    assert inside(body) == [[a, b], [2 * a, 2 * b], [a + 9, b + 9]]


def cumulative(
    op0: Any = nl.add, op1: Any = nl.add, dtype: str = BF16, **how: Any
) -> Callable[[], Any]:
    return lambda: nisa.tensor_scalar_cumulative(
        sbuf(8, 8, dtype=dtype), sbuf(8, 8, dtype=dtype), op0, op1, 1.0, **how
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (cumulative(nl.bitwise_and), "op0=nl.bitwise_and"),
        (cumulative(op1=nl.less), "op1=nl.less"),
        (cumulative(dtype=nl.int32), "has 32-bit whole numbers"),
        (cumulative(imm1=1.0), "imm1 goes with reduce_cmd.load_reduce"),
        (cumulative(reduce_cmd=CMD.idle), "it has no reduce_cmd.idle"),
    ],
)
def test_cumulative_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


@pytest.mark.parametrize("size", [1, 2, 7, 512])
def test_bn_stats(size: int) -> None:
    values = np.random.default_rng(size).standard_normal((3, size)).astype(np.float32)

    def body() -> tuple[Array, Array]:
        stats, result = sbuf(3, 6, dtype=F32), sbuf(3, 2, dtype=F32)
        nisa.bn_stats(stats, tile(values))
        nisa.bn_aggr(result, stats)
        return stats.read(), result.read()

    stats, result = inside(body)
    for first in (0, 1):
        part = values[:, first::2].astype(np.float64)
        if part.shape[1]:
            expected = np.stack(
                [np.full(3, part.shape[1]), part.mean(axis=1), part.var(axis=1) * part.shape[1]],
                axis=1,
            )
            found = stats[:, 3 * first : 3 * first + 3]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result[:, 0], values.mean(axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result[:, 1], values.var(axis=1), rtol=1e-4, atol=1e-6)


def test_bn_aggr_joins_several() -> None:
    values = np.random.default_rng(0).standard_normal((2, 700)).astype(np.float32)

    def body() -> Array:
        stats, result = sbuf(2, 2, 6, dtype=F32), sbuf(2, 2, dtype=F32)
        data = tile(values)
        nisa.bn_stats(stats[:, 0, :], data[:, 0:512])
        nisa.bn_stats(stats[:, 1, :], data[:, 512:700])
        nisa.bn_aggr(result, stats)
        return result.read()

    expected = np.stack([values.mean(axis=1), values.var(axis=1)], axis=1)
    np.testing.assert_allclose(inside(body), expected, rtol=1e-4, atol=1e-5)


def test_max8() -> None:
    values = np.random.default_rng(0).permutation(40).reshape(2, 4, 5)

    def body() -> Array:
        dst = sbuf(2, 8, dtype=F32)
        nisa.max8(dst, tile(values))
        return dst.read()

    expected = [sorted(row.reshape(-1).tolist(), reverse=True)[:8] for row in values]
    assert inside(body).tolist() == expected


@pytest.mark.parametrize(
    ("opcode", "dst", "data"), [("bn_stats", 6, 512), ("bn_aggr", 2, 9), ("max8", 8, 64)]
)
def test_statistics_work(opcode: str, dst: int, data: int) -> None:
    found = work(lambda: getattr(nisa, opcode)(sbuf(8, dst), sbuf(8, data)))
    assert (found.opcode, found.engine, found.elements) == (opcode, Engine.VECTOR, data)


@pytest.mark.parametrize(
    ("opcode", "dst", "data", "message"),
    [
        ("bn_stats", 6, 513, "bn_stats of 513 elements, at most 512"),
        ("bn_stats", 5, 512, r"writes \[8, 6\], dst is \[8, 5\]"),
        ("bn_aggr", 2, 8, "expected a multiple of 3"),
        ("bn_aggr", 3, 6, r"writes \[8, 2\]"),
        ("max8", 8, 7, "expected 8 to 16384 elements"),
        ("max8", 7, 8, r"writes \[8, 8\]"),
    ],
)
def test_statistics_refuse(opcode: str, dst: int, data: int, message: str) -> None:
    refused(lambda: getattr(nisa, opcode)(sbuf(8, dst), sbuf(8, data)), message)


def test_exponential() -> None:
    def body() -> list[Array]:
        found = []
        hows: list[dict[str, Any]] = [
            {"reduce_cmd": CMD.reset_reduce},
            {"reduce_cmd": CMD.reduce},
            {"reduce_cmd": CMD.load_reduce, "reduce_init": 100.0},
        ]
        for how in hows:
            dst, total = sbuf(2, 3, dtype=F32), sbuf(2, 1, dtype=F32)
            nisa.exponential(dst, tile(X), tile(COLUMN), total, **how)
            found += [dst.read(), total.read()]
        return found

    first, once, _, twice, _, loaded = inside(body, "trn3")
    expected = np.exp(X - COLUMN)
    total = expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(first, expected, rtol=1e-6)
    for found, wanted in ((once, total), (twice, 2 * total), (loaded, 100 + total)):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def exponential(**how: Any) -> Callable[[], Any]:
    def body() -> None:
        tensors: dict[str, Any] = {k: v() if isinstance(v, partial) else v for k, v in how.items()}
        nisa.exponential(sbuf(8, 8), sbuf(8, 8), **tensors)

    return body


@pytest.mark.parametrize(
    ("body", "message", "name"),
    [
        (exponential(), "trn2 has no such instruction", "trn2"),
        (exponential(reduce_init=1.0), "reduce_init goes with reduce_cmd.load_reduce", "trn3"),
        (exponential(max_value=partial(sbuf, 8, 1)), "is bfloat16, expected float32", "trn3"),
        (exponential(reduce_res=partial(sbuf, 8, 2)), r"reduce_res is \[8, 2\]", "trn3"),
    ],
)
def test_exponential_refuses(body: Callable[[], Any], message: str, name: str) -> None:
    refused(body, message, name)


def test_exponential_work() -> None:
    (found,) = recorded(exponential(), "trn3").works
    assert isinstance(found, ElementwiseWork)
    assert (found.opcode, found.engine, found.reduces) == ("exponential", Engine.VECTOR, False)
