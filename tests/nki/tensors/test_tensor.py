from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tuner.nki.language as nl
from tests.nki.tracing import Array, inside, numbered, tile
from tuner.nki import NkiValidationError, NotSupportedError
from tuner.nki.tensors.tensor import Buffer, rounded

BUFFERS = [nl.sbuf, nl.psum, nl.hbm]


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An index that is legal for a tensor of this shape."""
    parts: list[Any] = []
    for size in shape[: draw(st.integers(1, len(shape)))]:
        if draw(st.booleans()):
            parts.append(draw(st.integers(-size, size - 1)))
            continue
        start = draw(st.integers(0, size - 1))
        stop = draw(st.integers(start + 1, size))
        step = draw(st.sampled_from([None, 1, 2, 3]))
        low = st.sampled_from([start, start - size, *([None] if start == 0 else [])])
        high = st.sampled_from([stop, None if stop == size else stop - size])
        parts.append(slice(draw(low), draw(high), step))
    if draw(st.booleans()):
        # An ellipsis stands for the dimensions that are left out, wherever they are.
        parts = [*parts, Ellipsis] if len(parts) < len(shape) else [Ellipsis, *parts]
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


def as_numpy(array: Array, key: Any, buffer: Buffer) -> Array:
    """What numpy gives for the index, with NKI's rules about dimensions that an int drops."""
    parts = list(key) if isinstance(key, tuple) else [key]
    first = parts[0]
    if first is Ellipsis and len(parts) > array.ndim:
        first = (parts := parts[1:])[0]
    if buffer != nl.hbm and isinstance(first, int):
        parts[0] = slice(first, first + 1 or None)
    found: Array = array[tuple(parts)]
    rank = 1 if buffer == nl.hbm else 2
    return found.reshape(found.shape + (1,) * (rank - found.ndim))


@settings(max_examples=300)
@given(st.data(), st.sampled_from(BUFFERS))
def test_indexing_is_numpy_s(data: st.DataObject, buffer: Buffer) -> None:
    dims = st.integers(1, 7)
    low = 1 if buffer == nl.hbm else 2
    shape = tuple(data.draw(st.lists(dims, min_size=low, max_size=4)))

    def body() -> None:
        expected = numbered(shape)
        view = tile(expected, buffer=buffer)
        whole = view
        for _ in range(data.draw(st.integers(1, 3))):
            key = data.draw(keys(view.shape))
            expected, view = as_numpy(expected, key, buffer), view[key]
            assert view.shape == expected.shape
            np.testing.assert_array_equal(view.read(), expected)
        assert (view.ndim, view.size) == (expected.ndim, expected.size)
        view.write(np.full(view.shape, -1))
        changed = np.isin(numbered(shape), expected)
        np.testing.assert_array_equal(whole.read() == -1, changed)

    inside(body)


def test_int_keeps_the_partition_dimension_on_chip_and_drops_in_hbm() -> None:
    def body() -> None:
        on_chip, in_hbm = tile(numbered((4, 3, 5))), tile(numbered((4, 3, 5)), buffer=nl.hbm)
        assert on_chip[2].shape == (1, 3, 5)
        assert on_chip[2, 1].shape == (1, 5)
        assert on_chip[2, 1, 0].shape == (1, 1)
        assert on_chip[:, 1, 0].shape == (4, 1)
        assert in_hbm[2].shape == (3, 5)
        assert in_hbm[2, 1].shape == (5,)
        assert in_hbm[2, 1, 0].shape == (1,)

    inside(body)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (slice(0, 5), "expected 0 <= start < stop <= 4"),
        (slice(-5, 2), "expected 0 <= start < stop <= 4"),
        (slice(2, 2), "expected 0 <= start < stop <= 4"),
        (slice(3, 0, -1), "expected 0 <= start < stop <= 4"),
        ((slice(None), nl.ds(1, 3)), "slice 1:4 of dimension 1"),
        (4, "index 4 of dimension 0 .* size is 4"),
        ((0, -4), "index -4 of dimension 1"),
        ((0, 0, 0), "3 indices for NkiTensor"),
    ],
)
def test_out_of_range_is_an_error(key: Any, message: str) -> None:
    def body() -> None:
        for buffer in BUFFERS:
            tensor = nl.ndarray((4, 3), nl.float32, buffer=buffer)
            with pytest.raises(NkiValidationError, match=message):
                tensor[key]

    inside(body)


def test_indexing_with_a_tensor_is_not_supported() -> None:
    with pytest.raises(NotSupportedError, match="indexing a tensor with NkiTensor"):
        inside(lambda: tile(numbered((4, 3)))[tile([[1.0]])])


def test_views_share_storage() -> None:
    def body() -> None:
        whole = tile(np.zeros((4, 6)))
        whole[1:3][:, nl.ds(2, 3)].write(np.ones((2, 3)))
        expected = np.zeros((4, 6))
        expected[1:3, 2:5] = 1
        np.testing.assert_array_equal(whole.read(), expected)

    inside(body)


@given(st.permutations([2, 3, 4]), st.integers(0, 3), st.sampled_from(BUFFERS))
def test_reshape_is_numpy_s(dims: list[int], cut: int, buffer: Buffer) -> None:
    def body() -> None:
        array = numbered((6, *dims))
        new = (6, *dims[cut:], *dims[:cut]) if buffer != nl.hbm else (*dims, 6)
        view = tile(array, buffer=buffer).reshape(new)
        np.testing.assert_array_equal(view.read(), array.reshape(new))
        rows = tile(array, buffer=buffer)[2:4].reshape((2, 24))
        np.testing.assert_array_equal(rows.read(), array[2:4].reshape(2, 24))

    inside(body)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.reshape((4, 7)), r"cannot reshape .* to \[4, 7\]"),
        (lambda t: t.reshape((2, 12)), r"cannot reshape .* to \[2, 12\]"),
        (lambda t: t[:, 1:3].permute((0, 2, 1)).reshape((4, 4)), "it is not contiguous"),
        (lambda t: t[:, 0:3:2].reshape((4, 4)), "it is not contiguous"),
    ],
)
def test_reshape_refuses(change: Any, message: str) -> None:
    with pytest.raises(NkiValidationError, match=message):
        inside(lambda: change(tile(numbered((4, 3, 2)))))


def test_attributes() -> None:
    def body() -> None:
        t = nl.ndarray((8, 3, 5), nl.bfloat16, buffer=nl.psum)
        assert (t.shape, t.ndim, t.size, t.dtype) == ((8, 3, 5), 3, 120, nl.bfloat16)
        assert t.buffer == nl.psum
        assert repr(t) == "NkiTensor([8, 3, 5], bfloat16, nl.psum)"

    inside(body)


def nearest_bfloat16(values: Array) -> Array:
    """Rounds the bits: half a unit, and one less where the kept part is even."""
    bits = values.view(np.uint32)
    up = (bits >> 16) & 1
    kept = ((bits.astype(np.uint64) + 0x7FFF + up) & 0xFFFF0000).astype(np.uint32)
    return kept.view(np.float32)


FINITE = arrays.arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=False))
TIES = st.integers(0, 0x7F7F).map(lambda high: np.uint32(high << 16 | 0x8000).view(np.float32))


@given(FINITE | arrays.arrays(np.float32, 4, elements=TIES))
def test_bfloat16_rounds_to_nearest_even(values: Array) -> None:
    found = rounded(values, "bfloat16")
    np.testing.assert_array_equal(found, nearest_bfloat16(values))
    np.testing.assert_array_equal(found, values.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_writing_rounds_once() -> None:
    cases = {
        ("bfloat16", 1 + 2**-8): 1.0,
        ("bfloat16", 1 + 3 * 2**-8): 1 + 2**-6,
        ("float16", 2049.0): 2048.0,
        ("float16", 2051.0): 2052.0,
        ("float8_e4m3", 17.0): 16.0,
        ("float8_e4m3", 240.0): 240.0,
        ("float8_e5m2", 9.0): 8.0,
        ("float32", 1 + 2**-23): 1 + 2**-23,
    }

    def body() -> dict[tuple[str, float], float]:
        return {case: tile([[case[1]]], case[0]).read().item() for case in cases}

    assert inside(body) == cases


def test_whole_numbers_round_to_nearest_even_and_saturate() -> None:
    values = [0.5, 1.5, -2.5, 300.0, -300.0, np.inf, np.nan]
    expected = {
        nl.int8: [0, 2, -2, 127, -128, 127, 0],
        nl.uint8: [0, 2, 0, 255, 0, 255, 0],
        nl.int16: [0, 2, -2, 300, -300, 32767, 0],
        nl.int32: [0, 2, -2, 300, -300, 2**31 - 1, 0],
        nl.uint32: [0, 2, 0, 300, 0, 2**32 - 1, 0],
        nl.bool_: [1, 1, 1, 1, 1, 1, 1],
    }
    for dtype, found in expected.items():
        assert rounded(np.array(values, np.float32), dtype).tolist() == found
    assert rounded(np.array([2**31 - 1, -(2**31)], np.int64), nl.int32).tolist() == [
        2**31 - 1,
        -(2**31),
    ]


def test_tfloat32_keeps_ten_bits() -> None:
    values = np.array([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-10, -np.inf, 1e-40], np.float32)
    found = rounded(values, nl.tfloat32)
    assert found[:4].tolist() == [1, 1 + 2**-9, 1 + 2**-10, -np.inf]
    assert np.isnan(rounded(np.float32(np.nan), nl.tfloat32))


def test_float8_forms_differ_in_range() -> None:
    for dtype, largest in [(nl.float8_e4m3, 240), (nl.float8_e4m3fn, 448), (nl.float8_e5m2, 57344)]:
        assert rounded(np.array([largest]), dtype).tolist() == [largest]
        assert not np.isfinite(rounded(np.array([largest * 1.5]), dtype)).any()


def test_memory_that_nothing_was_written_to() -> None:
    def body() -> None:
        for buffer in BUFFERS:
            assert np.isnan(nl.ndarray((2, 3), nl.bfloat16, buffer=buffer).read()).all()
            found = nl.ndarray((2, 3), nl.int16, buffer=buffer)
            assert found.read().tolist() == [[4] * 3] * 2
            assert not found.written().any()

    inside(body)
