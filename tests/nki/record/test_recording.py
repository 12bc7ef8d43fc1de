"""Kernels recorded loop by loop and pass by pass: one program."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nki.kernels import TRN2, check_counts, described, is_whole, same
from tuner.kernel import load_kernel, read_kernel
from tuner.nki.record.tracing import Trace, trace
from tuner.space import Argument, find

SHAPES = {"x": (200, 300), "w": (4, 64, 96)}
HELPERS = """
def clear(tile, n):
    nisa.memset(tile[:, 0:n], 0.0)

def load(dst, src, r, c, rows, columns, step):
    for k in range(0, columns, step):
        width = min(step, columns - k)
        nisa.dma_copy(dst=dst[0:rows, k : k + width], src=src[r : r + rows, c + k : c + k + width])

def ceil_div(a, b):
    return (a + b - 1) // b

def turn(a, b, kind):
    if kind == 0:
        return a, b
    return b, a

def remember(seen, n):
    seen.append(n)
    return len(seen)
"""
START = """
def kernel(x, w, p=3):
    out = nl.ndarray((64, 300), nl.float32, buffer=nl.shared_hbm)
    spare = nl.ndarray((200, 300), nl.float32, buffer=nl.hbm)
    big = nl.ndarray((64, 5, 96), nl.float32, buffer=nl.sbuf)
    acc = nl.ndarray((64, 4, 96), nl.float32, buffer=nl.psum)
    tile = nl.ndarray((64, 96), nl.float32, buffer=nl.sbuf)
    seen, count, last = [], 0, 1
"""
END = """
    nisa.tensor_copy(dst=tile, src=big[:, last % 5])
    nisa.dma_copy(dst=out[:, 0:96], src=tile)
    return out
"""


@dataclass
class Writer:
    """Writes a kernel: every statement is legal whatever the numbers in scope are."""

    draw: Any
    lines: list[str] = field(default_factory=list)
    loops: int = 0
    own: int = 0

    def one(self, *choices: str) -> str:
        chosen: str = self.draw(st.sampled_from(choices))
        return chosen

    def number(self, scope: list[str]) -> str:
        """An expression of any whole number."""
        a, b = self.one(*scope, "p"), self.one(*scope, "2")
        m, n = self.one("2", "3", "7"), self.one("2", "3", "5")
        return self.one(
            a, f"({m} * {a} + {b})", f"({m} * {a} - {n} * {b})", f"({a} * {m} + {b} * {n} + 4)",
            f"({a} * {m} + {b}) // {n}", f"({m} * {b} - {a}) % {n}", f"min({a}, {m})",
            f"max({a} - {n}, {b})", f"({a} % {m} + {b} // {n})", f"{a} * {b}",
            f"({a} if {a} < {m} else {b})", f"(({m} * {a} + {b}) // {n} * {n} + {b} % 2)",
        )  # fmt: skip

    def below(self, limit: str, scope: list[str]) -> str:
        return f"({self.number(scope)}) % {limit}"

    def width(self, scope: list[str]) -> str:
        a = self.one(*scope, "p")
        return self.one(
            "32",
            f"max(1, min(32, 70 - 32 * {a}))",
            f"(1 + {self.below('8', scope)})",
            f"(16 if {a} == 0 else 20)",
        )

    def statement(self, scope: list[str]) -> list[str]:
        """A few lines that issue instructions."""
        slot, other = self.below("5", scope), self.below("4", scope)
        column, row = self.below("9", scope), self.below("100", scope)
        width = self.width(scope)
        kind = self.one(
            "load", "copy", "matmul", "store", "helper", "three", "new", "if", "inside", "turn"
        )  # fmt: skip
        if kind == "load":
            return [
                f"c0, n = 8 * ({column}), {width}",
                f"r0 = {row}",
                f"nisa.dma_copy(dst=big[:, {slot}, 0:n], src=x[r0 : r0 + 64, c0 : c0 + n])",
            ]
        if kind == "copy":
            return [
                f"n = {width}",
                f"nisa.tensor_copy(dst=tile[:, 0:n], src=big[:, {slot}, 4 : 4 + n])",
            ]
        if kind == "matmul":
            return [
                f"q, n = {other}, {width}",
                "nisa.nc_matmul(dst=acc[0:32, q, 0:n], stationary=tile[:, 0:32],"
                f" moving=big[:, {slot}, 0:n], accumulate={self.one(*scope, 'p')} > 0)",
            ]
        if kind == "store":
            return [
                f"c0, r0, n = {column}, {row}, {width}",
                f"nisa.dma_copy(dst=spare[r0 : r0 + 64, c0 : c0 + n], src=big[:, {slot}, 0:n])",
            ]
        if kind == "helper":
            return [f"load(tile, x, {row}, {column}, 64, {width}, {self.one('7', '16', '32')})"]
        if kind == "three":
            return [f"nisa.dma_copy(dst=tile[:, 0:96], src=w[{other}, :, :])"]
        if kind == "new":
            self.own += 1
            name = f"own{self.own}"
            rows = self.one("64", "64", "p + 5", f"2 + {other}")
            return [
                f"{name} = nl.ndarray(({rows}, 40), nl.float32, buffer=nl.sbuf, name='{name}')",
                f"clear({name}, {self.width(scope)})",
                f"nisa.memset({name}[:, {self.below('30', scope)}], 1.0)",
            ]
        if kind == "if":
            a = self.one(*scope, "p")
            test = self.one(f"{a} == 0", f"{a} == 2", f"{a} < p", f"{slot} == 1", f"{a} % 2")
            then = self.indented(self.statement(scope))
            rest = (
                ["else:", *self.indented(self.statement(scope))] if self.draw(st.booleans()) else []
            )
            return [f"if {test}:", *then, *rest]
        if kind == "turn":
            a, b = self.one(*scope, "p"), self.one(*scope, "p")
            return [f"u, v = turn({a}, {b}, p % 2)", "clear(tile, 1 + (2 * u + v) % 9)"]
        return self.carrying(scope)

    def carrying(self, scope: list[str]) -> list[str]:
        """Lines that remember something, or use what an earlier pass or loop left."""
        chosen: list[str] = self.draw(
            st.sampled_from(
                [
                    ["count += 1", "clear(tile, 1 + count % 90)"],
                    ["clear(tile, 1 + last % 90)", f"last = {self.number(scope)}"],
                    [f"last = {self.number(scope)}"],
                    ["clear(tile, remember(seen, 1) % 90 + 1)"],
                    ["seen.append(2)"],
                    ["clear(tile, 1 + len(seen) % 90)"],
                    ["clear(tile, 5)"],
                    [f"if ({self.number(scope)}) % 5 == 4:", "    continue"],
                ]
            )
        )
        return chosen

    def indented(self, lines: list[str]) -> list[str]:
        return ["    " + line for line in lines]

    def block(self, scope: list[str], depth: int) -> list[str]:
        """A loop of statements and loops."""
        index = f"i{self.loops}"
        self.loops += 1
        bounds = [
            "2", "3", "5", "p", "1, 8, 3", "6, 0, -2", "ceil_div(70, 32)",
            *[f"{a} + 1" for a in scope], *[f"min(3, max(0, 4 - {a}))" for a in scope],
            *[f"0, 4 - {a} % 2, 1 + {a} % 2" for a in scope],
        ]  # fmt: skip
        ranges = self.one("range", "range", "nl.affine_range", "nl.sequential_range")
        inner = [*scope, index]
        body = self.statement(inner)
        for _ in range(self.draw(st.integers(0, 2))):
            if depth > 1 and self.loops < 5 and self.draw(st.booleans()):
                body += self.block(inner, depth - 1)
            else:
                body += self.statement(inner)
        return [f"for {index} in {ranges}({self.one(*bounds)}):", *self.indented(body)]


@st.composite
def kernels(draw: Any) -> str:
    writer = Writer(draw)
    body: list[str] = []
    for _ in range(draw(st.integers(1, 2))):
        body += writer.block([], 3)
        used = writer.one("", "clear(tile, 1 + last % 90)", "clear(tile, 1 + i0 % 90)")
        body += [used] if used else []
    return HELPERS + START + "\n".join(writer.indented(body)) + END


@pytest.mark.slow
@settings(max_examples=150)
@given(text=kernels(), p=st.integers(1, 4))
def test_kernels_of_all_kinds(text: str, p: int) -> None:
    same(text, SHAPES, {"p": p})


MATMUL = load_kernel(read_kernel(find("matmul").kernel_file, "matmul"))
CONFIGS: list[dict[str, Any]] = [
    {"tiles_m": 1, "tiles_n": 1, "tiles_k": 1, "resident": "none", "evict": "both"},
    {"tiles_m": 2, "tiles_n": 1, "tiles_k": 2, "resident": "lhs", "buffers": 3},
    {"tiles_m": 1, "tiles_n": 2, "tiles_k": 1, "resident": "rhs", "psum_accumulators": 3},
    {"tiles_m": 16, "tiles_n": 2, "tiles_k": 8, "resident": "both", "evict": "scalar"},
    {"tiles_m": 2, "tiles_n": 2, "tiles_k": 1, "resident": "none", "load_columns": 128},
]


def matmul(shape: tuple[int, int, int], params: dict[str, Any], symbolic: bool) -> Trace:
    M, K, N = shape
    arguments = [Argument("lhsT", (K, M), "bfloat16"), Argument("rhs", (K, N), "bfloat16")]
    with MATMUL.lent():
        return trace(MATMUL.function, arguments, params, TRN2, symbolic=symbolic)


@pytest.mark.parametrize("loop_order", ["mnk", "nmk", "mkn", "nkm"])
@pytest.mark.parametrize("shape", [(384, 512, 1024), (257, 400, 1100), (130, 129, 600), (1, 5, 1)])
def test_matmul(loop_order: str, shape: tuple[int, int, int]) -> None:
    for params, accumulator in product(CONFIGS, ["input", "float32"]):
        every = {**params, "loop_order": loop_order, "accumulator": accumulator}
        found, expected = matmul(shape, every, True), matmul(shape, every, False)
        assert described(found.program) == described(expected.program)
        assert len(expected.recording.instructions) == len(expected.program)
        check_counts(found)


def test_matmul_is_recorded_as_a_whole() -> None:
    """What is written down does not grow with the matrices."""
    params = {**CONFIGS[0], "loop_order": "mnk", "evict": "vector"}
    small, large = (
        matmul((1024, 1024, 2048), params, True),
        matmul((4096, 2048, 8192), params, True),
    )
    assert len(large.program) > 30 * len(small.program)
    assert len(large.recording.instructions) == len(small.recording.instructions)


TILES = """
def kernel():
    out = nl.ndarray((64, 8), nl.float32, buffer=nl.shared_hbm)
    {}
    return out
"""


def tiles_of(lines: str) -> str:
    return TILES.format("\n    ".join(lines.strip("\n").splitlines()))


LEFT = {
    "tensor": """
for i in range(4):
    t = nl.ndarray((64, 8), nl.float32)
    nisa.memset(t, 0.0)
nisa.memset(t, 1.0)
""",
    "tensor that only the loop wrote": """
for i in range(4):
    for j in range(3):
        t = nl.ndarray((64, 8), nl.float32)
        nisa.memset(t, 0.0)
    nisa.memset(t, 1.0)
nisa.dma_copy(dst=out, src=t)
""",
    "tensor of the first pass": """
for i in range(4):
    if i == 0:
        t = nl.ndarray((64, 8), nl.float32)
    nisa.memset(t, 0.0)
nisa.memset(t, 1.0)
""",
    "tensor of the pass before": """
before = nl.ndarray((64, 8), nl.float32)
nisa.memset(before, 0.0)
for i in range(4):
    t = nl.ndarray((64, 8), nl.float32)
    nisa.tensor_copy(dst=t, src=before)
    before = t
nisa.dma_copy(dst=out, src=before)
""",
    "list of tiles": """
tiles = []
for i in range(4):
    t = nl.ndarray((64, 8), nl.float32)
    nisa.memset(t, 0.0)
    tiles.append(t)
for i in range(4):
    nisa.memset(tiles[i], 1.0)
for t in tiles:
    nisa.memset(t, 2.0)
nisa.memset(tiles[-1], 3.0)
""",
    "comprehension of tiles": """
tiles = [nl.ndarray((64, 8), nl.float32) for _ in range(3)]
for i in range(7):
    nisa.memset(tiles[i % 3], 0.0)
    nisa.tensor_copy(dst=tiles[(i + 1) % 3], src=tiles[i % 3])
""",
    "tiles in a dict": """
tiles = {}
for i in range(2):
    for j in range(2):
        tiles[i, j] = nl.ndarray((64, 8), nl.float32)
for i in range(2):
    for j in range(2):
        nisa.memset(tiles[i, j], 0.0)
""",
    "tiles of a pass": """
for i in range(4):
    tiles = [nl.ndarray((64, 8), nl.float32, name=f"tile {i}.{j}") for j in range(3)]
    for j in range(6):
        nisa.memset(tiles[(i + j) % 3], 0.0)
""",
    "view": """
t = nl.ndarray((64, 64), nl.float32)
for i in range(4):
    view = t[:, i * 8 : i * 8 + 8]
    nisa.memset(view, 0.0)
nisa.memset(view, 1.0)
""",
    "index": """
t = nl.ndarray((64, 64), nl.float32)
for i in range(4):
    nisa.memset(t[:, i * 8 : i * 8 + 8], 0.0)
nisa.memset(t[:, i : i + 8], 1.0)
""",
    "index of another loop": """
t = nl.ndarray((64, 64), nl.float32)
for i in range(4):
    for j in range(5):
        nisa.memset(t[:, i * 8 + j : i * 8 + 8], 0.0)
    nisa.memset(t[:, j : j + 8], 1.0)
for j in range(2):
    nisa.memset(t[:, j + i : j + 8], 1.0)
""",
    "bound by an index": """
t = nl.ndarray((64, 64), nl.float32)
for i in range(1, 4):
    n = i * 8
    nisa.memset(t[:, 0:n], 0.0)
for j in range(n):
    nisa.memset(t[:, j : j + 1], 1.0)
""",
    "both ends counted from the end": """
t = nl.ndarray((64, 64), nl.float32)
for i in range(1, 4):
    nisa.memset(t[:, i - 9 : i - 4], 0.0)
    nisa.memset(t[:, i - 9 :], 0.0)
    nisa.memset(t[:, : i - 9], 0.0)
    nisa.memset(t[:, -i], 0.0)
    nisa.memset(t[:, i : 60 : i], 0.0)
""",
    "sizes by an index": """
for i in range(1, 4):
    t = nl.ndarray((64, 8 * i), nl.float32)
    nisa.memset(t, 0.0)
    nisa.memset(t.reshape((64, i, 8))[:, i - 1], 0.0)
""",
    "numbers by an index": """
t = nl.ndarray((64, 8), nl.float32)
for i in range(4):
    nisa.memset(t, i)
""",
    "rows of HBM": """
h = nl.ndarray((6, 64, 8), nl.float32, buffer=nl.hbm)
t = nl.ndarray((64, 8), nl.float32)
for i in range(6):
    nisa.dma_copy(dst=h[i], src=t)
    for j in range(2, 4):
        nisa.dma_copy(dst=h[i, i + j : i + j + 8, 0:4], src=t[0:8, j : j + 4])
        nisa.dma_copy(dst=h.reshape((384, 8))[8 * i + j], src=t[j])
        nisa.dma_copy(dst=h[i // 2 : 3 + i // 2, j], src=h[2:5, j + i, :])
""",
}


@pytest.mark.parametrize("lines", LEFT.values(), ids=LEFT.keys())
def test_what_belongs_to_a_pass(lines: str) -> None:
    same(tiles_of(lines))


def test_loops_without_questions_are_one_segment() -> None:
    text = tiles_of(
        """
t = nl.ndarray((64, 4, 64), nl.float32)
for i in range(8):
    for j in range(16):
        own = nl.ndarray((64, 8), nl.float32)
        nisa.memset(own, 0.0)
        nisa.tensor_copy(dst=t[:, (16 * i + j) % 4, j // 2 : j // 2 + 8], src=own)
"""
    )
    found = same(text)
    assert is_whole(found)
    assert len(found.recording.instructions) == 2
    assert found.recording.total == (256, 384, 130)
