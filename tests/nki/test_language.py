from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tuner.nki.language as nl
from tests.nki.tracing import inside
from tuner.neuroncore import device
from tuner.nki import NkiValidationError, NotSupportedError

ndarray: Any = nl.ndarray  # takes what its types forbid


def test_tile_sizes_are_the_device_s() -> None:
    def sizes() -> list[int]:
        t = nl.tile_size
        limits = [t.pmax, t.psum_bank_fmax, t.gemm_stationary_fmax, t.gemm_moving_fmax]
        return [*limits, t.psum_num_banks]

    assert inside(sizes, "trn1") == inside(sizes, "trn2") == [128, 512, 128, 512, 8]
    assert inside(sizes, "trn3") == [128, 512, 128, 4096, 8]


def test_one_program_with_plain_ranges() -> None:
    assert inside(lambda: (nl.program_id(0), nl.num_programs(), nl.program_ndim())) == (0, 1, 0)
    for ranges in (nl.affine_range, nl.sequential_range, nl.static_range):
        assert list(ranges(1, 7, 2)) == [1, 3, 5]
    assert nl.ds(3, 4) == slice(3, 7)


def test_buffers_and_dtypes() -> None:
    assert nl.hbm is nl.private_hbm
    assert len({nl.sbuf, nl.psum, nl.private_hbm, nl.shared_hbm}) == 4
    assert inside(lambda: nl.ndarray((4, 4), nl.bfloat16).dtype == nl.bfloat16)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            lambda: ndarray((8, 8), nl.float32, buffer="sbuf"),
            r"buffer='sbuf': expected nl\.sbuf",
        ),
        (lambda: nl.ndarray((8, 0), nl.float32), r"shape \[8, 0\]: expected positive whole"),
        (lambda: ndarray((8, 2.0), nl.float32), "expected positive whole numbers"),
        (lambda: nl.ndarray((), nl.float32, buffer=nl.hbm), "expected positive whole numbers"),
        (lambda: nl.ndarray((8,), nl.float32), "expected at least 2 dimensions"),
        (lambda: nl.ndarray((8, 8), "float23"), "dtype 'float23' is not supported"),
    ],
)
def test_allocation_refuses(body: Callable[[], Any], message: str) -> None:
    with pytest.raises(NkiValidationError, match=message):
        inside(body)


def test_every_limit_of_a_tile() -> None:
    def sizes() -> dict[str, int]:
        names = [name for name in dir(nl.tile_size) if name[0] != "_"]
        return {name: getattr(nl.tile_size, name) for name in names}

    core = device("trn2")
    assert inside(sizes) == {
        "bn_stats_fmax": 512,
        "gemm_moving_fmax": 512,
        "gemm_stationary_fmax": 128,
        "pmax": 128,
        "psum_bank_fmax": 512,
        "psum_bank_fmax_bytes": 2048,
        "psum_fmax": 512,
        "psum_min_align": 4,
        "psum_num_banks": 8,
        "sbuf_fmax": core.sbuf.usable_bytes_per_partition // 4,
        "sbuf_fmax_bytes": core.sbuf.usable_bytes_per_partition,
        "sbuf_min_align": 1,
        "sbuf_size_bytes": 28 * 2**20,
        "total_available_sbuf_size": core.sbuf.usable_bytes_per_partition,
    }


def test_kinds_of_memory() -> None:
    tests = [nl.is_hbm, nl.is_on_chip, nl.is_psum, nl.is_sbuf]
    found = {b.name: [test(b) for test in tests] for b in (nl.sbuf, nl.psum, nl.hbm, nl.shared_hbm)}
    assert found == {
        "sbuf": [False, True, False, True],
        "psum": [False, True, True, False],
        "private_hbm": [True, False, False, False],
        "shared_hbm": [True, False, False, False],
    }
    assert nl.MemoryRegion.psum is nl.psum
    assert isinstance(nl.sbuf, nl.MemoryRegion)


@pytest.mark.parametrize(
    ("dtype", "buffer", "address", "message"),
    [
        (nl.float32, nl.sbuf, (64, 0), "partitions 64..191"),
        (nl.float32, nl.sbuf, (0, 229376), "bytes 229376..229407 of 128 partitions of 229376"),
        (nl.float32, nl.psum, (0, 512), "PSUM tensors begin at a multiple of 2048 bytes"),
        (nl.float32, nl.hbm, (0, 0), "HBM tensors are not placed"),
        (nl.float32, nl.sbuf, 0, r"expected \(partition, byte of a partition\)"),
        (nl.float32, nl.sbuf, (-1, 0), "partitions -1"),
    ],
)
def test_addresses(dtype: str, buffer: Any, address: Any, message: str) -> None:
    with pytest.raises(NkiValidationError, match=message):
        inside(lambda: nl.ndarray((128, 8), dtype, buffer=buffer, address=address))
    place = (0, 2048)
    found = inside(lambda: nl.ndarray((128, 8), dtype, buffer=nl.psum, address=place))
    assert found.allocation.address == place


@pytest.mark.parametrize("dtype", [np.float32, np.dtype("float32"), 4])
def test_dtypes_are_names(dtype: Any) -> None:
    with pytest.raises(NkiValidationError, match=r"expected one of nki\.language"):
        inside(lambda: ndarray((8, 8), dtype))


@pytest.mark.parametrize("dtype", [nl.float4_e2m1fn_x4, nl.float8_e8m0fnu])
def test_dtypes_that_no_tensor_can_have(dtype: str) -> None:
    with pytest.raises(NotSupportedError, match=dtype):
        inside(lambda: nl.ndarray((8, 8), dtype))


def test_objects_of_a_kernel() -> None:
    class Settings(nl.NKIObject):
        rows: int
        deep: bool = False

        def __post_init__(self) -> None:
            self.twice = 2 * self.rows

    found = Settings(3)
    assert (found.rows, found.deep, found.twice) == (3, False, 6)
    assert Settings(rows=1, deep=True).deep
    with pytest.raises(TypeError, match="has the fields rows, deep"):
        Settings(columns=2)

    @dataclass
    class Data(nl.NKIObject):
        rows: int = 4

    assert Data().rows == 4


def test_what_only_the_compiler_minds() -> None:
    def body() -> None:
        with nl.no_reorder():
            nl.device_print("tile", nl.zeros((8, 8), nl.float32))
        with pytest.raises(NkiValidationError, match="the grid has one axis"):
            nl.program_id(1)

    inside(body)


def test_filling_is_placed_on_the_line_of_the_kernel() -> None:
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    found = inside(lambda: nl.zeros((8, 8), nl.float32))
    assert found.allocation.site == f"test_language.py:{line}"
