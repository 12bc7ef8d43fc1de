"""The low-rank MLP and the dense one: what they share is tested on both."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest

from tuner.kernel import LoadedKernel, load_kernel, read_kernel
from tuner.neuroncore import device, policy
from tuner.neuroncore.compiler.memory import CapacityError, plan_memory
from tuner.neuroncore.program import Program
from tuner.nki.record.tracing import trace
from tuner.runtime.rules import Config
from tuner.space import SearchSpace, find

SPACES = {name: find(name) for name in ("mlp", "dense_mlp")}
MODELS = {  # hidden and intermediate sizes, and a rank of the paper's kind
    "Llama-3.2-1B": (2048, 8192, 1280),
    "Llama-3.2-3B": (3072, 8192, 1792),
    "Llama-3.1-8B": (4096, 14336, 2560),
    "Qwen3-1.7B": (2048, 6144, 1280),
    "Qwen3-4B": (2560, 9728, 1792),
}
ROWS, H, I, R = 700, 300, 1000, 300  # noqa: E741 - two or three blocks of everything, the last ones cut
BLOCKS: dict[str, Config] = {
    "mlp": {"rows_per_block": 256, "k_tiles": 2, "r_tiles": 2, "n_tiles": 2},
    "dense_mlp": {"rows_per_block": 256, "k_tiles": 2, "n_tiles": 2},
}
BYTES = 2
# Elements: x, h and y; the weights of gate and up, those of down.
X, HIDDEN = ROWS * H, ROWS * I
WEIGHTS = {"mlp": (2 * R * (H + I), R * (H + I)), "dense_mlp": (2 * H * I, H * I)}
ROW_BLOCKS = 3


@cache
def kernel(name: str) -> LoadedKernel:
    return load_kernel(read_kernel(SPACES[name].kernel_file, SPACES[name].entry))


def sizes(name: str, M: int, H: int, I: int, R: int) -> dict[str, int]:  # noqa: E741
    return {"M": M, "H": H, "I": I, **({"R": R} if name == "mlp" else {})}


def scope(name: str, dims: dict[str, int], dtype: str, where: str = "trn2") -> Any:
    definition = SPACES[name]
    return definition.scope(definition.workload(dims, dtype), device(where).facts())


def program(name: str, dims: dict[str, int], config: Config, dtype: str = "bfloat16") -> Program:
    definition = SPACES[name]
    arguments = definition.arguments(definition.workload(dims, dtype))
    with kernel(name).lent():
        return trace(kernel(name).function, arguments, config, device("trn2")).program


def traffic(name: str, chosen: Config) -> tuple[float, float]:
    """Elements that a config reads from and writes to HBM at the odd sizes above."""
    dims = sizes(name, ROWS, H, I, R)
    config = SPACES[name].rules.checked({**BLOCKS[name], **chosen}, scope(name, dims, "bfloat16"))
    found = program(name, dims, config)
    assert found.flops == 2 * ROWS * sum(WEIGHTS[name])
    return found.hbm_read_bytes / BYTES, found.hbm_written_bytes / BYTES


def once(name: str, hidden: str) -> Config:
    """The order of loops in which a block of rows reads its x, and its h from HBM, once."""
    if name == "mlp":
        return {"hidden": hidden, "order": "kr"}
    return {"hidden": hidden, "order": "kn", "down_order": "kn" if hidden == "hbm" else "nk"}


@pytest.mark.parametrize("name", SPACES)
def test_h_goes_to_hbm_and_back(name: str) -> None:
    found = traffic(name, {**once(name, "hbm"), "fuse": "up_gate"})
    assert (X + HIDDEN + ROW_BLOCKS * sum(WEIGHTS[name]), HIDDEN + X) == found


@pytest.mark.parametrize("name", SPACES)
def test_h_in_sbuf_saves_that(name: str) -> None:
    assert (X + ROW_BLOCKS * sum(WEIGHTS[name]), X) == traffic(name, once(name, "sbuf"))


@pytest.mark.parametrize("name", SPACES)
def test_unfused_the_gate_goes_to_hbm_and_back_and_x_is_read_twice(name: str) -> None:
    found = traffic(name, {**once(name, "hbm"), "fuse": "none"})
    assert (2 * X + 2 * HIDDEN + ROW_BLOCKS * sum(WEIGHTS[name]), 2 * HIDDEN + X) == found


@pytest.mark.parametrize("name", SPACES)
def test_x_is_read_for_every_block_of_columns_unless_it_is_resident(name: str) -> None:
    columns = -(-(R if name == "mlp" else I) // 256)
    blockwise: Config = {"hidden": "sbuf", "order": "rk" if name == "mlp" else "nk"}
    again, _ = traffic(name, {**blockwise, "resident": "none"})
    kept, _ = traffic(name, {**blockwise, "resident": "x"})
    streamed, _ = traffic(name, once(name, "sbuf"))
    assert (streamed, streamed + (columns - 1) * X) == (kept, again)


@pytest.mark.parametrize("hidden", ["sbuf", "hbm"])
@pytest.mark.parametrize("name", SPACES)
def test_resident_weights_are_read_once(name: str, hidden: str) -> None:
    read, _ = traffic(name, {**once(name, hidden), "resident": "none"})
    kept, _ = traffic(name, {**once(name, hidden), "resident": "weights"})
    assert (ROW_BLOCKS - 1) * sum(WEIGHTS[name]) == read - kept


def test_outer_weights_are_those_with_a_side_of_h() -> None:
    read, _ = traffic("mlp", {"resident": "none"})
    kept, _ = traffic("mlp", {"resident": "outer"})
    assert read - kept == (ROW_BLOCKS - 1) * 3 * H * R


@pytest.mark.parametrize(
    ("hidden", "fuse"), [("sbuf", "up_gate"), ("hbm", "up_gate"), ("hbm", "none")]
)
@pytest.mark.parametrize("name", SPACES)
def test_silu_is_right_where_it_bends(name: str, hidden: str, fuse: str) -> None:
    definition, dims = SPACES[name], sizes(name, 200, 300, 260, 130)
    arguments = definition.arguments(definition.workload(dims, "float32"))
    random = np.random.default_rng(0)
    values = {}
    for argument in arguments:  # so that gates are about 1, not hundreds
        scale = 1 if argument.name == "x" else argument.shape[0] ** -0.5
        values[argument.name] = scale * random.standard_normal(argument.shape).astype(np.float32)
    config: Config = {**BLOCKS[name], "hidden": hidden, "fuse": fuse}
    with kernel(name).lent():
        traced = trace(kernel(name).function, arguments, config, device("trn2"), values)
    (found,) = traced.values or ()
    expected = kernel(name).attribute(definition.reference)(**values)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_dense_reference_by_hand() -> None:
    x, wg, wu, wd = np.array([[2.0]]), np.array([[0.5, 0.0]]), np.array([[3.0, 7.0]]), np.eye(2)
    gate = 1 / (1 + np.exp(-1))  # silu(1)
    y = kernel("dense_mlp").attribute("dense_mlp_reference")(x, wg, wu, wd)
    np.testing.assert_allclose(y, [[gate * 6, 0]])


def test_the_low_rank_reference_is_the_dense_one_of_the_products() -> None:
    random = np.random.default_rng(0)
    shapes = [(5, 4), (5, 2), (2, 7), (5, 2), (2, 7), (7, 2), (2, 5)]
    x, ug, vg, uu, vu, ud, vd = (random.standard_normal(shape) for shape in shapes)
    dense = kernel("dense_mlp").attribute("dense_mlp_reference")
    low_rank = kernel("mlp").attribute("mlp_reference")
    expected = dense(x, ug @ vg, uu @ vu, ud @ vd)
    assert expected.shape == (4, 5)
    np.testing.assert_allclose(low_rank(x, ug, vg, uu, vu, ud, vd), expected)
    np.testing.assert_allclose(low_rank(x, ug, vg, uu, vu, ud, vd, out="NM"), expected.T)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SPACES)
def test_every_model_has_a_space_from_one_row_to_many(name: str, model: str) -> None:
    for rows, where, dtype in ((1, "trn1", "float32"), (32768, "trn3", "bfloat16")):
        known = scope(name, sizes(name, rows, *MODELS[model]), dtype, where)
        assert 10**3 <= len(SearchSpace(SPACES[name].rules, known)) <= 10**6


def test_the_published_structure_is_legal() -> None:
    rules = SPACES["mlp"].rules
    for model in MODELS.values():
        config = rules.checked({}, scope("mlp", sizes("mlp", 2048, *model), "bfloat16"))
        assert {"rows_per_block": 1024, "k_tiles": 4, "r_tiles": 8, "n_tiles": 8}.items() <= (
            config.items()
        )


@pytest.mark.parametrize(
    ("name", "rows", "model", "dtype"),
    [
        ("mlp", 2048, "Llama-3.2-1B", "bfloat16"),
        ("mlp", 600, "Llama-3.1-8B", "bfloat16"),
        ("mlp", 1, "Qwen3-4B", "float32"),
        ("dense_mlp", 2048, "Llama-3.2-1B", "bfloat16"),
        ("dense_mlp", 600, "Llama-3.1-8B", "float32"),
        ("dense_mlp", 1, "Qwen3-4B", "bfloat16"),
    ],
)
def test_the_memory_constraint_says_what_the_allocator_says(
    name: str, rows: int, model: str, dtype: str
) -> None:
    constraints = SPACES[name].rules.constraints
    memory = [rule.expr for rule in constraints if "partition of SBUF" in rule.why]
    others = tuple(rule for rule in constraints if "partition of SBUF" not in rule.why)
    rules = dataclasses.replace(SPACES[name].rules, constraints=others)
    dims = sizes(name, rows, *MODELS[model])
    known = scope(name, dims, dtype)
    space = SearchSpace(rules, known)
    verdicts = []
    for row in np.random.default_rng(0).integers(0, len(space), 20):
        config = space.config(int(row))
        says = all(rule.evaluate({**known, **config}) for rule in memory)
        found = program(name, dims, config, dtype)
        try:
            plan_memory(found, device("trn2"), policy("nki"))
        except CapacityError:
            assert not says, config
        else:
            assert says, config
        verdicts.append(says)
    assert set(verdicts) == {True, False}
