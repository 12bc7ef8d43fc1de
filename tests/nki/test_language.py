from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tuner.nki.language as nl
from tests.nki.tracing import inside
from tuner.nki import NkiValidationError

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
