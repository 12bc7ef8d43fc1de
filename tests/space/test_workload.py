from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.runtime.errors import TunerError
from tuner.space import Argument, ArgumentSpec, Workload, parse_argument, parse_sizes


@given(st.dictionaries(st.sampled_from("MKNB"), st.integers(1, 2**31), min_size=1))
def test_sizes_are_read_as_a_workload_writes_them(sizes: dict[str, int]) -> None:
    workload = Workload.of("k", tuple(sizes), ("float32",), sizes, "float32")
    assert parse_sizes(workload.shape) == sizes


def test_sizes_may_be_spaced() -> None:
    assert parse_sizes(" M = 8 ,K=2") == {"M": 8, "K": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not DIM=WHOLE NUMBER"),
        ("M=8,", "'' is not DIM"),
        ("M=-8", "'M=-8' is not DIM"),
        ("M=1e3", "is not DIM"),
        ("M=" + "9" * 5000, "is not DIM"),
        ("M=8,M=8", "M is given twice"),
    ],
    ids=lambda text: text[:12],
)
def test_sizes_of_another_form_are_an_error(text: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        parse_sizes(text)


def test_an_argument_is_read() -> None:
    argument = parse_argument("lhsT=bfloat16[4096, 1024]")
    assert argument == Argument("lhsT", (4096, 1024), "bfloat16")
    assert argument.bytes == 4096 * 1024 * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lhsT", "expected something like"),
        ("=bfloat16[1]", "expected something like"),
        ("lhsT=bfloat16[-1]", "expected something like"),
        ("lhsT=bfloat16[" + "9" * 5000 + "]", "expected something like"),
        ("lhsT=bfloat[8]", "unknown dtype 'bfloat'; did you mean .*bfloat16"),
        ("lhsT=bfloat16[0]", "a size is outside"),
        ("lhsT=bfloat16[2147483649]", "a size is outside"),
    ],
    ids=lambda text: text[:20],
)
def test_an_argument_of_another_form_is_an_error(text: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        parse_argument(text)


def test_a_spec_is_bound_to_sizes_and_dtype() -> None:
    spec = ArgumentSpec.parse("x", "dtype[M+2,1]", ("M",))
    assert spec.bind({"M": 3}, "float32") == Argument("x", (5, 1), "float32")


def test_a_spec_may_have_its_own_dtype() -> None:
    spec = ArgumentSpec.parse("scale", "float32[1, 2*N]", ("M", "N"))
    assert spec.bind({"M": 3, "N": 4}, "bfloat16") == Argument("scale", (1, 8), "float32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dtype", r"x = 'dtype': expected something like 'dtype\[M,N\]'"),
        ("float[M]", "unknown dtype of x: 'float'"),
        ("dtype[M,Q]", "unknown dim of x: 'Q'"),
    ],
)
def test_a_spec_of_another_form_is_an_error(text: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        ArgumentSpec.parse("x", text, ("M", "N"))


@pytest.mark.parametrize("text", ["dtype[M//8]", "dtype[M-8]", "dtype[M/2]", "dtype['M']"])
def test_a_shape_that_is_empty_or_not_whole_is_an_error(text: str) -> None:
    with pytest.raises(TunerError, match="its shape here is"):
        ArgumentSpec.parse("x", text, ("M",)).bind({"M": 4}, "float32")


def test_a_workload_is_written_in_the_order_of_the_dims() -> None:
    workload = Workload.of("k", ("M", "N"), ("float32",), {"N": 2, "M": 8}, "float32")
    assert str(workload) == "k M=8,N=2 float32"


@pytest.mark.parametrize(
    ("sizes", "dtype", "message"),
    [
        ({"M": 8}, "float32", r"k needs a size for N \(its dims: M, N\)"),
        ({"M": 8, "N": 2, "n": 2}, "float32", "unknown dim of k: 'n'; did you mean N"),
        ({"M": 0, "N": 2}, "float32", "M=0: expected a whole number from 1"),
        ({"M": True, "N": 2}, "float32", "M=True: expected"),
        ({"M": 2**31 + 1, "N": 2}, "float32", "M=2147483649: expected"),
        ({"M": 8, "N": 2}, "float16", "unknown dtype of k: 'float16'; did you mean float32"),
    ],
)
def test_a_workload_the_kernel_does_not_take_is_an_error(
    sizes: dict[str, int], dtype: str, message: str
) -> None:
    with pytest.raises(TunerError, match=message):
        Workload.of("k", ("M", "N"), ("float32", "bfloat16"), sizes, dtype)
