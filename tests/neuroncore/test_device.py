from __future__ import annotations

import importlib
from pathlib import Path

import msgspec
import pytest

from tuner.neuroncore import constants, device, device_names, policy
from tuner.runtime.errors import TunerError

MODULE = importlib.import_module("tuner.neuroncore.device")  # the name also is a function's
DEVICES = ["trn1", "trn2", "trn3"]


def test_names() -> None:
    assert device_names() == DEVICES
    assert device("trn2").core == "NeuronCore-v3"


@pytest.mark.parametrize("name", DEVICES)
def test_every_constant_has_a_source_and_lies_in_its_range(name: str) -> None:
    found = constants(name)
    for constant in found:
        assert constant.tag in {"D", "M", "R", "A"}, constant.name
        assert len(constant.source) > 5, constant.name
        if constant.range is not None:
            assert constant.range[0] < constant.range[1], constant.name
            assert constant.range[0] <= constant.value <= constant.range[1], constant.name
    sections = msgspec.to_builtins(device(name))
    listed = {f"{s}.{key}" for s, v in sections.items() if isinstance(v, dict) for key in v}
    assert {constant.name for constant in found} == listed
    assert len(found) == len(listed)


def test_trn3_inherits_from_trn2_as_an_assumption() -> None:
    parent = {constant.name: constant for constant in constants("trn2")}
    child = {constant.name: constant for constant in constants("trn3")}
    assert child.keys() == parent.keys()
    inherited = child["vector.fixed_cycles"]
    assert (inherited.value, inherited.tag) == (parent["vector.fixed_cycles"].value, "A")
    assert inherited.source == f"as on trn2: {parent['vector.fixed_cycles'].source}"
    assert (child["clock.vector_ghz"].value, child["clock.vector_ghz"].tag) == (1.2, "D")
    assert device("trn3").tensor.moving_free_max == 4096
    assert device("trn3").tensor.clock_ramp


def test_unknown_device_names_the_nearest() -> None:
    with pytest.raises(TunerError, match="unknown device 'trn4'; did you mean trn1, trn2, trn3"):
        device("trn4")


def test_unknown_policy_names_the_known() -> None:
    with pytest.raises(TunerError, match=r"unknown compiler policy 'beta'"):
        policy("beta")


def test_facts_for_search_spaces() -> None:
    assert device("trn2").facts() == {
        "name": "trn2",
        "partitions": 128,
        "sbuf_bytes_per_partition": 224 * 1024,
        "sbuf_usable_bytes_per_partition": 224 * 1024 - 16384 - 8 - 256,
        "psum_banks": 8,
        "psum_bank_bytes_per_partition": 2048,
        "moving_free_max": 512,
    }


@pytest.mark.parametrize(
    ("name", "bf16", "fp32", "bytes_per_ns"),
    [("trn1", 92, 23, 16 * 17.3), ("trn2", 79, 20, 376), ("trn3", 79, 20, 528)],
)
def test_peaks_are_the_documented_ones(
    name: str, bf16: int, fp32: int, bytes_per_ns: float
) -> None:
    core = device(name)
    assert round(core.peak_flops_per_ns(2) / 1000) == bf16
    assert round(core.peak_flops_per_ns(4) / 1000) == fp32
    assert core.bytes_per_ns == pytest.approx(bytes_per_ns)


def test_roofline_is_the_slower_of_arithmetic_and_traffic() -> None:
    core = device("trn2")
    flops = 2 * 2048**3
    assert core.roofline_us(flops, 0, 2) == pytest.approx(218.45, abs=0.01)
    assert core.roofline_us(flops, 0, 4) == pytest.approx(4 * 218.45, abs=0.04)
    assert core.roofline_us(0, 376_000, 2) == 1
    assert core.roofline_us(flops, 376e6, 2) == 1000


def test_bandwidth_is_capped_by_the_hbm_stack() -> None:
    core = device("trn2")
    slow = msgspec.structs.replace(core.hbm, alone_bytes_per_ns=100.0)
    assert msgspec.structs.replace(core, hbm=slow).bytes_per_ns == 100


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{ value = 11.0, tag = "guess", source = "a page" }', "kernel.launch_us needs a tag"),
        ('{ value = 11.0, tag = "D", source = "" }', "kernel.launch_us needs a tag"),
        ('{ value = "long", tag = "D", source = "a page" }', "Expected `float`"),
    ],
)
def test_wrong_device_file_is_refused(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (MODULE._FOLDER / "trn2.toml").read_text()
    monkeypatch.setattr(MODULE, "_FOLDER", tmp_path)
    monkeypatch.setattr(MODULE, "_read", MODULE._read.__wrapped__)
    good = text[text.index("launch_us = ") :].partition("\n")[0]
    (tmp_path / "mine.toml").write_text(text.replace(good, f"launch_us = {line}"))
    with pytest.raises(TunerError, match=r"device file mine.toml: .*" + message):
        device("mine")


def test_psum_has_eight_banks_of_512_floats() -> None:
    for name in DEVICES:
        assert device(name).psum.banks == 8
        assert device(name).psum.bank_bytes_per_partition == 512 * 4


def test_share_of_hbm() -> None:
    core = msgspec.structs.replace(
        device("trn2"), dma=msgspec.structs.replace(device("trn2").dma, bytes_per_ns=100.0)
    )
    assert [core.share_bytes_per_ns(busy) for busy in (1, 2, 4, 8)] == [716, 716, 716, 358]
    assert device("trn1").share_bytes_per_ns(2) == pytest.approx(16 * 17.3)
    for cores in (0, 9):
        with pytest.raises(TunerError, match=f"trn2 has 1 to 8 busy cores, got {cores}"):
            core.share_bytes_per_ns(cores)


def test_latency_is_no_shorter_than_the_issue_interval() -> None:
    for name in DEVICES:
        core = device(name)
        for engine in (core.vector, core.scalar, core.gpsimd):
            assert engine.latency_cycles >= engine.fixed_cycles
