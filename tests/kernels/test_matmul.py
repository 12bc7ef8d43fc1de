from __future__ import annotations

import ast
import inspect
import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.kernel import LoadedKernel, load_kernel, read_kernel
from tuner.neuroncore import device
from tuner.nki.record.tracing import Trace, trace
from tuner.runtime.rules import DTYPE_BYTES, Config
from tuner.space import SearchSpace, find

TRN2 = device("trn2")
SPACE = find("matmul")
OFFICIAL = json.loads((Path(__file__).parents[1] / "data" / "nki_signatures.json").read_text())
SHAPES = [(300, 300, 600), (130, 129, 600), (257, 400, 520), (1, 200, 513), (257, 5, 520)]
UNIT_ROUNDOFF = {"bfloat16": 2.0**-8, "float32": 2.0**-24}
BLOCK_ORDERS = [  # an operand can be resident only where it would be loaded again
    *product(["mnk", "nmk"], ["none", "lhs", "rhs", "both"]),
    *product(["mkn"], ["none", "rhs"]),
    *product(["nkm"], ["none", "lhs"]),
]

Shape = tuple[int, int, int]
Array = npt.NDArray[np.float32]


@cache
def kernel() -> LoadedKernel:
    return load_kernel(read_kernel(SPACE.kernel_file, SPACE.entry))


@cache
def space(shape: Shape, dtype: str) -> SearchSpace:
    workload = SPACE.workload(dict(zip("MKN", shape, strict=True)), dtype)
    return SearchSpace(SPACE.rules, SPACE.scope(workload, TRN2.facts()))


def run(shape: Shape, dtype: str, config: Config, lhsT: Array | None, rhs: Array | None) -> Trace:
    """Traces the kernel; checks what holds for every config."""
    M, K, N = shape
    arguments = SPACE.arguments(SPACE.workload({"M": M, "K": K, "N": N}, dtype))
    values = None if lhsT is None or rhs is None else {"lhsT": lhsT, "rhs": rhs}
    with kernel().lent():
        found = trace(kernel().function, arguments, config, TRN2, values)
    size = DTYPE_BYTES[dtype]
    once = (M * K + K * N) * size
    assert found.outputs == (((M, N), dtype),)
    assert found.program.flops == 2 * M * K * N
    assert found.program.hbm_written_bytes == M * N * size
    assert found.program.hbm_read_bytes >= once
    if config["resident"] == "both":
        assert found.program.hbm_read_bytes == once
    return found


def bound(shape: Shape, dtype: str, config: Config, lhsT: Array, rhs: Array) -> Any:
    """How far rounding can take each element of the result from the exact one."""
    K = shape[1]
    tiles_k = min(int(config["tiles_k"]), -(-K // 128))
    # The result is rounded, and so is each partial sum that waits in the operands' dtype.
    roundings = 1 if config.get("accumulator") == "float32" else -(-K // (128 * tiles_k))
    magnitude = np.abs(lhsT).astype(np.float64).T @ np.abs(rhs)
    return (roundings * UNIT_ROUNDOFF[dtype] + K * UNIT_ROUNDOFF["float32"]) * magnitude


def legal(loop_order: str, resident: str, dtype: str) -> list[tuple[Shape, Config]]:
    """For every way to evict and accumulate, one config of a random shape and row."""
    random = np.random.default_rng(0)
    found: dict[tuple[Any, Any], tuple[Shape, Config]] = {}
    for shape in random.permutation(np.array(SHAPES)).tolist():
        rows = space((shape[0], shape[1], shape[2]), dtype)
        for row in random.permutation(len(rows))[:2000].tolist():
            config = rows.config(row)
            if (config["loop_order"], config["resident"]) == (loop_order, resident):
                ways = (config["evict"], config.get("accumulator"))
                found.setdefault(ways, ((shape[0], shape[1], shape[2]), config))
    return list(found.values())


@pytest.mark.parametrize(("loop_order", "resident"), BLOCK_ORDERS)
def test_equals_its_reference(loop_order: str, resident: str) -> None:
    narrow, wide = (legal(loop_order, resident, dtype) for dtype in ("bfloat16", "float32"))
    # Three ways to evict; partial sums in bfloat16, in float32 or none: all of K in PSUM.
    assert (len(narrow), len(wide)) == (9, 3)
    random = np.random.default_rng(1)
    dtypes = ["bfloat16"] * 9 + ["float32"] * 3
    for dtype, (shape, config) in zip(dtypes, narrow + wide, strict=True):
        M, K, N = shape
        lhsT, rhs = (random.standard_normal(s).astype(np.float32) for s in ((K, M), (K, N)))
        if dtype == "bfloat16":
            lhsT, rhs = (a.astype(ml_dtypes.bfloat16).astype(np.float32) for a in (lhsT, rhs))
        (found,) = run(shape, dtype, config, lhsT, rhs).values or ()
        exact = kernel().attribute(SPACE.reference)(lhsT, rhs)
        error = np.abs(found - exact) / bound(shape, dtype, config, lhsT, rhs)
        assert error.max() <= 1, (shape, config)


@settings(max_examples=60)
@given(st.data(), st.sampled_from(["bfloat16", "float32"]))
def test_sums_of_small_integers_are_exact(data: st.DataObject, dtype: str) -> None:
    sizes = [1, 5, 127, 128, 129, 256, 300]
    M, K = data.draw(st.sampled_from(sizes)), data.draw(st.sampled_from([*sizes, 400]))
    N = data.draw(st.sampled_from([1, 100, 511, 512, 513, 600]))
    rows = space((M, K, N), dtype)
    config = rows.config(data.draw(st.integers(0, len(rows) - 1)))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    lhsT, rhs = (random.integers(-1, 2, s).astype(np.float32) for s in ((K, M), (K, N)))
    expected = lhsT.T @ rhs
    assert np.abs(expected).max() < 256  # so that bfloat16 holds every sum
    (found,) = run((M, K, N), dtype, config, lhsT, rhs).values or ()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_work_and_traffic_do_not_depend_on_the_config(dtype: str) -> None:
    shape = (300, 300, 600)
    rows = space(shape, dtype)
    for row in range(0, len(rows), len(rows) // 150):
        run(shape, dtype, rows.config(row), None, None)


def test_operands_are_read_as_often_as_the_loops_ask() -> None:
    M, K, N = 300, 300, 600  # three blocks of M, three of K, two of N
    blocks: Config = {"tiles_m": 1, "tiles_n": 1, "tiles_k": 1, "load_columns": 512}
    times = {
        ("mnk", "none"): (2, 3),
        ("nmk", "none"): (2, 3),
        ("mkn", "none"): (1, 3),
        ("nkm", "none"): (2, 1),
        ("mnk", "lhs"): (1, 3),
        ("nmk", "rhs"): (2, 1),
        ("mnk", "both"): (1, 1),
        ("nmk", "both"): (1, 1),
    }
    for (loop_order, resident), (lhs_times, rhs_times) in times.items():
        chosen = {**blocks, "loop_order": loop_order, "resident": resident}
        config = SPACE.rules.checked(chosen, space((M, K, N), "bfloat16").scope)
        program = run((M, K, N), "bfloat16", config, None, None).program
        assert program.hbm_read_bytes == 2 * (lhs_times * M * K + rhs_times * K * N), config


def test_accumulator_is_the_dtype_of_partial_sums() -> None:
    lhsT = np.ones((384, 1), np.float32)
    rhs = np.repeat(np.array([2, 0, -2], np.float32), 128)[:, None]
    rhs[128] = 1  # blocks of K add up to 256, 1 and -256, and bfloat16 has no 257
    blocks: Config = {"tiles_m": 1, "tiles_n": 1, "tiles_k": 1, "load_columns": 512}
    scope = space((1, 384, 1), "bfloat16").scope
    found = {}
    for accumulator in ("float32", "input"):
        config = SPACE.rules.checked({**blocks, "accumulator": accumulator}, scope)
        (values,) = run((1, 384, 1), "bfloat16", config, lhsT, rhs).values or ()
        found[accumulator] = values.item()
    assert found == {"float32": 1, "input": 0}


def test_reference_is_the_product_in_float64() -> None:
    lhsT, rhs = np.array([[1], [2.0**-30]], np.float32), np.ones((2, 1), np.float32)
    found = kernel().attribute(SPACE.reference)(lhsT, rhs)
    assert found.dtype == np.float64
    assert found.item() == 1 + 2.0**-30


def test_defaults_are_the_search_space_s() -> None:
    parameters = inspect.signature(kernel().function).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    assert defaults == {p.name: p.default for p in SPACE.rules.parameters}


FILES = [SPACE.kernel_file, SPACE.kernel_file.with_name("blocks.py")]


def kernel_code() -> list[ast.AST]:
    """Every node of the files but the numpy reference's: what the NKI compiler would see."""
    trees = [ast.parse(file.read_text()) for file in FILES]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(functions) > 2
    return [n for f in functions if f.name != SPACE.reference for n in ast.walk(f)]


def test_source_keeps_to_what_the_nki_compiler_takes() -> None:
    refused = (ast.Is, ast.IsNot, ast.List, ast.ListComp, ast.Starred, ast.Lambda, ast.Try)
    for node in kernel_code():
        assert not isinstance(node, refused), ast.dump(node)
        if isinstance(node, ast.arguments):
            assert node.vararg is node.kwarg is None
            assert not node.kwonlyargs
        if isinstance(node, ast.Call):
            assert all(keyword.arg is not None for keyword in node.keywords)


def test_source_names_only_what_nki_has() -> None:
    modules = {"nl": "nki.language", "nisa": "nki.isa"}
    members = {path.rpartition(".")[2]: those for path, those in OFFICIAL["members"].items()}
    names = {
        module: {*OFFICIAL["functions"][module], *OFFICIAL["others"][module], *members}
        for module in modules.values()
    }
    used = set()
    for node in kernel_code():
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "np", "numpy is not there while a kernel is compiled"
            if node.value.id in modules:
                assert node.attr in names[modules[node.value.id]]
                used.add(node.attr)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            of_enum = members.get(node.value.attr)
            assert of_enum is None or node.attr in of_enum
    assert {"nc_matmul", "dma_copy", "ndarray", "engine"} <= used


def test_calls_pass_parameters_that_nki_has() -> None:
    known = OFFICIAL["functions"]["nki.isa"] | OFFICIAL["functions"]["nki.language"]
    calls = 0
    for node in kernel_code():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            stub = ast.parse(f"def stub({known[node.func.attr]}): ...").body[0]
            assert isinstance(stub, ast.FunctionDef)
            names = {argument.arg for argument in stub.args.args}
            assert {keyword.arg for keyword in node.keywords} <= names
            calls += 1
    assert calls > 5
