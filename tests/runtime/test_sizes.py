from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.runtime.errors import TunerError
from tuner.runtime.sizes import (
    checked_sizes,
    dims_of,
    variant_values,
    without_defaults,
    words_of,
    workload_key,
)
from tuner.space import parse_sizes

DIMS = ("M", "N")
VARIANTS = {"how": ("copy", "add", "scale"), "result": ("same", "wide")}


def checked(given: dict[str, Any]) -> dict[str, int | str]:
    return checked_sizes("join", DIMS, VARIANTS, given)


def test_there_is_one_way_to_write_a_workload() -> None:
    sizes = checked({"result": "wide", "N": 2, "how": "copy", "M": 8})
    assert list(sizes.items()) == [("M", 8), ("N", 2), ("result", "wide")]
    assert workload_key(sizes) == "M=8,N=2,result=wide"


WORDS = st.fixed_dictionaries(
    {"M": st.integers(1, 2**31), "N": st.integers(1, 2**31)},
    optional={name: st.sampled_from(words) for name, words in VARIANTS.items()},
)


@given(WORDS, st.randoms())
def test_equal_workloads_have_equal_sizes_and_keys(given: dict[str, Any], random: Any) -> None:
    whole = {**variant_values(VARIANTS, given), **dims_of(given)}
    shuffled = dict(random.sample(list(whole.items()), len(whole)))
    assert list(checked(shuffled).items()) == list(checked(given).items())
    assert parse_sizes(workload_key(checked(given))) == checked(given)


@given(WORDS)
def test_dims_and_variants_are_told_apart(given: dict[str, Any]) -> None:
    sizes = checked(given)
    assert {**dims_of(sizes), **words_of(sizes)} == sizes
    assert set(dims_of(sizes)) == set(DIMS)
    values = variant_values(VARIANTS, sizes)
    assert set(values) == set(VARIANTS)
    assert without_defaults(VARIANTS, {**dims_of(sizes), **values}) == sizes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"how": "ad"}, r"unknown value of join's variant how: 'ad'; did you mean add\?"),
        ({"how": 1}, r"unknown value of join's variant how: '1' \(known: copy, add, scale\)"),
        ({"hwo": "add"}, r"unknown dim or variant of join: 'hwo'; did you mean how\?"),
        ({"N": "add"}, "join: N='add': expected a whole number from 1 to"),
        ({"N": True}, "join: N=True: expected a whole number"),
    ],
)
def test_what_is_no_workload_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        checked({"M": 8, "N": 2, **given})


def test_variants_do_not_stand_for_sizes() -> None:
    with pytest.raises(TunerError, match=r"join needs a size for N \(its dims: M, N\)"):
        checked({"M": 8, "how": "add"})
