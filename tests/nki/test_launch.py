"""Recording a launch: its programs, tensors placed by address, hazards, and numbers of loops."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tuner.nki as nki
import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tests.nki.kernels import described, is_whole, loaded, same
from tests.nki.tracing import recorded, refused
from tuner.neuroncore import device, policy
from tuner.neuroncore.compiler.memory import CapacityError
from tuner.neuroncore.program import READ, Space
from tuner.neuroncore.simulation import simulate
from tuner.nki import HazardError, NkiValidationError
from tuner.nki.hazards import OVERLAP, UNWRITTEN, Hazards
from tuner.nki.record.recorder import check_programs
from tuner.nki.record.tracing import Trace, trace
from tuner.space import Argument

TRN2 = device("trn2")
X = [Argument("x", (256, 64), "float32")]
VALUES = {"x": np.arange(256 * 64, dtype=np.float32).reshape(256, 64)}


@nki.jit
def parts(x: Any) -> Any:
    """Each program does its rows; the second adds one to them."""
    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)
    rows = x.shape[0] // nl.num_programs()
    for top in range(nl.program_id() * rows, (nl.program_id() + 1) * rows, 64):
        tile = nl.load(x[top : top + 64])
        nl.store(out[top : top + 64], nl.add(tile, float(nl.program_id())))
    return out


@pytest.mark.parametrize("symbolic", [True, False])
def test_each_program_has_its_recording(symbolic: bool) -> None:
    alone = trace(parts, X, {}, TRN2, symbolic=symbolic)
    both = trace(parts, X, {}, TRN2, symbolic=symbolic, programs=2)
    assert len(alone.recordings) == 1
    assert len(both.recordings) == 2
    assert both.program is both.programs[0]
    assert both.recording is both.recordings[0]
    first, second = both.programs
    assert len(first) == len(second) == len(alone.program) / 2
    assert first.works == second.works
    reads = [p.accesses[p.accesses[:, 1] == READ] for p in (first, second)]
    tops = [found[found[:, 0] == 0][:, 2].tolist() for found in reads]
    assert tops == [[0, 64], [128, 192]]
    assert both.outputs == alone.outputs == (((256, 64), "float32"),)


def test_programs_share_what_they_are_given_and_return() -> None:
    found = trace(parts, X, {}, TRN2, VALUES, programs=2)
    expected = VALUES["x"].copy()
    expected[128:] += 1
    assert found.values is not None
    np.testing.assert_array_equal(found.values[0], expected)
    assert not found.hazards


@pytest.mark.parametrize("values", [VALUES, None])
def test_shared_tensors_are_matched_in_order(values: Any) -> None:
    def kernel(x: Any) -> Any:
        assert x.buffer == nl.hbm
        found = [nl.ndarray((4, 8), nl.float32, buffer=nl.shared_hbm)]
        wide = 8 + 8 * nl.program_id()
        found.append(nl.ndarray((4, wide), nl.float32, buffer=nl.shared_hbm))
        return tuple(found)

    assert len(trace(kernel, X, {}, TRN2, values).outputs) == 2
    with pytest.raises(NkiValidationError, match="4 rows of 16 float32, and 4 rows of 8 float32"):
        trace(kernel, X, {}, TRN2, values, programs=2)


def test_shared_tensors_of_a_loop_are_told_apart() -> None:
    text = """
    def kernel():
        for i in range(3):
            wide = 4 + (nl.program_id() if i == 1 else 0)
            nl.ndarray((2, wide), nl.float32, buffer=nl.shared_hbm)
        return nl.ndarray((2, 2), nl.float32, buffer=nl.shared_hbm)
    """
    kernel = loaded(text)
    with kernel.lent():
        assert is_whole(trace(kernel.function, (), {}, TRN2))
        with pytest.raises(NkiValidationError, match="differs between programs"):
            trace(kernel.function, (), {}, TRN2, programs=2)


@pytest.mark.parametrize(
    ("name", "programs", "message"),
    [
        ("trn2", 0, "1 or 2 cores"),
        ("trn2", 3, "1 or 2 cores"),
        ("trn1", 2, "trn1 has one core a logical core"),
    ],
)
def test_programs_that_a_logical_core_does_not_run(name: str, programs: int, message: str) -> None:
    with pytest.raises(NkiValidationError, match=message):
        trace(parts, X, {}, device(name), programs=programs)
    check_programs(device("trn1"), 1)
    check_programs(device("trn3"), 2)


def unwritten(x: Any) -> Any:
    out = nl.ndarray((8, 64), nl.float32, buffer=nl.shared_hbm)
    tile = nl.ndarray((8, 64), nl.float32)
    nisa.dma_copy(tile[0:4], x[0:4])
    nisa.dma_copy(out, tile)
    return out


def test_hazards_are_found_where_values_are_kept() -> None:
    found = trace(unwritten, X, {}, TRN2, VALUES)
    line = inspect.getsourcelines(unwritten)[1] + 4
    assert [(h.kind, h.line) for h in found.hazards] == [(UNWRITTEN, f"test_launch.py:{line}")]
    assert not trace(unwritten, X, {}, TRN2).hazards
    mine = Hazards()
    assert trace(unwritten, X, {}, TRN2, VALUES, hazards=mine).hazards is mine
    with pytest.raises(HazardError, match="never written"):
        trace(unwritten, X, {}, TRN2, VALUES, hazards=Hazards(strict=True))


def test_returning_what_was_never_written_is_one() -> None:
    def kernel(x: Any) -> Any:
        return nl.ndarray((8, 64), nl.float32, buffer=nl.shared_hbm)

    (hazard,) = trace(kernel, X, {}, TRN2, VALUES).hazards
    assert "returns tensor [8, 64] in nl.shared_hbm" in hazard.message


def test_cores_do_not_overwrite_each_other_s_tiles() -> None:
    kept = []

    def kernel(x: Any) -> Any:
        tile = nl.ndarray((8, 64), nl.float32, address=(0, 0))
        nisa.dma_copy(tile, x[0:8])
        kept.append(tile)
        out = nl.ndarray((8, 64), nl.float32, buffer=nl.shared_hbm)
        nl.store(out, kept[0])
        return out

    assert not trace(kernel, X, {}, TRN2, VALUES, programs=2).hazards
    kept.clear()

    def over(x: Any) -> Any:
        kernel(x)
        return kernel(x)

    assert [h.kind for h in trace(over, X, {}, TRN2, VALUES).hazards] == [OVERLAP]


ROTATION = """
def kernel(x):
    out = nl.ndarray((64, 2048), nl.float32, buffer=nl.shared_hbm)
    for i in range(8):
        tile = nl.ndarray((64, 256), nl.float32, address=(0, {address}))
        nisa.dma_copy(tile, x[:, i * 256 : (i + 1) * 256])
        nisa.activation(tile, nl.exp, tile)
        nisa.dma_copy(out[:, i * 256 : (i + 1) * 256], tile)
    return out
"""


def rotation(address: str) -> Trace:
    return same(ROTATION.format(address=address), {"x": (64, 2048)})


def latency_us(found: Trace) -> float:
    return simulate(found.program, TRN2, policy("nki")).latency_us


def test_a_double_buffer_rotated_by_hand() -> None:
    one, two = rotation("1024"), rotation("1024 * (i % 2)")
    eight = rotation("1024 * i")
    assert latency_us(one) > 1.3 * latency_us(two)
    assert latency_us(two) > latency_us(eight)
    compiled = same(ROTATION.format(address="0").replace(", address=(0, 0)", ""), {"x": (64, 2048)})
    assert latency_us(two) == pytest.approx(latency_us(compiled), rel=0.02)


def test_placed_tensors_are_one_tensor_of_their_space() -> None:
    def body() -> None:
        nl.ndarray((64, 64), nl.float32)
        for address in ((0, 0), (32, 512), (64, 100)):
            tile = nl.ndarray((32, 4, 16), nl.float32, address=address)
            nisa.memset(tile[0:8, 1:3], 0.0)
            nisa.memset(tile.view(nl.bfloat16)[0:1, 0, 1:2], 0.0)
        bank = nl.ndarray((16, 16), nl.float32, buffer=nl.psum, address=(0, 4096))
        nisa.memset(bank, 0.0)
        nisa.memset(nl.ndarray((1, 1), nl.float32), 0.0)

    found = recorded(body)
    placed = [tuple(a) for a in found.accesses[:, [0, 2, 3, 4, 5]].tolist()]
    sbuf, psum = 3, 4
    assert placed == [
        (sbuf, 0, 8, 64, 192), (sbuf, 0, 1, 2, 4),
        (sbuf, 32, 40, 576, 704), (sbuf, 32, 33, 514, 516),
        (sbuf, 64, 72, 164, 292), (sbuf, 64, 65, 102, 104),
        (psum, 0, 16, 4096, 4160), (1, 0, 1, 0, 4),
    ]  # fmt: skip
    tensors = list(zip(found.space, found.rows, found.row_bytes, strict=True))
    assert tensors[sbuf] == (Space.SBUF, 96, 768)
    assert tensors[psum] == (Space.PSUM, 16, 4160)
    assert [found.sites[found.site[t]].looped for t in (sbuf, psum)] == [False, False]


def test_memory_counts_to_the_last_placed_byte() -> None:
    def body(first: int, more: int) -> None:
        far = nl.ndarray((8, 1024), nl.float32, address=(0, first))
        free = nl.ndarray((8, more), nl.float32)
        nisa.memset(far, 0.0)
        nisa.memset(free, 0.0)
        nisa.tensor_copy(far[:, 0:1], free[:, 0:1])

    usable = TRN2.sbuf.usable_bytes_per_partition
    first = 131072
    rest = (usable - first - 4096) // 4
    simulate(recorded(lambda: body(first, rest)), TRN2, policy("nki"))
    with pytest.raises(CapacityError, match=r"placed tensors 135168 \(test_launch\.py:\d+\)"):
        simulate(recorded(lambda: body(first, rest + 1)), TRN2, policy("nki"))


def test_a_placed_tensor_of_a_pass_that_is_over() -> None:
    lines = """
    def kernel():
        for i in range(4):
            tile = nl.ndarray((8, 8), nl.float32, address=(0, 32 * i))
            nisa.memset(tile, 0.0)
        nisa.memset(tile, 1.0)
        return nl.ndarray((8, 8), nl.float32, buffer=nl.shared_hbm)
    """
    assert same(lines).program.accesses[-1].tolist()[4:] == [96, 128]


@pytest.mark.parametrize(
    "lines",
    [
        "tile = nl.ndarray((8, i + 1), nl.float32)\nnisa.memset(tile, 0.0)",
        "tile = nl.ndarray((i % 2 + 1, 8), nl.float32)\nnisa.memset(tile, 0.0)",
        "tile = nl.full((8, 8), i, nl.int32)",
        "tile = nl.full((8, 8), i - 2, nl.float32)",
        "nisa.memset(big, i)",
        "nisa.memset(big[:, i - 6 : i - 4], 0.0)",
        "nisa.memset(big[:, i - 8 : i - 4], 0.0)",
        "nisa.memset(big[:, i : i - 7], 0.0)",
        "nisa.memset(big[:, i - 12 : -4], 0.0)",
        "nisa.memset(big[:, 1 : i - 6], 0.0)",
        "nisa.memset(big[:, -(i + 1)], 0.0)",
        "nisa.memset(big[:, -(i + 3) : -(i + 1)], 0.0)",
    ],
)
def test_numbers_of_a_loop_as_sizes_values_and_bounds(lines: str) -> None:
    indented = "".join(f"        {line}\n" for line in lines.splitlines())
    text = f"""
def kernel():
    big = nl.ndarray((8, 12), nl.float32)
    for i in range(4):
{indented}
    return nl.ndarray((8, 8), nl.float32, buffer=nl.shared_hbm)
"""
    assert len(same(text).program) == 4


@pytest.mark.parametrize("bounds", ["i - 2 : i", "i - 13 : i - 11", "i - 4 : i - 6"])
def test_slices_that_are_none(bounds: str) -> None:
    def body() -> None:
        big = nl.ndarray((8, 12), nl.float32)
        for i in range(4):
            nisa.memset(eval(f"big[:, {bounds}]", {"big": big, "i": i}), 0.0)

    refused(body, "expected 0 <= start < stop <= 12")


def test_functions_of_nki_do_not_end_whole_loops() -> None:
    found = same(
        """
    def kernel(x):
        out = nl.ndarray((64, 256), nl.float32, buffer=nl.shared_hbm)
        for i in range(4):
            tile = nl.load(x[:, i * 64 : (i + 1) * 64])
            nl.store(out[:, i * 64 : (i + 1) * 64], nl.add(tile, tile))
        return out
    """,
        {"x": (64, 256)},
    )
    assert is_whole(found)
    assert len(found.recording.instructions) < len(found.program)
    assert described(found.program)["work_of"] == [0, 1, 2] * 4
