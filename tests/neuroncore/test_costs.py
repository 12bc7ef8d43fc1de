"""The worked examples of AWS's documentation and of its published profiles."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.neuroncore.programs import elementwise, load, matmul
from tuner.neuroncore import device, policy
from tuner.neuroncore.costs import WHOLE_ARRAY, Cost, cost, picoseconds
from tuner.neuroncore.program import DmaWork, ElementwiseWork, Engine, Operand, Space, Work
from tuner.runtime.errors import TunerError

HBM, SBUF, PSUM = Space
VECTOR, SCALAR, GPSIMD = Engine.VECTOR, Engine.SCALAR, Engine.GPSIMD


def of(work: Work, name: str = "trn2", rules: str = "nki", cores_busy: int = 1) -> Cost:
    return cost(work, device(name), policy(rules), cores_busy)


def nanoseconds(ps: int) -> float:
    return ps / 1000


@pytest.mark.parametrize(
    ("name", "fp32", "expected_ns"),
    [("trn2", False, 215), ("trn2", True, 857), ("trn3", False, 215), ("trn1", False, 184 / 0.877)],
)
def test_matmul_128x128x512(name: str, fp32: bool, expected_ns: float) -> None:
    call = of(matmul(fp32=fp32), name)
    assert nanoseconds(call.latency_ps * call.parts) == pytest.approx(expected_ns, abs=0.6)


def test_fp32_matmul_is_two_instructions_of_428_ns() -> None:
    call = of(matmul(fp32=True))
    assert call.parts == 2
    assert nanoseconds(call.latency_ps) == pytest.approx(428.4, abs=0.1)


def test_matrix_vector_product_prefers_the_vector_as_moving_operand() -> None:
    assert nanoseconds(of(matmul(128, 1)).latency_ps) == pytest.approx(28, abs=0.5)
    assert nanoseconds(of(matmul(1, 128)).latency_ps) == pytest.approx(55, abs=0.5)


def test_stationary_load_takes_32_cycles_a_pass() -> None:
    for columns in (1, 128):
        assert of(matmul(columns)).issue_ps == round(32 / 2.4 * 1000)
        assert of(matmul(columns, fp32=True)).issue_ps == round(2 * 32 / 2.4 * 1000)


def test_tensor_tensor_from_psum_and_sbuf() -> None:
    call = of(elementwise(VECTOR, 512, SBUF, PSUM, SBUF, opcode="tensor_tensor"))
    assert 603 <= nanoseconds(call.issue_ps) <= 605.3
    assert nanoseconds(call.latency_ps) == pytest.approx(685, abs=0.5)


def test_scalar_copy_of_a_psum_tile() -> None:
    assert nanoseconds(of(elementwise(SCALAR, 512, SBUF, PSUM)).issue_ps) == 480


def test_exponential_of_4096_elements() -> None:
    call = of(elementwise(SCALAR, 4096, opcode="activation"))
    assert nanoseconds(call.latency_ps) == pytest.approx(3710, abs=5)


def test_activation_of_one_element_on_trn1() -> None:
    call = of(elementwise(SCALAR, 1, opcode="activation"), "trn1")
    assert nanoseconds(call.latency_ps) == pytest.approx(159, abs=0.5)


def test_cycles_per_element() -> None:
    def cycles(engine: Engine, *spaces: Space, name: str = "trn2", **of_work: Any) -> float:
        """From the difference of two sizes, so that the fixed part does not count."""
        few, many = (elementwise(engine, n, *spaces, **of_work) for n in (1000, 2000))
        ghz = {VECTOR: 0.96, SCALAR: 1.2, GPSIMD: 1.2}[engine] if name == "trn2" else 1.12
        difference = of(many, name).issue_ps - of(few, name).issue_ps
        return round(difference / 1e6 * ghz, 3)

    two = {"opcode": "tensor_tensor"}
    assert cycles(VECTOR, SBUF, SBUF, itemsize=2) == 0.25
    assert cycles(VECTOR, SBUF, PSUM, itemsize=2) == 0.5
    assert cycles(VECTOR, SBUF, SBUF) == 0.5
    assert cycles(VECTOR, SBUF, PSUM) == cycles(VECTOR, PSUM, SBUF) == 1
    assert cycles(VECTOR, SBUF, SBUF, SBUF, itemsize=2, **two) == 0.5
    assert cycles(VECTOR, PSUM, SBUF, SBUF, itemsize=2, **two) == 2
    assert cycles(VECTOR, SBUF, SBUF, SBUF, **two) == 2
    assert cycles(VECTOR, SBUF, SBUF, PSUM, **two) == 1
    assert cycles(VECTOR, SBUF, SBUF, SBUF, opcode="scalar_tensor_tensor") == 2
    assert cycles(VECTOR, SBUF, SBUF, SBUF, itemsize=2, opcode="scalar_tensor_tensor") == 1
    assert cycles(VECTOR, SBUF, SBUF, SBUF, opcode="tensor_copy_predicated") == 2
    assert cycles(VECTOR, SBUF, PSUM, SBUF, opcode="tensor_copy_predicated") == 1
    assert cycles(VECTOR, SBUF, SBUF, opcode="tensor_scalar") == 0.5
    assert cycles(VECTOR, SBUF, SBUF, opcode="tensor_reduce") == 1
    assert cycles(VECTOR, SBUF, SBUF, opcode="tensor_reduce", itemsize=2) == 0.5
    assert cycles(VECTOR, SBUF, SBUF, SBUF, opcode="tensor_tensor_scan") == 2
    assert cycles(VECTOR, SBUF, SBUF, opcode="reciprocal") == 8
    assert cycles(VECTOR, SBUF, SBUF, opcode="reciprocal", name="trn1") == 1
    assert cycles(VECTOR, SBUF, SBUF, opcode="bn_aggr") == pytest.approx(13 / 3, abs=1e-3)
    assert cycles(VECTOR, SBUF, SBUF, opcode="bn_stats") == 1
    assert cycles(VECTOR, SBUF, SBUF, opcode="nc_transpose") == 1
    assert cycles(GPSIMD, SBUF, opcode="iota") == 1
    assert cycles(GPSIMD, SBUF, SBUF, opcode="affine_select") == 1
    assert cycles(VECTOR, SBUF, opcode="memset") == 1
    assert cycles(SCALAR, SBUF, SBUF, itemsize=2) == 1
    assert cycles(SCALAR, SBUF, PSUM, opcode="activation") == 1
    assert cycles(GPSIMD, SBUF, opcode="memset") == 1
    assert cycles(GPSIMD, SBUF, SBUF, SBUF, **two) == 2
    assert cycles(VECTOR, SBUF, SBUF, itemsize=2, name="trn1") == 1
    assert cycles(VECTOR, SBUF, SBUF, SBUF, name="trn1", **two) == 2


def test_fixed_cycles() -> None:
    def fixed(engine: Engine, name: str, ghz: float) -> float:
        one, two = (elementwise(engine, n, SBUF, SBUF) for n in (1000, 2000))
        return round((2 * of(one, name).issue_ps - of(two, name).issue_ps) / 1000 * ghz, 1)

    assert [fixed(VECTOR, "trn1", 1.12), fixed(VECTOR, "trn2", 0.96)] == [64, 69]
    assert [fixed(SCALAR, "trn1", 1.4), fixed(SCALAR, "trn2", 1.2)] == [64, 64]
    assert [fixed(GPSIMD, "trn1", 1.4), fixed(GPSIMD, "trn2", 1.2)] == [150, 150]


def test_scalar_engine_of_trn3_copies_16_bit_elements_in_half_a_cycle() -> None:
    copy, activation = (
        elementwise(SCALAR, 512, itemsize=2, opcode=opcode)
        for opcode in ("tensor_copy", "activation")
    )
    saved = of(activation, "trn3").issue_ps - of(copy, "trn3").issue_ps
    assert nanoseconds(saved) == pytest.approx(256 / 1.2, abs=0.001)


def test_zeroing_16_bit_elements_takes_half_the_time() -> None:
    work = elementwise(VECTOR, 512, SBUF, opcode="memset", itemsize=2)
    saved = of(work).issue_ps - of(work._replace(zero=True)).issue_ps
    assert nanoseconds(saved) == pytest.approx(256 / 0.96, abs=0.001)


def test_elements_16_bytes_apart_take_twice_the_time() -> None:
    def moving(engine: Engine, stride: int) -> int:
        operands = (Operand(SBUF, 4, 1), Operand(SBUF, 4, stride))
        many, one = (ElementwiseWork("tensor_copy", engine, n, operands) for n in (513, 1))
        return of(many).issue_ps - of(one).issue_ps

    for engine in (VECTOR, SCALAR, GPSIMD):
        once = moving(engine, 1)
        assert moving(engine, 3) == once
        assert moving(engine, 4) == moving(engine, -100) == pytest.approx(2 * once, abs=1)


def test_only_the_part_that_moves_data_holds_ports() -> None:
    assert of(elementwise(VECTOR, 560, SBUF, PSUM), "trn1").hold_ps == 500_000
    assert of(elementwise(SCALAR, 560, PSUM, SBUF), "trn1").hold_ps == 400_000


def test_reading_a_reduction_out_takes_64_cycles_more() -> None:
    for engine, opcode, ghz in (
        (VECTOR, "tensor_scalar_reduce", 0.96),
        (SCALAR, "activation", 1.2),
    ):
        plain = elementwise(engine, 512, opcode=opcode)
        reducing = of(plain._replace(reduces=True))
        assert reducing.issue_ps - of(plain).issue_ps == pytest.approx(64_000 / ghz, abs=1)
        assert reducing.latency_ps - of(plain).latency_ps == pytest.approx(64_000 / ghz, abs=1)


def test_scalar_engine_of_trn1_copies_as_it_activates() -> None:
    copy, activation = (elementwise(SCALAR, 512, opcode=o) for o in ("tensor_copy", "activation"))
    assert of(copy, "trn1") == of(activation, "trn1")


def test_policy_settles_the_engine() -> None:
    drain = elementwise(Engine.ANY, 512, SBUF, PSUM)
    copy, memset = elementwise(Engine.ANY, 512), elementwise(Engine.ANY, 512, PSUM, opcode="memset")
    for rules, drains, copies, clears in (
        ("nki", VECTOR, VECTOR, GPSIMD),
        ("nki:guide", VECTOR, VECTOR, VECTOR),
        ("beta1", SCALAR, SCALAR, GPSIMD),
        ("beta1:2.20", VECTOR, GPSIMD, GPSIMD),
    ):
        assert of(drain, rules=rules) == of(drain._replace(engine=drains))
        assert of(copy, rules=rules) == of(copy._replace(engine=copies))
        assert of(memset, rules=rules) == of(memset._replace(engine=clears))


def test_passes_of_float32() -> None:
    plain, once = matmul(fp32=True), matmul()
    assert of(plain._replace(onezero=True)).parts == 2
    assert of(plain._replace(onezero=True)).latency_ps == of(once).latency_ps
    assert of(plain._replace(transpose=True)) == of(plain._replace(onezero=True))
    assert of(once._replace(contraction=256, double_row=True)) == of(once)


def test_transpose_of_128x128_on_tensor_engine() -> None:
    call = matmul(128, 128)._replace(transpose=True)
    assert nanoseconds(of(call).latency_ps) == pytest.approx(55, abs=0.5)
    assert of(call, "trn3").latency_ps < 0.6 * of(call).latency_ps  # in the background


def test_tiles_of_the_array() -> None:
    def tile(*of_array: int) -> int:
        return of(matmul()._replace(tile=of_array)).tile  # type: ignore[arg-type]

    assert tile(0, 128, 0, 128) == WHOLE_ARRAY
    assert tile(0, 32, 0, 128) == 0b1111
    assert tile(32, 32, 64, 64) == 0b1100_0000
    assert tile(64, 64, 0, 32) == 0b0001_0001_0000_0000


def test_dma_of_4_rows_of_8_kib_keeps_one_engine_busy() -> None:
    call = of(DmaWork(Engine.LOAD, 4, 1, 8192, rows_contiguous=True))
    assert call.parts == 1
    assert nanoseconds(call.issue_ps) == pytest.approx(1401, abs=0.5)


def test_dma_of_128_rows_of_1_kib_is_spread_over_16_engines() -> None:
    call = of(load(128, 1024))
    assert call.parts == 16
    assert nanoseconds(call.issue_ps) == pytest.approx(8 * (6.5 + 43.57), abs=0.1)


def test_dma_of_contiguous_rows_is_one_run_an_engine() -> None:
    call = of(DmaWork(Engine.STORE, 128, 1, 256, rows_contiguous=True))
    assert nanoseconds(call.issue_ps) == pytest.approx(93.6, abs=0.1)


def test_dma_engines_by_rows() -> None:
    assert [of(load(rows), "trn2").parts for rows in (1, 8, 9, 128)] == [1, 1, 2, 16]
    assert [of(load(rows), "trn1").parts for rows in (1, 9, 17, 128)] == [1, 9, 16, 16]


def test_runs_below_256_bytes_cost_as_256_on_trn2() -> None:
    assert of(load(8, 2)) == of(load(8, 255)) == of(load(8, 256))
    assert of(load(8, 257)).issue_ps > of(load(8, 256)).issue_ps
    assert of(load(8, 255), "trn1").issue_ps < of(load(8, 256), "trn1").issue_ps


def test_every_run_costs_its_overhead() -> None:
    pieces = of(DmaWork(Engine.LOAD, 8, 4, 1024, rows_contiguous=False))
    assert pieces.issue_ps - of(load(8, 4096)).issue_ps == picoseconds(8 * 3 * 6.5)


@given(st.integers(1, 128), st.integers(1, 1 << 16), st.sampled_from(["trn1", "trn2", "trn3"]))
def test_dma_never_beats_peak_bandwidth(rows: int, run_bytes: int, name: str) -> None:
    call = of(load(rows, run_bytes), name)
    all_engines = nanoseconds(call.issue_ps) * device(name).bytes_per_ns / 16 * call.parts
    assert all_engines >= rows * run_bytes


def test_tiny_elements_of_strided_rows_cost_174_ns_on_trn1() -> None:
    strided = DmaWork(Engine.STORE, 128, 512, 4, rows_contiguous=False)
    assert of(strided, "trn1").issue_ps == 8 * 512 * 174_000
    assert of(strided, "trn2") == of(strided._replace(run_bytes=256), "trn2")
    static = of(strided._replace(dge="none"), "trn2")
    assert static.issue_ps == 8 * 512 * 87_000
    rows = DmaWork(Engine.LOAD, 128, 1, 4, rows_contiguous=False)  # one element a row: no stride
    assert of(rows, "trn1").issue_ps == picoseconds(8 * (6.5 + 4 / 17.3))


def test_transposing_transfers_are_slower() -> None:
    plain, call = load(128, 4096), load(128, 4096)._replace
    for name, hbm, sbuf in (("trn1", 0.58, 0.5), ("trn2", 0.9, 0.5)):
        rate = device(name).bytes_per_ns / 16
        for where, factor in (("hbm", hbm), ("sbuf", sbuf)):
            extra = of(call(transpose=where), name).issue_ps - of(plain, name).issue_ps
            assert extra == pytest.approx(8 * 4096 / rate * (1 / factor - 1) * 1000, abs=2)


def test_short_rows_of_the_oldest_compiler() -> None:
    short, long = load(128, 1024), load(128, 2048)
    assert of(short, "trn1", "beta1:2.20").issue_ps == picoseconds(8 * (16 + 1024 / 7.75))
    assert of(long, "trn1", "beta1:2.20") == of(long, "trn1", "beta1")
    contiguous = short._replace(rows_contiguous=True)
    assert of(contiguous, "trn1", "beta1:2.20") == of(contiguous, "trn1", "beta1")


def test_busy_cores_share_hbm() -> None:
    once = of(load(128, 1 << 15))
    assert of(load(128, 1 << 15), cores_busy=7) == once  # the DMA engines are the limit
    assert of(load(128, 1 << 15), cores_busy=8).issue_ps > once.issue_ps
    slow = of(load(128, 1 << 15), cores_busy=8).issue_ps
    assert slow == picoseconds(8 * (6.5 + (1 << 15) / (358 / 16)))
    with pytest.raises(TunerError, match="trn2 has 1 to 8 busy cores, got 9"):
        of(load(), cores_busy=9)


def test_triggers_take_time_of_the_engine_that_asks() -> None:
    plain = of(load())
    assert (plain.hold_ps, plain.delay_ps) == (600_000, 0)
    hardware = of(load()._replace(dge="hwdge", trigger=SCALAR))
    assert (hardware.hold_ps, hardware.delay_ps) == (514_000, 0)
    software = of(load()._replace(dge="swdge", trigger=GPSIMD))
    assert (software.hold_ps, software.delay_ps) == (600_000, 870_000)
    assert of(load()._replace(dge="hwdge")) == of(load()._replace(trigger=SCALAR)) == plain
