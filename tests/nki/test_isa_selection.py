"""What patterns and selections compute, record and refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array, inside, numbered, psum, recorded, refused, sbuf, tile
from tuner.neuroncore.program import ElementwiseWork, Engine

F32, BF16 = nl.float32, nl.bfloat16
CMD = nisa.reduce_cmd
LOWEST = np.finfo(np.float32).min
Pattern = list[tuple[int, int]]


def work(body: Callable[[], Any]) -> ElementwiseWork:
    """The piece of work of a single instruction."""
    (found,) = recorded(body).works
    assert isinstance(found, ElementwiseWork)
    return found


def affine(partitions: int, pattern: Pattern, offset: int, multiplier: int) -> list[list[int]]:
    """Values of a pattern, written as its definition says."""
    return [
        [
            offset + p * multiplier + sum(i * s for i, (s, _) in zip(place, pattern, strict=True))
            for place in product(*[range(count) for _, count in pattern])
        ]
        for p in range(partitions)
    ]


PATTERNS = st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 3)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(PATTERNS, st.integers(-5, 5), st.integers(-5, 5))
def test_iota(pattern: Pattern, offset: int, multiplier: int) -> None:
    size = int(np.prod([count for _, count in pattern]))

    def body() -> Array:
        dst = sbuf(3, size, dtype=nl.int32)
        nisa.iota(dst, [list(pair) for pair in pattern], offset, multiplier)
        return dst.read()

    assert inside(body).tolist() == affine(3, pattern, offset, multiplier)


def test_iota_casts_and_fills_any_shape() -> None:
    def body() -> Array:
        dst = sbuf(1, 2, 3)
        nisa.iota(dst, [[100, 6]], offset=1)
        return dst.read()

    assert inside(body).tolist() == [[[1, 101, 201], [300, 400, 500]]]  # rounded to bfloat16


@pytest.mark.parametrize("comparison", ["equal", "not_equal", "less", "greater_equal", "greater"])
def test_affine_select(comparison: str) -> None:
    values = numbered((4, 6)) / 7
    pattern: Pattern = [(-1, 6)]

    def body() -> Array:
        dst = sbuf(4, 6, dtype=F32)
        op = getattr(nl, comparison)
        nisa.affine_select(dst, [[-1, 6]], 1, tile(values), -1e9, cmp_op=op, offset=1)
        return dst.read()

    chosen = getattr(np, comparison)(np.array(affine(4, pattern, 1, 1)), 0)
    np.testing.assert_array_equal(inside(body), np.where(chosen, values, np.float32(-1e9)))


def test_affine_select_of_whole_numbers_keeps_every_bit() -> None:
    def body() -> Array:
        dst = sbuf(1, 2, dtype=nl.int32)
        source = tile(np.array([[2**31 - 1, 7]]), nl.int32)
        nisa.affine_select(dst, [[1, 2]], 0, source, 5.0)
        return dst.read()

    assert inside(body).tolist() == [[2**31 - 1, 5]]


def test_affine_select_saturates_what_it_fills_in() -> None:
    def body() -> Array:
        dst = sbuf(1, 2, dtype=nl.int8)
        nisa.affine_select(dst, [[1, 2]], 0, tile(np.array([[3, 4]]), nl.int8), -1e9)
        return dst.read()

    assert inside(body).tolist() == [[3, -128]]


def test_patterns_may_begin_where_a_loop_is() -> None:
    def body() -> Any:
        found = []
        for i in range(4):
            dst = sbuf(2, 3, dtype=F32)
            nisa.iota(dst, [[i, 3]], offset=10 * i)
            nisa.affine_select(dst, [[1, 3]], 0, dst, 0.0, nl.greater_equal, offset=-i)
            found.append(dst)
        return found[-1].read() if len(found) == 4 else None

    assert inside(body).tolist() == [[0, 0, 0]] * 2
    assert len(recorded(lambda: [nisa.iota(sbuf(8, 8), [[1, 8]], i) for i in range(4)])) == 4


def test_pattern_works() -> None:
    made = work(lambda: nisa.iota(sbuf(8, 8), [[1, 8]]))
    assert (made.opcode, made.engine, made.elements) == ("iota", Engine.GPSIMD, 8)
    chosen = work(lambda: nisa.affine_select(sbuf(8, 8), [[1, 8]], 0, sbuf(8, 8), 0.0))
    assert (chosen.opcode, chosen.engine) == ("affine_select", Engine.GPSIMD)
    assert len(chosen.operands) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda: nisa.iota(psum(8, 8), [[1, 8]]), "is not in SBUF"),
        (lambda: nisa.iota(sbuf(8, 8), [[1, 7]]), "a pattern of 7 elements in 1 dimensions"),
        (lambda: nisa.iota(sbuf(8, 8), [[1, 2]] * 3 + [[1, 1]] * 2), "in at most 4"),
        (lambda: nisa.iota(sbuf(8, 1), []), "in at most 4"),
        (
            lambda: nisa.affine_select(sbuf(8, 8), [[1, 8]], 0, psum(8, 8), 0.0),
            "is not in SBUF",
        ),
        (
            lambda: nisa.affine_select(sbuf(8, 8), [[1, 8]], 0, sbuf(8, 7), 0.0),
            "expected 7 in at most 4",
        ),
        (
            lambda: nisa.affine_select(sbuf(8, 8), [[1, 8]], 0, sbuf(8, 8), 0.0, nl.add),
            "cmp_op=nl.add is no comparison",
        ),
        (
            lambda: nisa.affine_select(sbuf(8, 8), [[1, 8]], 0, sbuf(8, 8), "0"),  # type: ignore[arg-type]
            "on_false_value='0'",
        ),
    ],
)
def test_patterns_refuse(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


X = np.array([[1.0, -2.0, 4.0, 8.0], [0.5, 8.0, -16.0, 3.0]], np.float32)
LOW, HIGH = np.array([[1.0], [0.0]]), np.array([[3.0], [2.0]])


@pytest.mark.parametrize("first", ["greater_equal", "greater"])
@pytest.mark.parametrize("second", ["less", "less_equal"])
@pytest.mark.parametrize("start", [0, 1])
def test_range_select(first: str, second: str, start: int) -> None:
    def body() -> tuple[Array, Array]:
        dst, most = sbuf(2, 4, dtype=F32), sbuf(2, 1, dtype=F32)
        nisa.range_select(
            dst,
            tile(X),
            getattr(nl, first),
            getattr(nl, second),
            tile(LOW),
            tile(HIGH),
            reduce_res=most,
            range_start=start,
        )
        return dst.read(), most.read()

    index = start + np.arange(4)
    chosen = getattr(np, first)(index, LOW) & getattr(np, second)(index, HIGH)
    expected = np.where(chosen, X, LOWEST)
    values, most = inside(body)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(most, expected.max(axis=1, keepdims=True))


def test_lowest_value_becomes_infinite_in_smaller_dtypes() -> None:
    def body() -> Array:
        dst = sbuf(2, 4)
        nisa.range_select(dst, tile(X), nl.less, nl.less, tile(LOW * 0), tile(HIGH))
        return dst.read()

    assert (inside(body) == -np.inf).all()


def range_select(op: Any = nl.less, dtype: str = BF16, bound: str = F32, **how: Any) -> Any:
    def body() -> None:
        bounds = sbuf(8, 1, dtype=bound), sbuf(8, 1, dtype=bound)
        nisa.range_select(sbuf(8, 8), sbuf(8, 8, dtype=dtype), op, nl.less, *bounds, **how)

    return body


def test_range_select_work() -> None:
    found = work(range_select())
    assert (found.opcode, found.engine, found.reduces) == ("range_select", Engine.VECTOR, False)

    def body() -> None:
        range_select(reduce_res=sbuf(8, 1))()

    assert work(body).reduces


@pytest.mark.parametrize(
    ("body", "message", "name"),
    [
        (range_select(), "trn1 has no such instruction", "trn1"),
        (range_select(nl.not_equal), "nl.not_equal is no comparison", "trn2"),
        (range_select(nl.add), "nl.add is no comparison", "trn2"),
        (range_select(dtype=nl.int32), "on_true_tile is int32, expected a float", "trn2"),
        (range_select(bound=BF16), "bound is bfloat16, expected float32", "trn2"),
        (range_select(on_false_value=0.0), "on_false_value=0.0", "trn2"),
        (range_select(reduce_op=nl.minimum), "reduce_op=nl.minimum", "trn2"),
        (range_select(reduce_cmd=CMD.load_reduce), "loads nothing", "trn2"),
    ],
)
def test_range_select_refuses(body: Callable[[], Any], message: str, name: str) -> None:
    refused(body, message, name)


PREDICATE = np.array([[1, 0, 0, 1], [0, 0, 255, 0]])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("other", [-3.0, LOW])
def test_select_reduce(reverse: bool, other: Any) -> None:
    def body() -> tuple[Array, Array]:
        dst, most = sbuf(2, 4, dtype=F32), sbuf(2, 1, dtype=F32)
        nisa.select_reduce(
            dst,
            tile(PREDICATE, nl.uint8),
            tile(X),
            tile(other) if isinstance(other, np.ndarray) else other,
            reduce_res=most,
            reduce_cmd=CMD.reset_reduce,
            reverse_pred=reverse,
        )
        return dst.read(), most.read()

    values, most = inside(body)
    expected = np.where((PREDICATE != 0) ^ reverse, X, other)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(most, expected.max(axis=1, keepdims=True))


def test_idle_leaves_registers_undefined() -> None:
    def body() -> tuple[Array, Array]:
        first, second = sbuf(2, 1, dtype=F32), sbuf(2, 1, dtype=F32)
        for command, result in ((CMD.reset_reduce, None), (CMD.idle, first), (CMD.reduce, second)):
            nisa.select_reduce(sbuf(2, 4), tile(PREDICATE, nl.uint8), tile(X), 0.0, result, command)
        return first.read(), second.read()

    for found in inside(body):
        assert np.isnan(found).all()


def select(
    dtype: str = nl.uint8, data: str = BF16, in_psum: bool = False, result: Any = None, **how: Any
) -> Callable[[], Any]:
    place = psum if in_psum else sbuf

    def body() -> None:
        tensors = {k: v() if isinstance(v, partial) else v for k, v in how.items()}
        nisa.select_reduce(
            sbuf(8, 8),
            place(8, 8, dtype=dtype),
            place(8, 8, dtype=data),
            tensors.pop("on_false", 0.0),
            reduce_res=result and result(),
            **tensors,
        )

    return body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (select(nl.uint32), "predicate is uint32"),
        (select(data=nl.int32), "on_true is int32"),
        (select(in_psum=True), "at most one input may be in PSUM"),
        (select(on_false=partial(sbuf, 8, 2)), r"on_false is \[8, 2\]"),
        (select(result=partial(sbuf, 8, 1, dtype=nl.int16)), "reduce_res is int16"),
        (select(result=partial(sbuf, 8, 2)), r"reduce_res is \[8, 2\]"),
        (select(reduce_op=nl.add), "reduce_op=nl.add"),
    ],
)
def test_select_reduce_refuses(body: Callable[[], Any], message: str) -> None:
    refused(body, message)


def test_nothing_more_than_a_version_is_known_of_the_target() -> None:
    versions = {name: inside(nisa.get_nc_version, name) for name in ("trn1", "trn2", "trn3")}
    gen = nisa.nc_version
    assert versions == {"trn1": gen.gen2, "trn2": gen.gen3, "trn3": gen.gen4}
