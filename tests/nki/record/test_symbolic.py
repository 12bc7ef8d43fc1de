"""Numbers that stand for all passes of loops, against plain ones, pass by pass."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tuner.neuroncore import device
from tuner.neuroncore.program import ROW_LOW, Space
from tuner.nki.record import symbolic
from tuner.nki.record.recorder import Recorder
from tuner.nki.record.symbolic import Index, Loop, NotSymbolicError, extremes
from tuner.nki.tensors.tensor import Buffer, NkiTensor


class Driver:
    """Runs loops in segments; what is emitted is the first row of an instruction's access."""

    def __init__(self) -> None:
        self.recorder = Recorder(device("trn2"), numeric=False, symbolic=True)
        self.passes = self.recorder.passes
        self.tile = self.recorder.allocate((1, 1), "float32", Buffer("sbuf", Space.SBUF))
        self.bounds: list[tuple[int, int]] = []

    def emit(self, value: Any) -> None:
        number: Any = (len(self.bounds),)  # stands for the instruction's work
        value = value if type(value) is Index else int(value)
        self.bounds.append(extremes(value))
        view = NkiTensor(self.tile.allocation, (1, 1), (1, 1), value, 0)
        self.recorder.emit(number, (view,), ())

    def values(self) -> list[int]:
        """What was emitted in every pass, in order; checks the bounds of all of it."""
        program = self.recorder.finished().program()
        values: list[int] = program.accesses[:, ROW_LOW].tolist()
        for work, value in zip(program.work_of, values, strict=True):
            low, high = self.bounds[work]
            assert low <= value <= high
        return values


LOOPS = st.lists(
    st.tuples(st.integers(-6, 6), st.integers(1, 6), st.sampled_from([-3, -1, 1, 2, 5])),
    min_size=1,
    max_size=3,
)
CONSTANTS = st.integers(-7, 9)


def item(value: Any) -> Any:
    return int(value) if isinstance(value, np.integer) else value


ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": lambda a, b: a // b if b else a,
    "%": lambda a, b: a % b if b else b,
    "quotient": lambda a, b: divmod(a, b)[0] if b else 3,
    "remainder": lambda a, b: divmod(a, b)[1] if b else 3,
    "min": min,
    "max": max,
    "abs": lambda a, b: abs(a) - b,
    "neg": lambda a, b: -a + +b,
    "invert": lambda a, b: ~a + b,
    "int": lambda a, b: int(a) + b,
    "round": lambda a, b: round(a) + round(b, -1),
    "floor": lambda a, b: math.floor(a) + math.ceil(b) + math.trunc(a),
    "truediv": lambda a, b: int(a / 4 + 2 / (b * b + 1)),
    "<<": lambda a, b: a << (1 if b > 2 else 0),
    "<< by": lambda a, b: 3 << abs(a % 3),
    ">>": lambda a, b: item((a >> 1) + (b >> np.int64(2))),
    ">> by": lambda a, b: 300 >> abs(a % 3),
    "**": lambda a, b: (a % 5) ** 2 + 2 ** (b % 3) + pow(a, 2, 7),
    "&": lambda a, b: (a & 3) + (5 & b) + (a & b),
    "|^": lambda a, b: (a | 4) ^ b ^ 1,
    "hash": lambda a, b: {0: 1, 1: b}.get(a, 2) + b,
    "numpy": lambda a, b: item(np.int64(3) * a + np.int64(2) - b),
    "by numpy": lambda a, b: item((b * np.int64(2) - np.int32(5)) // np.int64(3) + a % np.int64(4)),
    "bool": lambda a, b: (5 if a else 6) + (b * True) + (not b),
    "is in": lambda a, b: a if a in (1, 3, b) else 9,
    "range": lambda a, b: len(range(a, b)) + sum(range(a % 4)),
    "text": lambda a, b: len(f"{a}") + len(f"{b:3d}") + len(f"{a!s}") + len(str(b) + repr(a)),
    "float": lambda a, b: int(float(a) * 2.0 + 0.5 * b) + (a < 2.5) + (b >= 1.5) + (a == 2.0),
}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Node:
    """An expression: an operation of two others, a choice of two by comparing two, or a leaf."""

    kind: str
    parts: tuple[Any, ...]

    def value(self, scope: dict[str, Any]) -> Any:
        if self.kind == "name":
            return scope.get(self.parts[0], 4)
        if self.kind == "constant":
            return self.parts[0]
        if self.kind == "choice":
            sign, *parts = self.parts
            left, right, yes, no = parts
            chosen = COMPARE[sign](left.value(scope), right.value(scope))
            return (yes if chosen else no).value(scope)
        return ARITHMETIC[self.kind](*[part.value(scope) for part in self.parts])


LEAVES = st.one_of(
    st.sampled_from(NAMES).map(lambda name: Node("name", (name,))),
    CONSTANTS.map(lambda constant: Node("constant", (constant,))),
)


def _larger(smaller: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    usual = st.sampled_from(["+", "-", "*", "//", "%", "min"])
    kinds = st.one_of(usual, usual, st.sampled_from(sorted(ARITHMETIC)))
    return st.one_of(
        st.builds(lambda kind, a, b: Node(kind, (a, b)), kinds, smaller, smaller),
        st.builds(
            lambda sign, *parts: Node("choice", (sign, *parts)),
            st.sampled_from(sorted(COMPARE)),
            *[smaller] * 4,
        ),
    )


EXPRESSIONS = st.recursive(LEAVES, _larger, max_leaves=8)


def nest(
    loops: list[tuple[int, int, int]],
    before: list[Node],
    after: list[Node],
    passes: Callable[[range], Any],
    emit: Callable[[Any], None],
    scope: dict[str, Any],
) -> None:
    """Loops around expressions: one before the next loop, one after it."""
    depth = len(scope)
    if depth == len(loops):
        return
    first, count, step = loops[depth]
    for index in passes(range(first, first + count * step, step)):
        inner = {**scope, NAMES[depth]: index}
        emit(before[depth].value(inner))
        nest(loops, before, after, passes, emit, inner)
        emit(after[depth].value(inner))


@settings(max_examples=300)
@given(loops=LOOPS, nodes=st.lists(EXPRESSIONS, min_size=6, max_size=6))
def test_expressions_in_nested_loops(loops: list[tuple[int, int, int]], nodes: list[Node]) -> None:
    check(loops, nodes)


def check(loops: list[tuple[int, int, int]], nodes: list[Node]) -> None:
    """Compares segments with passes; `nodes` are for three loops, before and after the inner."""
    expected: list[int] = []
    nest(loops, nodes[:3], nodes[3:], lambda numbers: numbers, expected.append, {})
    assume(all(abs(value) < 1 << 31 for value in expected))
    driver = Driver()
    nest(loops, nodes[:3], nodes[3:], driver.passes, driver.emit, {})
    assert driver.values() == expected


@settings(max_examples=100)
@given(
    loops=st.lists(
        st.tuples(st.integers(-9, 9), st.integers(1, 9), st.sampled_from([-2, 1, 3])),
        min_size=2,
        max_size=3,
    ),
    few=st.integers(1, 20),
    nodes=st.lists(EXPRESSIONS, min_size=6, max_size=6),
)
def test_questions_about_more_passes_than_are_looked_at(
    loops: list[tuple[int, int, int]], few: int, nodes: list[Node]
) -> None:
    with patch.object(symbolic, "MAX_POINTS", few):
        check(loops, nodes)


def opened(*counts: int) -> list[Index]:
    """Indices from 0 of loops inside each other."""
    return [Index(0, {Loop(count, depth): 1}) for depth, count in enumerate(counts)]


def count_of(index: Index) -> int:
    (loop,) = index.factors
    assert isinstance(loop, Loop)
    return loop.count


def test_sums_keep_what_they_stand_for() -> None:
    a, b = opened(4, 8)
    assert extremes(3 * a - b + 2) == (2 - 7, 2 + 9)
    assert a + b - b - a == 0
    assert type(a - a) is int
    assert type(a * 0) is int
    assert extremes((16 * a + b) // 16) == (0, 3)
    assert extremes((16 * a + b) % 16) == (0, 7)
    assert extremes((4 * a + b) // 16) == (0, 1)
    assert extremes(a // 2 * 2 + a % 2) == (0, 3)
    assert (count_of(a), count_of(b)) == (4, 8)


def test_questions_narrow_as_little_as_they_can() -> None:
    a, b = opened(10, 10)
    assert a < 6
    assert (count_of(a), count_of(b)) == (6, 10)
    assert b != 4
    assert (count_of(a), count_of(b)) == (6, 4)
    assert a * 4 + b < 100
    assert a // 2 == 0
    assert (count_of(a), count_of(b)) == (2, 4)
    assert a == 0
    assert count_of(a) == 1

    a, b = opened(10, 10)
    assert a * 10 + b < 95  # the inner one first: nine passes of the outer one stay together
    assert (count_of(a), count_of(b)) == (10, 5)
    a, b = opened(10, 10)
    assert 10 * a + b < 50
    assert (count_of(a), count_of(b)) == (5, 10)


def test_questions_that_all_passes_answer_alike_narrow_nothing() -> None:
    a, b = opened(10, 10)
    assert a >= 0
    assert a + b <= 18
    assert a != 10
    assert not a + b < 0
    assert a != "a"
    assert a is not None
    assert (2 * a) % 2 == 0
    assert 2 * a != 7
    assert (count_of(a), count_of(b)) == (10, 10)


def test_numbers_of_a_loop_that_is_over() -> None:
    a, b = opened(4, 8)
    (loop,) = a.factors
    assert isinstance(loop, Loop)
    loop.open = False
    assert a < 4
    assert a - a == 0
    assert a * 0 == 0
    questions: list[Callable[[], Any]] = [
        lambda: int(a),
        lambda: a < 2,
        lambda: a + b < 2,
        lambda: a == 2,
        lambda: bool(a),
        lambda: hash(a),
        lambda: [1, 2, 3, 4][a],
        lambda: str(a),
        lambda: a // 3 == 1,
        lambda: a / 2,
        lambda: range(a),
        lambda: min(a, 2),
    ]
    for question in questions:
        before = NotSymbolicError.raised
        with pytest.raises(NotSymbolicError):
            question()
        assert NotSymbolicError.raised == before + 1
    loop.count = 1  # of a segment of one pass everything is known
    assert [int(a), a + 5, a < 2, a == 0] == [0, 5, True, True]


def test_mistakes_are_those_of_numbers() -> None:
    (a,) = opened(3)
    for number in (a, 0):
        with pytest.raises(TypeError):
            assert number < "a"  # type: ignore[operator]
        with pytest.raises(TypeError):
            number + None  # type: ignore[operator]
        with pytest.raises(TypeError):
            number & 1.5  # type: ignore[operator]
        with pytest.raises(TypeError):
            number << 1.5  # type: ignore[operator]
        with pytest.raises(ZeroDivisionError):
            number % 0
        with pytest.raises(ZeroDivisionError):
            number // 0
        with pytest.raises(ValueError):
            number << -1
        with pytest.raises(IndexError):
            [][number]
