"""Launching kernels with arrays."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tuner.nki as nki
import tuner.nki.language as nl
from tuner.nki import NkiValidationError, simulate
from tuner.nki.launch import Kernel

TARGET = "NEURON_PLATFORM_TARGET_OVERRIDE"
X = np.arange(64, dtype=np.float32).reshape(8, 8)


@nki.jit
def scaled(x: Any, factor: float = 2.0) -> Any:
    """Multiplies by a number."""
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    nl.store(out, nl.multiply(nl.load(x), factor))
    return out


@pytest.mark.parametrize(
    "dtype",
    [
        np.float32,
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
        np.int8,
        np.int16,
        np.int32,
        np.uint8,
        np.uint16,
        np.uint32,
        np.bool_,
    ],
)
def test_arrays_keep_their_dtype(dtype: Any) -> None:
    def copied(x: Any) -> Any:
        out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
        nl.store(out, nl.load(x))
        return out

    x = np.array([[0, 1, 2], [3, 4, 1]]).astype(dtype)
    found = simulate(copied)(x)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.astype(np.float32), x.astype(np.float32))


def test_arguments_by_position_and_by_name() -> None:
    np.testing.assert_array_equal(simulate(scaled)(X), 2 * X)
    np.testing.assert_array_equal(simulate(scaled)(X, 3), 3 * X)
    np.testing.assert_array_equal(simulate(scaled)(factor=3, x=X), 3 * X)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        simulate(scaled)()


def test_calling_a_kernel_simulates_it() -> None:
    np.testing.assert_array_equal(scaled(X), 2 * X)
    np.testing.assert_array_equal(scaled[1](X), 2 * X)


def test_a_kernel_inside_a_kernel_is_its_function() -> None:
    np.testing.assert_array_equal(simulate(lambda x: scaled(x, 5.0))(X), 5 * X)


def test_marked_functions() -> None:
    assert isinstance(scaled, Kernel)
    assert (scaled.__name__, scaled.__doc__) == ("scaled", "Multiplies by a number.")
    assert isinstance(nki.jit(mode="x")(scaled.function), Kernel)
    again = scaled.with_schedule([("b", "a")])
    assert again[2].schedule == (("b", "a"),)
    np.testing.assert_array_equal(again(X), 2 * X)
    wrong: list[Any] = [0, 3, (2, 2)]
    for lnc in wrong:
        with pytest.raises(NkiValidationError, match="1 or 2 cores"):
            scaled[lnc]


def test_several_outputs() -> None:
    def both(x: Any) -> Any:
        return scaled(x), (scaled(x, 3.0),)

    found = simulate(both)(X)
    np.testing.assert_array_equal(found[0], 2 * X)
    np.testing.assert_array_equal(found[1][0], 3 * X)


def test_arrays_that_a_kernel_writes_to_change() -> None:
    def kernel(x: Any, y: Any) -> Any:
        nl.store(x[0:1], nl.zeros((1, 8), nl.float32))
        return scaled(y)

    x, y = X.copy(), X.copy()
    y.flags.writeable = False
    simulate(kernel)(x, y)
    assert (x[0] == 0).all()
    np.testing.assert_array_equal(x[1:], X[1:])


@pytest.mark.parametrize("array", [X.astype(np.float64), np.zeros((0, 3), np.float32)])
def test_arrays_that_no_tensor_can_be(array: Any) -> None:
    with pytest.raises(NkiValidationError, match=r"argument 'x': no NKI tensor is float"):
        simulate(scaled)(array)


def test_only_shared_tensors_can_be_returned() -> None:
    def kernel(x: Any) -> Any:
        return nl.load(x)

    with pytest.raises(NkiValidationError, match=r"must return tensors in nl\.shared_hbm"):
        simulate(kernel)(X)
    with pytest.raises(NkiValidationError, match=r"must return tensors in nl\.shared_hbm"):
        simulate(lambda x: x)(X)


@pytest.mark.parametrize(
    ("value", "columns"),
    [(None, 512), ("trn1", 512), ("gen2", 512), ("inf2", 512), ("gen3", 512), ("trn3", 4096)],
)
def test_the_environment_names_the_device(
    value: str | None, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kernel(x: Any) -> Any:
        assert nl.tile_size.gemm_moving_fmax == columns
        return scaled(x)

    monkeypatch.delenv(TARGET, raising=False)
    if value is not None:
        monkeypatch.setenv(TARGET, value)
    simulate(kernel)(X)


def test_a_device_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TARGET, "trn9")
    with pytest.raises(NkiValidationError, match="trn9: expected one of trn1, inf2"):
        simulate(scaled)(X)
    simulate(scaled, device="trn1")(X)


@nki.jit
def halves(x: Any) -> Any:
    """Each program does its part of the rows."""
    assert nl.num_programs() == nl.num_programs(0)
    assert nl.program_ndim() == (1 if nl.num_programs() > 1 else 0)
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    rows = x.shape[0] // nl.num_programs()
    part = nl.ds(nl.program_id(0) * rows, rows)
    tile = nl.load(x[part])
    nl.store(out[part], nl.add(tile, float(nl.program_id(0))))
    nl.store(x[part], tile)
    return out


def test_two_programs_share_what_they_return_and_are_given() -> None:
    expected = X.copy()
    expected[4:] += 1
    np.testing.assert_array_equal(simulate(halves[2])(X.copy()), expected)
    np.testing.assert_array_equal(halves[2](X.copy()), expected)
    np.testing.assert_array_equal(simulate(halves)(X.copy()), X)


def test_two_programs_keep_the_rest_apart() -> None:
    def kernel(x: Any) -> Any:
        out = nl.ndarray((2, 8), x.dtype, buffer=nl.shared_hbm)
        own = nl.ndarray((1, 8), x.dtype, buffer=nl.private_hbm)
        if nl.program_id() == 0:
            nl.store(own, nl.load(x[0:1]))
        nl.store(out[nl.program_id() : nl.program_id() + 1], nl.load(own))
        return out

    with pytest.warns(nki.HazardWarning, match="never written"):
        found = simulate(nki.jit(kernel)[2])(X)
    np.testing.assert_array_equal(found[0], X[0])
    assert np.isnan(found[1]).all()


def test_programs_that_differ_in_what_they_share() -> None:
    def kernel(x: Any) -> Any:
        return nl.ndarray((8, 8 + nl.program_id()), x.dtype, buffer=nl.shared_hbm)

    with pytest.raises(NkiValidationError, match="differs between programs"):
        simulate(nki.jit(kernel)[2])(X)


def test_a_core_of_trn1_is_one() -> None:
    with pytest.raises(NkiValidationError, match="trn1 has one core"):
        simulate(halves[2], device="trn1")(X)


USER = """
import nki
import nki.isa as nisa
import nki.language as nl
from nki.typing import tensor

@nki.jit
def kernel(x: tensor[8, 8]):
    from nki.language import exp
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    nl.store(out, exp(nl.load(x)))
    return out

y = nki.simulate(kernel)
"""


def test_user_code_imports_nki_where_it_is_lent() -> None:
    before = dict(sys.modules)
    module = types.ModuleType("user")
    with nki.lent():
        exec(USER, vars(module))
        assert sys.modules["nki"] is nki
    assert {name for name in sys.modules if name.partition(".")[0] == "nki"} == set()
    assert not set(sys.modules) - set(before) - {"tuner.nki.typing"}
    np.testing.assert_allclose(module.y(X / 64), np.exp(X / 64), rtol=1e-6)
    np.testing.assert_allclose(simulate(module.kernel)(X / 64), np.exp(X / 64), rtol=1e-6)
    assert nki.__spec__ is not None
    assert nki.__spec__.name == "tuner.nki"


def test_a_real_nki_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    real, part = types.ModuleType("nki"), types.ModuleType("nki.special")
    monkeypatch.setitem(sys.modules, "nki", real)
    monkeypatch.setitem(sys.modules, "nki.special", part)
    with nki.lent(), nki.lent():
        assert importlib.import_module("nki") is nki
        with pytest.raises(ModuleNotFoundError, match=r"nki\.special is not part"):
            importlib.import_module("nki.special")
    assert sys.modules["nki"] is real
    assert sys.modules["nki.special"] is part
