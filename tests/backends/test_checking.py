from __future__ import annotations

import numpy as np
import pytest

from tuner.backends.checking import compare, random_values
from tuner.nki.tensors.storage import rounded
from tuner.space import Argument


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rounding_is_within_tolerance_and_a_wrong_digit_is_not(dtype: str) -> None:
    x = random_values([Argument("x", (64, 64), dtype)])["x"]
    assert compare(x * 1.0, [x], [dtype], [dtype]) is None
    off = x.copy()
    off[5, 7] += 0.1
    mismatch = compare(x * 1.0, [off], [dtype], [dtype])
    assert mismatch is not None
    assert mismatch.at.startswith("output 0[5, 7] is ")


def rounded_off(dtype: str, output: str, off: float) -> bool:
    """Whether a product of numbers of `dtype` that is off by a share of itself, and rounded to
    `output`, is within tolerance.
    """
    x, y = random_values([Argument(name, (64, 64), dtype) for name in "xy"]).values()
    product = x.astype(float) @ y
    return compare(product, [rounded(product * (1 + off), output)], [output], [dtype]) is None


@pytest.mark.parametrize(
    ("dtype", "output", "fine", "wrong"),
    [
        ("float8_e4m3", "float8_e4m3", 0, 0.4),
        ("float8_e4m3", "bfloat16", 2**-8, 0.1),
        ("float8_e4m3", "float32", 2**-8, 0.1),
        ("bfloat16", "float8_e4m3", 0, 0.4),
        ("bfloat16", "float32", 2**-8, 0.1),
        ("float32", "bfloat16", 2**-8, 0.1),
        ("float32", "float32", 2**-22, 2**-8),
        ("float32", "tfloat32", 2**-11, 2**-6),
    ],
)
def test_an_output_may_have_another_dtype_than_the_inputs(
    dtype: str, output: str, fine: float, wrong: float
) -> None:
    assert rounded_off(dtype, output, fine)
    assert not rounded_off(dtype, output, wrong)


def test_beyond_its_largest_number_a_dtype_may_saturate_or_be_infinite() -> None:
    want = np.array([1000.0, -1000.0, 1.0, 100.0])
    for got in ([240, -240, 1, 96], [np.inf, -np.inf, 1, 104]):
        found = [np.array(got, np.float32)]
        assert compare(want, found, ["float8_e4m3"], ["bfloat16"]) is None
    for wrong in ([-240, -240, 1, 96], [240, -240, np.inf, 96], [np.nan, -240, 1, 96]):
        found = [np.array(wrong, np.float32)]
        assert compare(want, found, ["float8_e4m3"], ["bfloat16"]) is not None


def test_the_worst_of_several_outputs_is_named() -> None:
    x = np.ones((4, 4), np.float32)
    first, second = x.copy(), x.copy()
    first[0, 0], second[1, 2] = 2, 3
    mismatch = compare((x, x), [first, second], ["float32"] * 2, ["float32"])
    assert mismatch is not None
    assert mismatch.at == "output 1[1, 2] is 3, expected 1"
    assert mismatch.error == pytest.approx(1.0)
    assert str(mismatch).startswith("output 1[1, 2] is 3, expected 1: relative error 1, ")


def test_a_reference_of_zeros_accepts_zeros_only() -> None:
    zeros = np.zeros((2, 2), np.float32)
    assert compare(zeros, [zeros], ["float32"], ["float32"]) is None
    mismatch = compare(zeros, [zeros + 1], ["float32"], ["float32"])
    assert mismatch is not None
