"""What only this kernel has; that every choice equals the reference is tested for all kernels."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from tuner.kernel import LoadedKernel, load_kernel, read_kernel
from tuner.neuroncore import device, policy
from tuner.neuroncore.compiler.building import build
from tuner.neuroncore.compiler.memory import CapacityError
from tuner.neuroncore.simulation import predict
from tuner.nki.record.tracing import Trace, trace
from tuner.runtime.rules import Config, Value
from tuner.space import SearchSpace, find

SPACE = find("rmsnorm_matmul")
NKI = policy("nki")
TOLERANCE = {"bfloat16": 2e-2, "float32": 4e-6}

Shape = tuple[int, int, int]
Array = npt.NDArray[np.float32]


@cache
def kernel() -> LoadedKernel:
    return load_kernel(read_kernel(SPACE.kernel_file, SPACE.entry))


@cache
def space(shape: Shape, dtype: str, core: str) -> SearchSpace:
    workload = SPACE.workload(dict(zip("MKN", shape, strict=True)), dtype)
    return SearchSpace(SPACE.rules, SPACE.scope(workload, device(core).facts()))


def config_of(shape: Shape, dtype: str = "bfloat16", core: str = "trn2", **chosen: Value) -> Config:
    rows = space(shape, dtype, core)
    config = SPACE.rules.complete({**rows.config(rows.default), **chosen}, rows.scope)
    assert SPACE.rules.broken(config, rows.scope) is None
    return config


def run(
    shape: Shape,
    config: Config,
    values: dict[str, Array] | None = None,
    dtype: str = "bfloat16",
    core: str = "trn2",
    **more: Value,
) -> Trace:
    workload = SPACE.workload(dict(zip("MKN", shape, strict=True)), dtype)
    with kernel().lent():
        arguments = SPACE.arguments(workload)
        return trace(kernel().function, arguments, {**config, **more}, device(core), values)


def product_of(
    values: dict[str, Array], config: Config, dtype: str, core: str, **more: Value
) -> Any:
    """What the kernel returns for values of a dtype."""
    (M, K), N = values["x"].shape, values["w"].shape[1]
    found = run((M, K, N), config, values, dtype, core, **more)
    assert found.values is not None
    return found.values[0]


def some(shape: Shape, dtype: str, magnitude: float = 1.0) -> dict[str, Array]:
    """Values that the dtype holds: x of a magnitude, gamma around 1, w of magnitude 1."""
    M, K, N = shape
    random = np.random.default_rng(0)
    values = {
        "x": magnitude * random.standard_normal((M, K)),
        "gamma": 1 + 0.2 * random.standard_normal((1, K)),
        "w": random.standard_normal((K, N)),
    }
    to = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
    return {name: array.astype(to).astype(np.float32) for name, array in values.items()}


def error(found: Any, exact: Any) -> float:
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def latency_us(shape: Shape, config: Config, core: str = "trn2") -> float:
    built = build(run(shape, config, core=core).program, device(core), NKI)
    return predict(built.program, built.memory, device(core), NKI).latency_us


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("core", ["trn1", "trn2", "trn3"])
@pytest.mark.parametrize("rsqrt", ["scalar", "vector"])
@pytest.mark.parametrize("magnitude", [1e-12, 1e-3, 1e12])
def test_rows_of_any_magnitude(rsqrt: str, magnitude: float, core: str, dtype: str) -> None:
    shape = (130, 200, 150)
    values = some(shape, dtype, magnitude)
    values["x"][7] = 0  # eps keeps a row of zeros from 0 / 0
    exact = kernel().attribute(SPACE.reference)(**values)
    for scale, square in product(["before", "after"], ["scalar", "vector", "gpsimd"]):
        chosen = config_of(shape, dtype, core, scale=scale, square=square, rsqrt=rsqrt)
        found = product_of(values, chosen, dtype, core)
        assert error(found, exact) < TOLERANCE[dtype]
        assert not found[7].any()


@pytest.mark.parametrize(("scale", "rsqrt"), [*product(["before", "after"], ["scalar", "vector"])])
def test_eps_counts_where_rows_are_small(scale: str, rsqrt: str) -> None:
    shape = (5, 300, 70)
    values = some(shape, "float32", 1e-2)
    config = config_of(shape, "float32", scale=scale, rsqrt=rsqrt)
    reference = kernel().attribute(SPACE.reference)
    results = [reference(**values, eps=eps) for eps in (1e-6, 1e-2)]
    assert error(results[1], results[0]) > 0.5
    for eps, exact in zip((1e-6, 1e-2), results, strict=True):
        found = product_of(values, config, "float32", "trn2", eps=eps)
        assert error(found, exact) < TOLERANCE["float32"]


def test_reference_has_rows_of_rms_one() -> None:
    values = some((20, 30, 30), "float32", 50)
    ones, identity = np.ones((1, 30), np.float32), np.eye(30, dtype=np.float32)
    rows = kernel().attribute(SPACE.reference)(values["x"], ones, identity)
    np.testing.assert_allclose(np.mean(rows**2, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(rows[:, 0] / rows[:, 1], values["x"][:, 0] / values["x"][:, 1])


@pytest.mark.parametrize("transpose", ["tensor", "vector", "dma"])
@pytest.mark.parametrize("gamma_on", ["partitions", "rows"])
def test_each_column_has_its_own_gamma(gamma_on: str, transpose: str) -> None:
    K = 300
    values = {
        "x": np.ones((129, K), np.float32),
        "gamma": np.arange(K, dtype=np.float32)[None] + 1,
        "w": np.eye(K, dtype=np.float32),
    }
    config = config_of((129, K, K), "float32", gamma_on=gamma_on, transpose=transpose)
    found = product_of(values, config, "float32", "trn2")
    np.testing.assert_allclose(found, np.broadcast_to(values["gamma"], (129, K)), rtol=2e-6)


def test_normalised_rows_never_see_hbm() -> None:
    M, K, N = shape = (600, 300, 700)
    x, w, out = 2 * M * K, 2 * K * N, 2 * M * N
    for gamma_on, blocks in product(["partitions", "rows"], [(128, 5), (256, 3), (512, 2)]):
        rows_per_block, times = blocks
        gamma = 2 * K * (128 if gamma_on == "rows" else 1)  # on 128 partitions
        chosen: dict[str, Any] = {"gamma_on": gamma_on, "rows_per_block": rows_per_block}
        program = run(shape, config_of(shape, **chosen, resident="w")).program
        assert program.hbm_read_bytes == x + gamma + w
        program = run(shape, config_of(shape, **chosen)).program
        assert program.hbm_read_bytes == x + gamma + times * w
        assert program.hbm_written_bytes == out
        program = run(shape, config_of(shape, **chosen, intermediate="hbm")).program
        assert program.hbm_written_bytes == x + out
        assert program.hbm_read_bytes == 2 * x + gamma + w  # w is one block


def test_one_row_reads_w_once() -> None:
    shape = (1, 2048, 8192)
    _, K, N = shape
    rows = space(shape, "bfloat16", "trn2")
    for row in range(0, len(rows), len(rows) // 40):
        config = rows.config(row)
        through_hbm = 2 * K * (config["intermediate"] == "hbm")
        # Without an order that asks for it, the strip is read from SBUF.
        read = run(shape, config).program.hbm_read_bytes - through_hbm
        assert read >= 2 * K * (N + 2)
        assert read <= 2 * K * (N + 2 + N // 512)


def test_fusion_saves_time() -> None:
    shape = (2048, 2048, 6144)
    for core in ("trn1", "trn2", "trn3"):
        fused = latency_us(shape, config_of(shape, core=core), core)
        unfused = latency_us(shape, config_of(shape, core=core, intermediate="hbm"), core)
        assert fused < unfused


@pytest.mark.parametrize(
    ("shape", "dtype", "core"),
    [
        ((2048, 4096, 14336), "bfloat16", "trn2"),
        ((1, 4096, 14336), "float32", "trn1"),
        ((512, 3072, 8192), "float32", "trn3"),
    ],
)
def test_memory_constraint_refuses_nothing_that_fits(shape: Shape, dtype: str, core: str) -> None:
    rows = space(shape, dtype, core)
    memory = SPACE.rules.constraints[-1]
    assert "SBUF" in memory.why
    random = np.random.default_rng(0)
    refused: list[Config] = []
    while len(refused) < 15:
        drawn = {p.name: p.values[random.integers(len(p.values))] for p in SPACE.rules.parameters}
        config = {**rows.config(int(random.integers(len(rows)))), **drawn}
        config = SPACE.rules.complete(config, rows.scope)
        if SPACE.rules.broken(config, rows.scope) == memory:
            refused.append(config)
    for config in refused:
        program = run(shape, config, dtype=dtype, core=core).program
        with pytest.raises(CapacityError):
            build(program, device(core), NKI)


def test_most_valid_configs_fit() -> None:
    shape = (2048, 4096, 14336)
    rows = space(shape, "bfloat16", "trn2")
    for row in np.random.default_rng(0).integers(0, len(rows), 60).tolist():
        build(run(shape, rows.config(row)).program, device("trn2"), NKI)
