"""Views that change shape, order or dtype, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.tracing import Array, inside, numbered, tile
from tuner.neuroncore import device
from tuner.nki import NkiValidationError, NotSupportedError
from tuner.nki.record.recorder import active
from tuner.nki.record.tracing import trace
from tuner.nki.tensors.tensor import NkiTensor

BUFFERS = [nl.sbuf, nl.psum, nl.hbm]


def same(view: NkiTensor, expected: Any) -> None:
    """The view is this array, and lies where its offset and strides say."""
    assert view.shape == expected.shape
    np.testing.assert_array_equal(view.read(), expected)
    assert view.allocation.values is not None
    places = sum(
        np.arange(size).reshape([-1 if axis == d else 1 for d in range(view.ndim)]) * stride
        for axis, (stride, size) in enumerate(view.get_pattern())
    )
    if view.allocation.base is None:
        flat = view.allocation.values[view.offset + np.broadcast_to(places, view.shape)]
        np.testing.assert_array_equal(flat, expected)


@settings(max_examples=200)
@given(st.data(), st.sampled_from(BUFFERS))
def test_chains_of_views_are_numpy_s(data: st.DataObject, buffer: Any) -> None:
    on_chip = buffer != nl.hbm

    def step(view: NkiTensor, array: Array) -> tuple[NkiTensor, Array]:
        free = range(1 if on_chip else 0, view.ndim)
        dim = data.draw(st.sampled_from(free))
        size = view.shape[dim]
        kind = data.draw(st.sampled_from(["slice", "select", "permute", "broadcast", "split"]))
        if kind == "slice":
            start = data.draw(st.integers(0, size - 1))
            end = data.draw(st.integers(start + 1, size))
            gap = data.draw(st.integers(1, 3))
            index = (slice(None),) * dim + (slice(start, end, gap),)
            return view.slice(dim, start, end, gap), array[index]
        if kind == "select" and view.ndim > 2:
            at = data.draw(st.integers(0, size - 1))
            return view.select(dim, at), np.asarray(array.take(at, dim))
        if kind == "permute":
            order = data.draw(st.permutations(list(free)))
            order = [0, *order] if on_chip else order
            return view.permute(order), array.transpose(order)
        if kind == "broadcast":
            wide = np.broadcast_to(
                np.expand_dims(array, dim), (*array.shape[:dim], 2, *array.shape[dim:])
            )
            return view.expand_dim(dim).broadcast(dim, 2), wide
        factor = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        shape = (*array.shape[:dim], factor, size // factor, *array.shape[dim + 1 :])
        split = view.reshape_dim(dim, (factor, -1))
        same(split.flatten_dims(dim, dim + 1), array)
        return split, array.reshape(shape)

    def body() -> None:
        array = numbered((4, 6, 4))
        view = tile(array, buffer=buffer)
        for _ in range(data.draw(st.integers(1, 4))):
            view, array = step(view, array)
            same(view, array)

    inside(body)


SHAPES = [(1,), (2,), (3,), (1, 2), (2, 1)]


@settings(max_examples=200)
@given(st.data(), st.sampled_from(BUFFERS))
def test_reshape_is_refused_where_numpy_would_copy(data: st.DataObject, buffer: Any) -> None:
    def body() -> None:
        array = numbered((4, 4, 6))
        view = tile(array, buffer=buffer)
        start, step = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 2))
        view, array = view[:, start:4, ::step], array[:, start:4, ::step]
        if data.draw(st.booleans()):
            view, array = view.permute((0, 2, 1)), array.transpose(0, 2, 1)
        shapes = [shape for shape in SHAPES if array.size % (4 * int(np.prod(shape))) == 0]
        wanted = data.draw(st.sampled_from(shapes))
        wanted = (4, array.size // (4 * int(np.prod(wanted))), *wanted)
        if buffer == nl.hbm:
            shared = np.shares_memory(array.reshape(wanted), array)
        else:  # partitions are apart
            shared = np.shares_memory(array[0].reshape(wanted[1:]), array[0])
        if shared:
            same(view.reshape(wanted), array.reshape(wanted))
        else:
            with pytest.raises(NkiValidationError, match="it is not contiguous"):
                view.reshape(wanted)

    inside(body)


def test_contiguity() -> None:
    def body() -> None:
        whole = tile(numbered((4, 4, 6)))
        for view, expected in [
            (whole, True),
            (whole[1:3], True),
            (whole[:, 1:3], True),
            (whole[:, :, 1:3], False),
            (whole[:, 2], True),
            (whole[:, :, 2:3], False),
            (whole[:, 1:2, 2:4], True),
            (whole.permute((0, 2, 1)), False),
        ]:
            assert view.is_contiguous() == expected
        assert not tile(numbered((4, 6)), buffer=nl.hbm)[:, 0:3].is_contiguous()
        assert not whole.is_indirect()

    inside(body)


def test_rearrange_splits_orders_and_merges() -> None:
    def body() -> None:
        array = numbered((4, 24))
        t = tile(array)
        same(
            t.rearrange(("b", ("h", "w")), ("b", "w", "h"), {"h": 4}),
            array.reshape(4, 4, 6).transpose(0, 2, 1),
        )
        back = t.rearrange(("b", ("h", "w")), ("b", "h", "w"), {"w": 6})
        same(back.rearrange(("b", "h", "w"), ("b", ("h", "w"))), array)
        with pytest.raises(NkiValidationError, match="the same names on both sides"):
            t.rearrange(("b", "h"), ("b", "w"))
        with pytest.raises(NkiValidationError, match="it is not contiguous"):
            back.rearrange(("b", "h", "w"), ("b", ("w", "h")))

    inside(body)


def test_patterns_address_the_storage() -> None:
    def body() -> None:
        array = numbered((4, 6, 8))
        t = tile(array)
        assert (t.get_pattern(), t.offset) == ([[48, 4], [8, 6], [1, 8]], 0)
        cut = t[1:3, :, 2:4]
        assert (cut.get_pattern(), cut.offset) == ([[48, 2], [8, 6], [1, 2]], 50)
        same(t.ap([[48, 2], [8, 6], [1, 2]], offset=50), array[1:3, :, 2:4])
        same(cut.ap(cut.get_pattern()), array[1:3, :, 2:4])
        same(cut.ap([[48, 2], [1, 3]], offset=1), array[1:3, 0, 3:6])
        pools = array.reshape(4, 3, 2, 4, 2).transpose(0, 1, 3, 2, 4)
        same(t.ap([[48, 4], [16, 3], [2, 4], [8, 2], [1, 2]]), pools)
        inner = t.ap([[48, 4], [2, 24]])
        same(inner.ap([[48, 4], [1, 5]]), array.reshape(4, 48)[:, :5])
        h = tile(array, buffer=nl.hbm)
        same(
            h.ap([[2, 4], [8, 3]], offset=60),
            array.ravel()[60:].take([[0, 8, 16], [2, 10, 18], [4, 12, 20], [6, 14, 22]]),
        )

    inside(body)


def test_names_and_attributes() -> None:
    def body() -> None:
        t = nl.ndarray((4, 6), nl.float32, name="weights")
        assert (t[0:2].name, t.strides, t.offset) == ("weights", (6, 1), 0)

    inside(body)


REFUSED: list[tuple[Callable[[NkiTensor], Any], str]] = [
    (lambda t: t.permute((1, 0, 2)), "the partition stays dimension 0"),
    (lambda t: t.permute((0, 1)), "expected every dimension once"),
    (lambda t: t.broadcast(1, 8), "expected a free dimension of size 1"),
    (lambda t: t[0].broadcast(0, 8), "expected a free dimension of size 1"),
    (lambda t: t.expand_dim(0), "no such place"),
    (lambda t: t.squeeze_dim(1), "expected a free dimension of size 1"),
    (lambda t: t[:, 0:1, 0].squeeze_dim(1), "beside 2 others"),
    (lambda t: t.reshape_dim(1, (4, 2)), r"its size is 6"),
    (lambda t: t.reshape_dim(0, (2, 2)), "the partition stays whole"),
    (lambda t: t.flatten_dims(0, 1), "expected free dimensions"),
    (lambda t: t[:, :, 0:4].flatten_dims(1, 2), "it is not contiguous"),
    (lambda t: t.reshape((192,)), "cannot reshape"),
    (lambda t: t.reshape_dim(3, (1, 1)), "it has no dimension 3"),
    (lambda t: t.ap([[96, 2], [1, 8]]), "the first stride is the 48 elements"),
    (lambda t: t.ap([[48, 4], [1, 49]]), "leaves the 4 rows of 48 elements"),
    (lambda t: t.ap([[48, 4], [1, 8]], offset=48), "leaves the 4 rows"),
    (lambda t: t.ap([[48, 4], [-1, 8]]), "expected strides >= 0"),
    (
        lambda t: t[:, :, 0:3].view(nl.bfloat16)[:, :, 0:5].view(nl.float32),
        "expected 10 contiguous",
    ),
    (lambda t: t.view(nl.bfloat16)[:, :, 1:3].view(nl.float32), "it begins at byte 2"),
    (lambda t: t[:, :, ::2].view(nl.bfloat16), "expected 16 contiguous bytes"),
    (lambda t: t.view("float9"), "dtype 'float9'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_refused(change: Callable[[NkiTensor], Any], message: str) -> None:
    with pytest.raises(NkiValidationError, match=message):
        inside(lambda: change(tile(numbered((4, 6, 8)))))


def test_what_is_read_at_run_time_is_not_supported() -> None:
    def body() -> None:
        t, at = tile(numbered((4, 6)), buffer=nl.hbm), tile([[1]], nl.int32)
        for call in (
            lambda: t.select(0, at),
            lambda: t.vector_select(0, at),
            lambda: t.ap([[6, 4], [1, 6]], vector_offset=at),
            lambda: t.indirect(at),
            lambda: t.__setitem__(0, 1),
        ):
            with pytest.raises(NotSupportedError):
                call()

    inside(body)


DTYPES: dict[str, Any] = {
    nl.uint8: np.uint8,
    nl.int8: np.int8,
    nl.uint16: np.uint16,
    nl.int32: np.int32,
    nl.uint32: np.uint32,
    nl.bfloat16: ml_dtypes.bfloat16,
    nl.float16: np.float16,
    nl.float8_e4m3: ml_dtypes.float8_e4m3,
    nl.float32: np.float32,
}


@settings(max_examples=100)
@given(st.sampled_from(list(DTYPES)), st.sampled_from(list(DTYPES)), st.data())
def test_view_reads_and_writes_the_same_bytes(own: str, other: str, data: st.DataObject) -> None:
    def body() -> None:
        random = np.random.default_rng(data.draw(st.integers(0, 99)))
        array = random.integers(-100, 100, (4, 16)).astype(DTYPES[own])
        t = tile(array.astype(np.float64), own)
        whole, expected = t.view(other), array.copy().view(DTYPES[other])
        assert whole.shape == expected.shape
        assert whole.dtype == other
        stop = data.draw(st.integers(1, whole.shape[1]))
        start = data.draw(st.integers(0, stop - 1))
        cut = whole[1:3, start:stop:2]
        np.testing.assert_array_equal(
            cut.read(), expected[1:3, start:stop:2].astype(cut.read().dtype)
        )
        cut.write(np.full(cut.shape, 3))
        expected[1:3, start:stop:2] = 3
        back = expected.view(DTYPES[own]).astype(t.read().dtype)
        np.testing.assert_array_equal(t.read(), back)
        np.testing.assert_array_equal(whole.view(own).read(), back)

    with np.errstate(all="ignore"):
        inside(body)


def test_view_knows_what_was_written() -> None:
    def body() -> None:
        t = nl.ndarray((2, 4), nl.float32)
        t.view(nl.uint8)[:, 5:6].write([[1], [2]])
        assert t.written().tolist() == [[False, True, False, False]] * 2
        t = nl.ndarray((2, 4), nl.uint8)
        t[:, 0:3].write(np.zeros((2, 3)))
        assert t.view(nl.uint16).written().tolist() == [[True, False]] * 2

    inside(body)


def test_bits_of_what_is_no_number_survive() -> None:
    def body() -> None:
        t = tile(np.zeros((2, 2)), nl.bfloat16)
        t.view(nl.uint16).write([[0x7FC1, 0xFF82]] * 2)
        assert t.view(nl.uint16).read().tolist() == [[0x7FC1, 0xFF82]] * 2

    inside(body)


def test_a_view_of_bytes_lies_where_the_tensor_does() -> None:
    def body() -> None:
        t = nl.ndarray((128, 64), nl.float32)
        cut = t[32:64, 8:16]
        assert cut.view(nl.uint8).rectangle() == cut.rectangle() == (32, 32, 32, 32)
        assert t.ap([[128, 64], [1, 16]], 16, dtype=nl.bfloat16).rectangle() == (0, 64, 32, 32)

    inside(body)


def test_repeated_elements_cannot_be_written() -> None:
    def body() -> None:
        view = tile(numbered((4, 1))).broadcast(1, 3)
        with pytest.raises(NkiValidationError, match="repeats elements"):
            view.write(np.zeros((4, 3)))

    inside(body)


def viewed(loops: Callable[[range], Any]) -> Any:
    """A kernel whose views begin where loops say."""
    source = nl.ndarray((8, 64, 16), nl.float32, buffer=nl.hbm)
    target = nl.ndarray((8, 64), nl.float32)
    wide = nl.ndarray((8, 16, 16), nl.float32)
    for i in loops(range(4)):
        for j in loops(range(0, 16, 4)):
            nisa.dma_copy(target.slice(1, j, j + 4), source.select(2, j)[:, i : i + 4])
            nisa.dma_copy(wide.select(1, i), source.ap([[1024, 8], [1, 16]], offset=i * 64 + j))
            nisa.tensor_copy(wide.permute((0, 2, 1)).select(1, j), wide.select(2, j + i))
            nisa.memset(wide.view(nl.bfloat16)[:, i, 2 * j : 2 * j + 2], 0.0)
            nisa.memset(wide[:, i].view(nl.uint8)[:, j * 4 : j * 4 + 4], 0)
            nisa.memset(wide.ap([[256, 8], [2, 4]], offset=16 * i + j), 0.0)
            pair = wide.reshape_dim(1, (4, 4)).select(1, i).flatten_dims(1, 2)
            nisa.tensor_copy(target[:, j : j + 4], pair[:, j : j + 4])
            nisa.tensor_copy(wide[:, 0, 0:4], target[:, j : j + 1].broadcast(1, 4))
    return nl.ndarray((1,), nl.float32, buffer=nl.shared_hbm)


def test_views_in_loops_that_are_recorded_once() -> None:
    def recorded(symbolic: bool) -> Any:
        kernel = lambda: viewed(lambda numbers: active().passes(numbers))  # noqa: E731
        return trace(kernel, (), {}, device("trn2"), symbolic=symbolic)

    once, each = recorded(True), recorded(False)
    assert len(once.recording.instructions) * 4 <= len(each.recording.instructions)
    np.testing.assert_array_equal(once.program.accesses, each.program.accesses)
    np.testing.assert_array_equal(once.program.first_access, each.program.first_access)
