"""Kernels written by others, run unchanged where they lie.

NKI_EXAMPLES names the folder `nki/examples` of a copy of the Neuron SDK's public repository;
without it nothing runs.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

import tuner.nki
from tuner.neuroncore import device
from tuner.neuroncore.program import Work
from tuner.nki import NkiValidationError
from tuner.nki.record.tracing import trace
from tuner.space import Argument

EXAMPLES = os.environ.get("NKI_EXAMPLES", "")
TARGET = "NEURON_PLATFORM_TARGET_OVERRIDE"
pytestmark = pytest.mark.skipif(not EXAMPLES, reason="NKI_EXAMPLES names no folder")

Array = npt.NDArray[Any]
RANDOM = np.random.default_rng(0)


@contextmanager
def example(path: str) -> Iterator[ModuleType]:
    """Loads an example as a user's script is loaded."""
    before = os.environ.get(TARGET)
    with tuner.nki.lent():
        spec = importlib.util.spec_from_file_location("example", Path(EXAMPLES) / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        os.environ.pop(TARGET, None)
        try:
            yield module
        finally:
            if before is not None:
                os.environ[TARGET] = before
    assert "nki" not in sys.modules


def normal(*shape: int, dtype: Any = np.float32) -> Array:
    return RANDOM.standard_normal(shape, np.float32).astype(dtype)


def error(found: Array, expected: Array) -> float:
    """The largest difference, in parts of the largest value."""
    expected = expected.astype(np.float64)
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max())


def timed(kernel: Any, arguments: tuple[Any, ...]) -> dict[Work, int]:
    """The work of a kernel where only time is asked."""
    given = inspect.signature(kernel).bind(*arguments).arguments
    tensors = [
        Argument(name, value.shape, str(value.dtype))
        for name, value in given.items()
        if isinstance(value, np.ndarray)
    ]
    rest = {name: value for name, value in given.items() if not isinstance(value, np.ndarray)}
    return trace(kernel, tensors, rest, device("trn2")).recording.work_counts()


def check(
    path: str,
    name: str,
    arguments: tuple[Any, ...],
    expected: Array | tuple[Array, ...],
    bound: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with example(path) as module, warnings.catch_warnings():
        warnings.simplefilter("error")
        run = tuner.nki.simulate(getattr(module, name))
        found = run(*arguments)
        assert timed(getattr(module, name), arguments) == run.recordings[0].work_counts()
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    largest = max(error(mine, np.asarray(theirs)) for mine, theirs in pairs)
    with capsys.disabled():
        print(f"\n{path} {name} {arguments[0].dtype}: maximal error {largest:.2g}")
    assert largest <= bound


MATMULS: list[tuple[str, int, int, int]] = [
    ("nki_matmul_basic_", 128, 64, 512),
    ("nki_matmul_tiled_", 256, 256, 512),
    ("nki_matmul_hoist_load_", 256, 256, 1024),
    ("nki_matmul_block_free_dimension_", 256, 256, 1024),
    ("nki_matmul_fully_optimized_", 1024, 2048, 1024),
]
BFLOAT16 = 2.0**-8


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize(("name", "k", "m", "n"), MATMULS)
def test_matmul(
    name: str,
    k: int,
    m: int,
    n: int,
    dtype: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left, right = normal(k, m, dtype=dtype), normal(k, n, dtype=dtype)
    expected = left.astype(np.float64).T @ right.astype(np.float64)
    bound = 1e-6 if dtype is np.float32 else BFLOAT16
    path = "matrix_multiplication/matrix_multiplication_nki_kernels.py"
    check(path, name, (left, right), expected, bound, capsys)


def test_tensor_addition(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = normal(256, 1024), normal(256, 1024)
    path = "tensor_addition/tensor_addition_nki_kernels.py"
    check(path, "nki_tensor_add", (a, b), a + b, 0, capsys)


@pytest.mark.parametrize("name", ["baremetal", "jax", "torch"])
def test_getting_started(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = normal(4, 3, dtype=np.float16), normal(4, 3, dtype=np.float16)
    check(f"getting_started_{name}.py", "nki_tensor_add_kernel", (a, b), a + b, 0, capsys)


def test_transpose2d(capsys: pytest.CaptureFixture[str]) -> None:
    a = np.arange(5 * 3 * 4, dtype=np.int8).reshape(5, 12)
    expected = a.reshape(5, 3, 4).transpose(0, 2, 1).reshape(5, 12)
    path = "transpose2d/transpose2d_nki_kernels.py"
    check(path, "tensor_transpose2D_kernel_", (a, (3, 4)), expected, 0, capsys)


def test_average_pool2d(capsys: pytest.CaptureFixture[str]) -> None:
    a = np.arange(2 * 6 * 6, dtype=np.float16).reshape(2, 6, 6)
    expected = a.reshape(2, 3, 2, 3, 2).mean(axis=(2, 4), dtype=np.float32)
    path = "average_pool2d/average_pool2d_nki_kernels.py"
    check(path, "tensor_avgpool_kernel", (a, 2), expected, 0, capsys)


def mamba(delta: Array, u: Array, a: Array, b: Array, c: Array) -> Array:
    """The selective scan, step by step in float64."""
    delta, u, a, b, c = (x.astype(np.float64) for x in (delta, u, a, b, c))
    state = np.zeros((delta.shape[0], delta.shape[1], a.shape[1]))
    out = np.zeros(delta.shape)
    for t in range(delta.shape[2]):
        step = delta[:, :, t, None]
        state = state * np.exp(step * a) + step * u[:, :, t, None] * b[:, None, :, t]
        out[:, :, t] = (state * c[:, None, :, t]).sum(-1)
    return out


@pytest.mark.parametrize("version", [1, 2, 3])
def test_fused_mamba(version: int, capsys: pytest.CaptureFixture[str]) -> None:
    batch, channels, length, states = 1, 256, 1024, 4
    delta = np.abs(normal(batch, channels, length)) * np.float32(0.1)
    u, b = normal(batch, channels, length), normal(batch, states, length)
    a, c = -np.abs(normal(channels, states)), normal(batch, states, length)
    arguments = (delta, u, a, b, c)
    path = "fused_mamba/mamba_nki_kernels.py"
    check(path, f"mamba_v{version}", arguments, mamba(*arguments), 1e-5, capsys)


def test_indexing(capsys: pytest.CaptureFixture[str]) -> None:
    a: Array = np.arange(20, dtype=ml_dtypes.bfloat16).reshape(4, 5)
    halves = (a[:, ::2], a[:, 1::2])
    check("index-case-1.py", "tensor_split_kernel_", (a,), halves, 0, capsys)
    a = np.arange(2 * 6 * 6, dtype=ml_dtypes.bfloat16).reshape(2, 6, 6)
    pools = a.reshape(2, 3, 2, 3, 2).astype(np.float32).max(axis=(2, 4))
    check("index-case-3.py", "tensor_maxpool_kernel_", (a, 2), pools, 0, capsys)


def test_layouts(capsys: pytest.CaptureFixture[str]) -> None:
    a = normal(128, 512)
    check("layout-pass.py", "tensor_exp_kernel_", (a,), np.exp(a), 1e-6, capsys)
    with example("layout-violation.py") as module:
        kernel = tuner.nki.simulate(module.tensor_exp_kernel_)
        with pytest.raises(NkiValidationError, match=r"256 partitions, nl\.sbuf has 128"):
            kernel(normal(256, 512))


def test_the_simulator_s_own_example_checks_itself() -> None:
    with example("simulate/nki_simulate_example.py") as module:
        assert module.result.shape == (128, 512)
