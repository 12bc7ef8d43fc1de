"""Instructions in loops that are recorded as a whole: the same program as pass by pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import hbm, psum, sbuf
from tuner.neuroncore import device
from tuner.neuroncore.program import Program
from tuner.nki import NkiValidationError
from tuner.nki.record.recorder import active
from tuner.nki.record.tracing import Trace, trace
from tuner.nki.tensors.tensor import NkiTensor

F32 = nl.float32


def traced(body: Callable[[], Any], symbolic: bool) -> Trace:
    def kernel() -> NkiTensor:
        body()
        return nl.ndarray((1,), F32, buffer=nl.shared_hbm)

    return trace(kernel, (), {}, device("trn2"), symbolic=symbolic)


def passes(count: int) -> Any:
    """A loop that is recorded as a whole where that is asked."""
    return active().passes(range(count))


def facts(program: Program) -> list[Any]:
    """A program with every piece of work in its place."""
    works = [program.works[work] for work in program.work_of]
    return [works, program.first_access.tolist(), program.accesses.tolist()]


def attention_like() -> None:
    """Offsets in free dimensions, in partitions, in patterns, and flags that depend on passes."""
    source, result = hbm(512, 512), hbm(512, 512)
    for i in passes(4):
        tile, products = sbuf(128, 4, 128), psum(128, 8, 512)
        column, low = sbuf(128, 4, dtype=F32), sbuf(128, 512, dtype=F32)
        for j in passes(4):
            block = tile[:, j, :]
            nisa.dma_copy(block, source[nl.ds(i * 128, 128), nl.ds(j * 128, 128)])
            nisa.nc_matmul(products[:, i, 0:128], block, block, accumulate=j > 0)
            nisa.nc_transpose(products[:, 4 + j, 0:128], wide(block), engine=nisa.tensor_engine)
        nisa.iota(low, [[1, 512]], offset=i * 512, channel_multiplier=1)
        nisa.affine_select(low, [[-1, 512]], 1, low, -1.0, nl.greater_equal, offset=-128 * i)
        for q in passes(4):
            rows = nl.ds(32 * q, 32)
            part, total, bias = low[rows, :], column[rows, 0:1], column[rows, 1:2]
            nisa.activation_reduce(part, nl.exp, part, nl.add, total, bias=bias)
            nisa.tensor_scalar(tile[rows, q, :], products[rows, i, 0:128], nl.multiply, 2.0)
            nisa.tensor_reduce(column[rows, 2:3], nl.maximum, part, 1)
        nisa.dma_transpose(tile[:, i, :], source[0:128, nl.ds(i * 128, 128)])
        nisa.dma_copy(result[nl.ds(i * 128, 128), :], low)


def wide(block: NkiTensor) -> NkiTensor:
    """A float32 copy."""
    copy = sbuf(128, 128, dtype=F32)
    nisa.tensor_copy(copy, block)
    return copy


def test_whole_loops_record_the_program_of_single_passes() -> None:
    whole, single = traced(attention_like, True), traced(attention_like, False)
    assert facts(whole.program) == facts(single.program)
    assert len(whole.recording.instructions) < len(single.recording.instructions) / 3


def test_each_partition_of_a_loop_is_looked_at() -> None:
    def body() -> None:
        whole = sbuf(128, 8)
        for i in passes(3):
            nisa.memset(whole[nl.ds(i * 16, 16), :], 0.0)

    for symbolic in (True, False):
        with pytest.raises(NkiValidationError, match="begins at partition 16"):
            traced(body, symbolic)


def test_operands_of_one_kind_are_checked_once_for_each_device() -> None:
    def body() -> None:
        nisa.nc_matmul(psum(8, 1024), sbuf(8, 8), sbuf(8, 1024))

    for _ in range(2):
        assert trace(kernel_of(body), (), {}, device("trn3")).program.works
        with pytest.raises(NkiValidationError, match="at most 512"):
            traced(body, True)


def kernel_of(body: Callable[[], Any]) -> Callable[[], NkiTensor]:
    def kernel() -> NkiTensor:
        body()
        return nl.ndarray((1,), F32, buffer=nl.shared_hbm)

    return kernel


def test_flags_may_be_numbers_of_numpy_or_of_loops() -> None:
    def body() -> None:
        dst, one = psum(1, 1), sbuf(1, 1)
        nisa.memset(one, 1.0)
        for i in range(2):
            nisa.nc_matmul(dst, one, one, accumulate=np.bool_(i > 0))  # type: ignore[arg-type]

    modes = traced(body, False).program.accesses[:, 1].tolist()
    assert modes == [1, 1, 0, 0, 2, 0, 0]


def test_tiles_placed_by_address_begin_where_operands_may() -> None:
    def body(partition: int) -> None:
        nisa.memset(nl.ndarray((32, 8), F32, address=(partition, 0)), 0.0)

    assert len(traced(lambda: body(96), True).program) == 1
    with pytest.raises(NkiValidationError, match="begins at partition 16"):
        traced(lambda: body(16), True)
