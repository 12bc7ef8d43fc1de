"""What a kernel's instructions become in the recorded program."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import hbm, psum, recorded, sbuf
from tuner.neuroncore import device, policy
from tuner.neuroncore.compiler.memory import MemoryPlan, plan_memory
from tuner.neuroncore.program import (
    ACCUMULATED,
    READ,
    WRITTEN,
    DmaWork,
    ElementwiseWork,
    Engine,
    MatmulWork,
    Operand,
    Program,
    Space,
)
from tuner.neuroncore.schedule.ports import LOADS_TABLE, ports
from tuner.neuroncore.schedule.queues import engines_of
from tuner.nki import NkiValidationError
from tuner.nki.record.tracing import trace
from tuner.space import Argument

TRN2 = device("trn2")
SQUARE = [Argument("x", (64, 64), "bfloat16")]


def accesses(program: Program) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Of each instruction: mode and (tensor, rows, bytes) of every access."""
    rows = [(mode, (t, *box)) for t, mode, *box in program.accesses.tolist()]
    return [rows[a:b] for a, b in pairwise(program.first_access.tolist())]


def matmuls(program: Program) -> list[MatmulWork]:
    return [work for work in program.works if isinstance(work, MatmulWork)]


def plan(program: Program) -> MemoryPlan:
    return plan_memory(program, TRN2, policy("nki"))


def double(x: Any, times: int = 1) -> Any:
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    for _ in range(times):
        t = nl.ndarray(x.shape, x.dtype, name="tile")
        nisa.dma_copy(t, x)
        nisa.tensor_tensor(t, t, t, nl.add)
        nisa.dma_copy(out, t)
    return out


def test_program_of_a_kernel() -> None:
    program = trace(double, SQUARE, {"times": 2}, TRN2).program
    on_tile = tuple([Operand(Space.SBUF, 2, 1)] * 3)
    assert program.works == (
        DmaWork(Engine.LOAD, 64, 1, 128, True, read_bytes=8192),
        ElementwiseWork("tensor_tensor", Engine.ANY, 64, on_tile),
        DmaWork(Engine.STORE, 64, 1, 128, True, written_bytes=8192),
    )
    assert program.work_of.tolist() == [0, 1, 2] * 2
    names = [program.sites[site].name for site in program.site]
    columns = (program.space, program.rows, program.row_bytes, names)
    assert list(zip(*columns, strict=True)) == [
        (Space.HBM, 64, 128, "x"),
        (Space.HBM, 64, 128, ""),
        (Space.SBUF, 64, 128, "tile"),
        (Space.SBUF, 64, 128, "tile"),
    ]
    found = accesses(program)
    for first, tile in ((0, 2), (3, 3)):
        x, out, t = ((tensor, 0, 64, 0, 128) for tensor in (0, 1, tile))
        assert found[first : first + 3] == [
            [(WRITTEN, t), (READ, x)],
            [(WRITTEN, t), (READ, t), (READ, t)],
            [(WRITTEN, out), (READ, t)],
        ]
    assert (program.hbm_read_bytes, program.hbm_written_bytes) == (2 * 8192, 2 * 8192)
    assert program.flops == 0


def test_site_is_the_line_of_the_allocation() -> None:
    line = inspect.getsourcelines(double)[1]
    program = trace(double, SQUARE, {"times": 2}, TRN2).program
    sites = [program.sites[site].place for site in program.site]
    assert sites == ["argument", *(f"test_recorder.py:{line + n}" for n in (1, 3, 3))]

    zeros = recorded(lambda: nl.zeros((8, 8), nl.float32)).sites[0].place
    assert zeros == f"test_recorder.py:{inspect.currentframe().f_lineno - 1}"  # type: ignore[union-attr]


def test_flops_count_every_matmul() -> None:
    def body() -> None:
        for _ in range(3):
            nisa.nc_matmul(psum(10, 20), sbuf(30, 10), sbuf(30, 20))
        wide = nl.float32
        nisa.nc_matmul(psum(10, 20), sbuf(5, 10, dtype=wide), sbuf(5, 20, dtype=wide))

    program = recorded(body)
    assert program.flops == 3 * 2 * 10 * 20 * 30 + 2 * 10 * 20 * 5
    assert [work._replace(tile=(0, 128, 0, 128)) for work in matmuls(program)] == [
        MatmulWork(30, 10, 20, itemsize=2),
        MatmulWork(5, 10, 20, itemsize=4),
    ]


def test_accesses_are_rows_and_bytes_of_a_partition() -> None:
    def body() -> None:
        t = sbuf(128, 4, 64)
        nisa.memset(t[0:64, 1, nl.ds(8, 16)], 0.0)
        nisa.memset(t[64:128, 1:3, 8:24], 0.0)

    assert accesses(recorded(body)) == [
        [(WRITTEN, (0, 0, 64, 144, 176))],
        [(WRITTEN, (0, 64, 128, 144, 304))],
    ]


def test_accesses_of_hbm_are_rows_and_bytes_of_the_last_dimension() -> None:
    def body() -> None:
        t = hbm(4, 8, 64)
        nisa.dma_copy(sbuf(8, 32), t[1, :, 32:64])
        nisa.dma_copy(t[1:3, 2, :], sbuf(2, 64))

    found = accesses(recorded(body))
    assert found[0][1] == (READ, (0, 8, 16, 64, 128))
    assert found[1][0] == (WRITTEN, (0, 10, 19, 0, 128))  # the smallest rectangle around it


def test_a_matmul_that_adds_says_so() -> None:
    def body() -> None:
        left, right, sums = sbuf(30, 10), sbuf(30, 20), psum(10, 20)
        nisa.nc_matmul(sums, left, right, accumulate=False)
        nisa.nc_matmul(sums, left, right, accumulate=True)

    modes = [[mode for mode, _ in row] for row in accesses(recorded(body))]
    assert modes == [[WRITTEN, READ, READ], [ACCUMULATED, READ, READ]]


def test_lines_are_the_kernel_s() -> None:
    line = inspect.getsourcelines(double)[1]
    program = trace(double, SQUARE, {"times": 2}, TRN2).program
    lines = [program.lines[n] for n in program.line_of]
    assert lines == [f"test_recorder.py:{line + n}" for n in (4, 5, 6)] * 2


def test_dma_is_cut_into_runs_contiguous_in_hbm() -> None:
    views: list[tuple[Callable[[Any], Any], tuple[int, int, int, bool]]] = [
        (lambda x: x, (128, 1, 1024, True)),
        (lambda x: x[0:64], (64, 1, 1024, True)),
        (lambda x: x[:, 0:100], (128, 1, 200, False)),
        (lambda x: x[0:8:2], (4, 1, 1024, False)),
        (lambda x: x[:, 0:512:2], (128, 256, 2, False)),
        (lambda x: x.reshape((128, 8, 64))[:, 0:3, 0:16], (128, 3, 32, False)),
        (lambda x: x.reshape((128, 8, 64))[:, 2:4], (128, 1, 256, False)),
    ]

    def body() -> None:
        for view, _ in views:
            piece = view(hbm(128, 512))
            nisa.dma_copy(sbuf(*piece.shape), piece)
            nisa.dma_copy(piece, sbuf(*piece.shape))

    program = recorded(body)
    found = [program.works[w] for w in program.work_of]
    sizes = [work[0] * work[1] * work[2] for _, work in views]
    assert found[0::2] == [
        DmaWork(Engine.LOAD, *work, read_bytes=size)
        for (_, work), size in zip(views, sizes, strict=True)
    ]
    assert found[1::2] == [
        DmaWork(Engine.STORE, *work, written_bytes=size)
        for (_, work), size in zip(views, sizes, strict=True)
    ]


def test_activations_name_the_table_they_need() -> None:
    def body() -> None:
        for op in (nl.exp, nl.exp, nl.copy, nl.exp):
            nisa.activation(sbuf(8, 8), op, sbuf(8, 8))

    program = recorded(body)
    works = [program.works[w] for w in program.work_of]
    tables = [work.table for work in works if isinstance(work, ElementwiseWork)]
    assert tables == ["exp", "exp", "copy", "exp"]
    loads = ports(program, plan(program), TRN2, engines_of(program, policy("nki"))) & LOADS_TABLE
    assert (loads != 0).tolist() == [True, False, True, True]


def test_inner_stride_is_the_innermost_dimension_s() -> None:
    def body() -> None:
        nisa.tensor_copy(sbuf(8, 4, 2), sbuf(8, 4, 6)[:, :, 0:6:3])
        nisa.tensor_copy(sbuf(8, 4), sbuf(8, 4, 6)[:, :, 5])

    works = recorded(body).works
    strides = [w.operands[1].inner_stride for w in works if isinstance(w, ElementwiseWork)]
    assert strides == [3, 6]


def test_arguments_lie_in_hbm_under_their_names() -> None:
    def kernel(x: Any) -> Any:
        assert x.buffer == nl.hbm
        assert x.name == "x"
        return double(x)

    trace(kernel, SQUARE, {}, TRN2)


def test_outputs_and_values() -> None:
    x = np.arange(64 * 64).reshape(64, 64) % 100
    found = trace(double, SQUARE, {}, TRN2, {"x": x.astype(np.float32)})
    assert found.outputs == (((64, 64), "bfloat16"),)
    assert found.values is not None
    np.testing.assert_array_equal(found.values[0], 2 * x)
    assert trace(double, SQUARE, {}, TRN2).values is None


def test_inputs_are_rounded_to_their_dtype() -> None:
    def widen(x: Any) -> Any:
        out = nl.ndarray(x.shape, nl.float32, buffer=nl.shared_hbm)
        nisa.dma_copy(out, x)
        return out

    found = trace(widen, SQUARE, {}, TRN2, {"x": np.full((64, 64), 1 + 2**-9, np.float32)})
    assert found.values is not None
    assert (found.values[0] == 1).all()


def test_kernel_may_return_several_tensors() -> None:
    def kernel(x: Any) -> Any:
        return double(x), nl.ndarray((3,), nl.float32, buffer=nl.shared_hbm)

    shapes = [shape for shape, _ in trace(kernel, SQUARE, {}, TRN2).outputs]
    assert shapes == [(64, 64), (3,)]


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        (lambda x: x, r"NkiTensor\(\[64, 64\], bfloat16, nl\.private_hbm\)"),
        (lambda x: nl.ndarray((8, 8), nl.float32), r"nl\.sbuf"),
        (lambda x: nl.ndarray((8, 8), nl.float32, buffer=nl.private_hbm), r"nl\.private_hbm"),
        (lambda x: None, "None"),
    ],
)
def test_kernel_must_return_shared_hbm(returned: Callable[[Any], Any], shown: str) -> None:
    with pytest.raises(
        NkiValidationError, match=r"must return tensors in nl\.shared_hbm, .*" + shown
    ):
        trace(returned, SQUARE, {}, TRN2)


def test_wrong_keyword_is_refused() -> None:
    with pytest.raises(NkiValidationError, match="unexpected keyword argument 'twice'"):
        trace(double, SQUARE, {"twice": 1}, TRN2)
    with pytest.raises(NkiValidationError, match="missing a required argument: 'x'"):
        trace(double, [], {}, TRN2)


def test_tracing_ends_also_when_the_kernel_raises() -> None:
    def fails(x: Any) -> None:
        raise ZeroDivisionError

    def nested(x: Any) -> None:
        trace(double, SQUARE, {}, TRN2)

    with pytest.raises(ZeroDivisionError):
        trace(fails, SQUARE, {}, TRN2)
    with pytest.raises(NkiValidationError, match="being traced already"):
        trace(nested, SQUARE, {}, TRN2)
    assert len(trace(double, SQUARE, {}, TRN2).program) == 3
