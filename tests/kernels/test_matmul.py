from __future__ import annotations

import dataclasses
import inspect
from functools import cache
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.kernel import LoadedKernel, load_kernel, read_kernel
from tuner.neuroncore import device
from tuner.neuroncore.compiler.memory import demand
from tuner.neuroncore.program import DmaWork, ElementwiseWork, MatmulWork, Space
from tuner.nki.record.tracing import Trace, trace
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import DTYPE_BYTES, Config, Scope
from tuner.space import SearchSpace, Workload, find

TRN1, TRN2 = device("trn1"), device("trn2")
SPACE = find("matmul")
SHAPES = [(300, 300, 600), (130, 129, 600), (257, 400, 520), (1, 200, 513), (257, 5, 520)]
UNIT_ROUNDOFF = {"bfloat16": 2.0**-8, "float32": 2.0**-24}
DTYPES = ["bfloat16", "float32", "float8_e4m3"]
SILU_SLOPE = 1.1  # at most
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
    return SearchSpace(SPACE.rules, SPACE.scope(workload(shape, dtype), TRN2.facts()))


def workload(shape: Shape, dtype: str, **variants: str) -> Workload:
    return SPACE.workload({**dict(zip("MKN", shape, strict=True)), **variants}, dtype)


def traced(
    work: Workload, config: Config, values: dict[str, Array] | None = None, symbolic: bool = True
) -> Trace:
    keywords = {**SPACE.variants_of(work), **config}
    with kernel().lent():
        arguments = SPACE.arguments(work)
        return trace(kernel().function, arguments, keywords, TRN2, values, symbolic)


def run(shape: Shape, dtype: str, config: Config, lhsT: Array | None, rhs: Array | None) -> Trace:
    """Traces the kernel; checks what holds for every config."""
    M, K, N = shape
    values = None if lhsT is None or rhs is None else {"lhsT": lhsT, "rhs": rhs}
    found = traced(workload(shape, dtype), config, values)
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
    partial = "float32" if dtype == "float32" else "bfloat16"
    return (roundings * UNIT_ROUNDOFF[partial] + K * UNIT_ROUNDOFF["float32"]) * magnitude


def legal(loop_order: str, resident: str, dtype: str) -> list[tuple[Shape, Config]]:
    """For every way to evict and accumulate, one config of a random shape and row."""
    random = np.random.default_rng(0)
    found: dict[tuple[Any, Any], tuple[Shape, Config]] = {}
    for shape in random.permutation(np.array(SHAPES)).tolist():
        rows = space((shape[0], shape[1], shape[2]), dtype)
        for row in random.permutation(len(rows))[:6000].tolist():
            config = rows.config(row)
            if (config["loop_order"], config["resident"]) == (loop_order, resident):
                ways = (config["evict"], config.get("accumulator"))
                found.setdefault(ways, ((shape[0], shape[1], shape[2]), config))
            if len(found) == (3 if dtype == "float32" else 9):
                return list(found.values())
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
        exact = kernel().attribute(SPACE.reference)(lhsT=lhsT, rhs=rhs)
        error = np.abs(found - exact) / bound(shape, dtype, config, lhsT, rhs)
        assert error.max() <= 1, (shape, config)


VARIANTS = [
    ("KM", "MN", None),
    ("KM", "NM", None),
    *product(["MK"], ["MN", "NM"], ["tensor", "vector", "dma", "hbm"]),
]
ODD_SHAPES = [(130, 129, 600), (1, 400, 513), (257, 700, 130), (300, 5, 1)]


def random_operands(work: Workload, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    found = {}
    for argument in SPACE.arguments(work):
        values = random.standard_normal(argument.shape).astype(np.float32)
        if argument.dtype != "float32":
            values = values.astype(getattr(ml_dtypes, argument.dtype)).astype(np.float32)
        found[argument.name] = values
    return found


def random_config(work: Workload, seed: int, **chosen: Any) -> Config:
    """A legal config that has the chosen values."""
    random = np.random.default_rng(seed)
    by_name = {p.name: p for p in SPACE.rules.parameters}
    blocks = {"tiles_m": 1, "tiles_n": 1, "load_columns": 512, "psum_accumulators": 4}
    free = ("tiles_k", "loop_order", "buffers", "evict")
    values = {name: by_name[name].values for name in free}
    drawn = {name: those[int(random.integers(len(those)))] for name, those in values.items()}
    scope = SPACE.scope(work, TRN2.facts())
    config = SPACE.rules.nearest_legal({**blocks, **drawn, **chosen}, scope)
    assert config is not None
    return config


def expected_dtype(dtype: str, result: str) -> str:
    if result != "same":
        return result
    return "bfloat16" if dtype == "float8_e4m3" else dtype


@pytest.mark.parametrize(("layout", "out", "transpose"), VARIANTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_variant_equals_its_reference(
    layout: str, out: str, transpose: str | None, dtype: str
) -> None:
    if dtype == "float8_e4m3" and transpose in ("tensor", "dma", "hbm"):
        return  # no config is legal
    chosen = {} if transpose is None else {"transpose": transpose}
    for seed, (epilogue, result) in enumerate(
        product(["none", "bias", "silu", "residual"], ["same", "float32", "bfloat16"])
    ):
        shape = ODD_SHAPES[(seed + len(layout + out + dtype)) % len(ODD_SHAPES)]
        work = workload(shape, dtype, layout=layout, out=out, epilogue=epilogue, result=result)
        config = random_config(work, seed, **chosen)
        assert config.get("transpose") == transpose
        values = random_operands(work, seed)
        run_ = traced(work, config, values)
        (found,) = run_.values or ()
        M, _, N = shape
        returned = expected_dtype(dtype, result)
        assert run_.outputs == (((M, N) if out == "MN" else (N, M), returned),)
        assert not list(run_.hazards)
        assert run_.program.hbm_written_bytes >= M * N * DTYPE_BYTES[returned]
        exact = kernel().attribute(SPACE.reference)(**values, **SPACE.variants_of(work))
        lhsT = values["lhsT"] if layout == "KM" else values["lhs"].T
        rounding = bound(shape, dtype, config, lhsT, values["rhs"])
        allowed = SILU_SLOPE * (rounding if out == "MN" else rounding.T)
        # What is added, and the sum, are rounded to the result's dtype.
        allowed = allowed + 2 * UNIT_ROUNDOFF[returned] * (np.abs(exact) + allowed)
        allowed = allowed + 4 * UNIT_ROUNDOFF["float32"]
        assert (np.abs(found - exact) / allowed).max() <= 1, (shape, config)


@pytest.mark.parametrize(("layout", "out", "transpose"), VARIANTS)
def test_variants_are_recorded_as_wholes(layout: str, out: str, transpose: str | None) -> None:
    """What is written down does not grow with the matrices, and is what runs pass by pass."""
    chosen = {} if transpose is None else {"transpose": transpose}
    for epilogue in ("bias", "residual"):
        sizes = []
        for shape in [(512, 1024, 1024), (1024, 2048, 4096)]:
            work = workload(shape, "bfloat16", layout=layout, out=out, epilogue=epilogue)
            config = random_config(work, 0, tiles_k=2, loop_order="mnk", evict="vector", **chosen)
            sizes.append(len(traced(work, config).recording.instructions))
        assert sizes[0] == sizes[1]
        work = workload((257, 700, 1100), "bfloat16", layout=layout, out=out, epilogue=epilogue)
        config = random_config(work, 1, **chosen)
        whole, plain = traced(work, config), traced(work, config, symbolic=False)
        assert list(whole.program.works) == list(plain.program.works)


def test_swapped_operands_transpose_for_nothing() -> None:
    shape = (256, 512, 1024)
    blocks: Config = {"tiles_m": 2, "tiles_n": 2, "tiles_k": 2, "load_columns": 512}
    for loop_order, resident in BLOCK_ORDERS:
        chosen = {**blocks, "tiles_m": 1, "tiles_n": 1, "loop_order": loop_order}
        chosen["resident"] = resident
        programs = [
            traced(workload(shape, "bfloat16", out=out), chosen).program for out in ("MN", "NM")
        ]
        assert programs[0].hbm_read_bytes == programs[1].hbm_read_bytes, chosen
        assert programs[0].hbm_written_bytes == programs[1].hbm_written_bytes
        assert programs[0].flops == programs[1].flops


def counts(found: Trace, kind: type) -> int:
    return sum(n for work, n in found.recording.work_counts().items() if isinstance(work, kind))


def test_what_transposes_is_a_choice() -> None:
    work = workload((256, 2048, 512), "bfloat16", layout="MK")
    config = {"tiles_m": 2, "tiles_n": 1, "tiles_k": 16, "psum_accumulators": 6}
    found = {by: traced(work, {**config, "transpose": by}) for by in ("tensor", "dma", "hbm")}
    vector = traced(work, {**config, "transpose": "vector"})
    # 32 tiles, eight of which leave PSUM at once
    products = 2 * 16
    assert counts(found["tensor"], MatmulWork) == products + 32
    assert counts(found["dma"], MatmulWork) == counts(vector, MatmulWork) == products
    evictions = counts(found["dma"], ElementwiseWork)
    assert counts(found["tensor"], ElementwiseWork) == evictions + 4
    assert counts(vector, ElementwiseWork) == evictions + 32 * 16
    turned = {
        by: sum(
            n
            for work, n in run.recording.work_counts().items()
            if isinstance(work, DmaWork) and work.transpose
        )
        for by, run in found.items()
    }
    assert turned == {"tensor": 0, "dma": 16, "hbm": 16}
    once = 2 * (256 * 2048 + 2048 * 512)
    assert found["dma"].program.hbm_read_bytes == once
    assert found["hbm"].program.hbm_read_bytes == once + 2 * 256 * 2048


def test_double_rows_halve_the_products() -> None:
    for K, doubled, single in [(1024, 4, 8), (384, 2, 3), (300, 2, 3), (128, 1, 1), (600, 3, 5)]:
        work = workload((128, K, 512), "float8_e4m3")
        config: Config = {"tiles_m": 1, "tiles_n": 1, "tiles_k": 8}
        for double_row, products in [(True, doubled), (False, single)]:
            found = traced(work, {**config, "double_row": double_row})
            assert counts(found, MatmulWork) == products
            assert found.program.flops == 2 * 128 * K * 512


def test_float8_begins_with_trn2() -> None:
    work = workload((128, 128, 512), "float8_e4m3")
    with pytest.raises(TunerError, match="no faster than bfloat16; double rows begin with v3"):
        SearchSpace(SPACE.rules, SPACE.scope(work, TRN1.facts()))
    assert len(SearchSpace(SPACE.rules, SPACE.scope(work, TRN2.facts()))) > 100


def fits(config: Config, scope: Scope, sbuf_bytes: float) -> bool:
    """Whether the constraints on memory let a config pass, had SBUF that many bytes a partition."""
    absent = {p.name for p in SPACE.rules.parameters} - set(config)
    values = {**scope, **config, "device.sbuf_usable_bytes_per_partition": sbuf_bytes}
    return all(
        bool(constraint.expr.evaluate(values))
        for constraint in SPACE.rules.constraints
        if "more than a partition" in constraint.why and not constraint.expr.names & absent
    )


@pytest.mark.parametrize(("layout", "out", "transpose"), VARIANTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_constraints_on_memory_are_what_the_allocator_finds(
    layout: str, out: str, transpose: str | None, dtype: str
) -> None:
    if dtype == "float8_e4m3" and transpose in ("tensor", "dma", "hbm"):
        return  # no config is legal
    kept = tuple(c for c in SPACE.rules.constraints if "more than a partition" not in c.why)
    rules = dataclasses.replace(SPACE.rules, constraints=kept)
    random = np.random.default_rng(len(layout + out + dtype + (transpose or "")))
    close = 0.75 if transpose in ("tensor", "vector") else 0.97  # what waits may be a small block
    epilogues = ["none", "bias", "residual"]
    shapes = [(1000, 1300, 2100), (600, 3000, 2500), (2048, 1024, 600)]
    for epilogue, shape in zip(epilogues, random.permutation(shapes).tolist(), strict=True):
        work = workload(shape, dtype, layout=layout, out=out, epilogue=epilogue)
        scope = SPACE.scope(work, TRN2.facts())
        space = SearchSpace(rules, scope)
        compared = 0
        while compared < 2:
            config = space.config(int(random.integers(len(space))))
            large = fits(config, scope, 400_000) and not fits(config, scope, 60_000)
            if large and config.get("transpose") == transpose:
                asked = demand(traced(work, config).program, TRN2).peak_bytes[Space.SBUF]
                assert fits(config, scope, 1.03 * asked), (shape, epilogue, config)
                assert not fits(config, scope, close * asked), (shape, epilogue, config)
                compared += 1


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
    found = kernel().attribute(SPACE.reference)(lhsT=lhsT, rhs=rhs)
    assert found.dtype == np.float64
    assert found.item() == 1 + 2.0**-30


def test_defaults_are_the_search_space_s() -> None:
    parameters = inspect.signature(kernel().function).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    tensors = {spec.name: None for spec in SPACE.inputs}
    variants = {name: words[0] for name, words in SPACE.variants.items()}
    assert defaults == {
        **tensors,
        **variants,
        **{p.name: p.default for p in SPACE.rules.parameters},
    }
