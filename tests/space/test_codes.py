from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Parameter
from tuner.space.codes import INACTIVE, Radix, lookup


def numbers(name: str, count: int) -> Parameter:
    return Parameter(name, tuple(range(count)), 0)


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=4))
def test_codes_count_the_rows_in_lexicographic_order(shape: list[tuple[int, bool]]) -> None:
    parameters = [numbers(f"p{i}", count) for i, (count, _) in enumerate(shape)]
    radix = Radix(parameters, np.array([optional for _, optional in shape]))
    grids = [np.arange(INACTIVE if optional else 0, count) for count, optional in shape]
    rows = np.stack([grid.ravel() for grid in np.meshgrid(*grids, indexing="ij")], axis=1)
    assert radix.encode(rows).tolist() == list(range(len(rows)))
    assert radix.decode(np.arange(len(rows))).tolist() == rows.tolist()


def test_indices_outside_have_no_code() -> None:
    radix = Radix([numbers("p", 3), numbers("q", 2)], np.array([False, True]))
    outside = np.array([[3, 0], [-1, 0], [0, 2], [0, -2]])
    assert radix.encode(outside).tolist() == [-1, -1, -1, -1]


def test_rows_are_as_small_as_the_values_allow() -> None:
    assert Radix([numbers("p", 127)], np.array([True])).dtype == np.int8
    assert Radix([numbers("p", 128)], np.array([True])).dtype == np.int16


def test_too_many_combinations_for_a_code() -> None:
    fits = [numbers(f"p{i}", 2) for i in range(62)]
    top = Radix(fits, np.zeros(62, bool)).encode(np.ones((1, 62), np.int8))
    assert top.tolist() == [2**62 - 1]
    many = [*fits, numbers("wide", 3)]
    with pytest.raises(TunerError, match=r"1\.4e\+19 combinations .*most values: 'wide', 3"):
        Radix(many, np.zeros(63, bool))


def test_lookup_finds_places_or_none() -> None:
    codes = np.array([2, 3, 7])
    assert lookup(codes, np.array([-1, 2, 3, 4, 7, 9])).tolist() == [-1, 0, 1, -1, 2, -1]
