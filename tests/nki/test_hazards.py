"""What gives no sure result on hardware is found where values are computed."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array
from tuner.nki import HazardError, HazardWarning, simulate
from tuner.nki.hazards import ACCUMULATION, OVERLAP, UNWRITTEN, Hazard, report

X = np.arange(64, dtype=np.float32).reshape(8, 8)


def line() -> int:
    """The line of the caller."""
    return inspect.currentframe().f_back.f_lineno  # type: ignore[union-attr]


def found(kernel: Callable[..., Any], *arrays: Array) -> tuple[list[Hazard], Any]:
    """The hazards of a kernel, and what it returns."""
    run = simulate(kernel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HazardWarning)
        returned = run(*arrays)
    return list(run.hazards), returned


def out(shape: tuple[int, ...] = (8, 8), name: str = "") -> Any:
    return nl.ndarray(shape, nl.float32, buffer=nl.shared_hbm, name=name)


def half_written(x: Any) -> Any:
    tile = nl.ndarray((8, 8), nl.float32, name="tile")
    nisa.dma_copy(tile[:, 0:4], x[:, 0:4])
    result = out()
    for _ in range(3):
        nisa.dma_copy(result, tile)
    return result


def test_reading_what_was_never_written() -> None:
    hazards, returned = found(half_written, X)
    first = inspect.getsourcelines(half_written)[1]
    message = (
        f"reads tensor 'tile' [8, 8] in nl.sbuf made at test_hazards.py:{first + 1}, "
        "32 of 64 elements that were never written"
    )
    assert hazards == [Hazard(UNWRITTEN, f"test_hazards.py:{first + 5}", message)]
    np.testing.assert_array_equal(returned[:, :4], X[:, :4])
    assert np.isnan(returned[:, 4:]).all()


def test_one_place_is_one_hazard_whatever_is_missing() -> None:
    def kernel(x: Any) -> Any:
        tile, result = nl.ndarray((8, 8), nl.float32), out()
        for i in range(8):
            nisa.dma_copy(tile[:, i : i + 1], x[:, i : i + 1])
            nisa.dma_copy(result, tile)
        return result

    hazards, returned = found(kernel, X)
    assert len(hazards) == 1
    assert "56 of 64 elements" in hazards[0].message
    np.testing.assert_array_equal(returned, X)


def test_warned_of_once_with_the_count() -> None:
    with pytest.warns(
        HazardWarning, match=r"reads tensor 'tile' .* never written \(3 times\)"
    ) as all_:
        simulate(half_written)(X)
    assert [warning.filename for warning in all_] == [__file__]


def test_strict_raises_on_the_line() -> None:
    with pytest.raises(HazardError, match="never written") as caught:
        simulate(half_written, strict=True)(X)
    assert any(entry.name == "half_written" for entry in caught.traceback)


def test_returning_what_was_never_written() -> None:
    def kernel(x: Any) -> Any:
        result = out(name="result")
        nisa.dma_copy(result[0:4], x[0:4])
        return result

    hazards, returned = found(kernel, X)
    assert [hazard.kind for hazard in hazards] == [UNWRITTEN]
    assert "returns tensor 'result' [8, 8] in nl.shared_hbm" in hazards[0].message
    assert hazards[0].line == f"test_hazards.py:{inspect.getsourcelines(out)[1] + 1}"
    assert np.isnan(returned[4:]).all()


def test_a_kernel_that_writes_first_has_none() -> None:
    def kernel(x: Any) -> Any:
        tile, sums = nl.load(x), nl.ndarray((8, 8), nl.float32, buffer=nl.psum)
        for _ in range(2):
            nisa.nc_matmul(sums, tile, tile)
        result = out()
        nl.store(result, nl.copy(sums))
        return result

    hazards, returned = found(kernel, X)
    assert not hazards
    np.testing.assert_array_equal(returned, 2 * X.T @ X)


def test_adding_to_what_was_read() -> None:
    def kernel(x: Any) -> Any:
        tile, sums = nl.load(x), nl.ndarray((8, 8), nl.float32, buffer=nl.psum)
        for _ in range(2):
            nisa.nc_matmul(sums, tile, tile)
            copied = nl.copy(sums)
        result = out()
        nl.store(result, copied)
        return result

    hazards, _ = found(kernel, X)
    assert [hazard.kind for hazard in hazards] == [ACCUMULATION]
    assert hazards[0].line == f"test_hazards.py:{inspect.getsourcelines(kernel)[1] + 3}"


def placed(x: Any, *addresses: tuple[int, int], late: bool = True) -> Any:
    """Loads x into tiles at these addresses and adds them, all loaded before (late) or not."""
    tiles, result = [], out()
    total = nl.zeros((8, 8), nl.float32)
    for address in addresses:
        tile = nl.ndarray((8, 8), nl.float32, address=address)
        nisa.dma_copy(tile, x)
        tiles.append(tile)
        if not late:
            nisa.tensor_tensor(total, total, tile, nl.add)
    for tile in tiles if late else []:
        nisa.tensor_tensor(total, total, tile, nl.add)
    nl.store(result, total)
    return result


def test_tiles_over_others_that_are_still_read() -> None:
    hazards, returned = found(lambda x: placed(x, (0, 0), (0, 16)), X)
    assert [hazard.kind for hazard in hazards] == [OVERLAP]
    assert "32 of 64 elements that tensor [8, 8] in nl.sbuf made at test_hazards.py" in str(
        hazards[0]
    )
    np.testing.assert_array_equal(returned[:, :4], 2 * X[:, :4])
    assert np.isnan(returned[:, 4:]).all()


@pytest.mark.parametrize(
    ("addresses", "late"),
    [
        (((0, 0), (0, 32)), True),
        (((0, 0), (32, 0)), True),
        (((0, 0), (0, 0)), False),
        (((0, 0), (0, 64), (0, 0), (0, 64)), False),
    ],
)
def test_tiles_that_do_not_meet(addresses: tuple[tuple[int, int], ...], late: bool) -> None:
    hazards, returned = found(lambda x: placed(x, *addresses, late=late), X)
    assert not hazards
    np.testing.assert_array_equal(returned, len(addresses) * X)


def test_writing_again_makes_a_tile_whole() -> None:
    def kernel(x: Any) -> Any:
        one = nl.ndarray((8, 8), nl.float32, address=(0, 0))
        two = nl.ndarray((8, 8), nl.float32, address=(0, 0))
        result = out()
        for tile in (one, two, one):
            nisa.dma_copy(tile, x)
        nl.store(result, one)
        return result

    assert not found(kernel, X)[0]


def test_without_a_collection_it_is_a_warning() -> None:
    with pytest.warns(HazardWarning, match=rf"test_hazards.py:{line() + 1}: unsure"):
        report(None, ACCUMULATION, "unsure")
