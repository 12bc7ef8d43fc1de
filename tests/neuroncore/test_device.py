from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tuner.neuroncore import (
    Constant,
    constants,
    device,
    device_from_source,
    device_names,
    device_source,
    policy,
)
from tuner.runtime.errors import TunerError

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
        "generation": 3,
        "partitions": 128,
        "sbuf_bytes_per_partition": 224 * 1024,
        "sbuf_usable_bytes_per_partition": 224 * 1024 - 16384 - 8 - 256,
        "psum_banks": 8,
        "psum_bank_bytes_per_partition": 2048,
        "moving_free_max": 512,
    }


@pytest.mark.parametrize(
    ("name", "fp8", "bf16", "fp32", "bytes_per_ns"),
    [("trn1", 92, 92, 23, 16 * 17.3), ("trn2", 157, 79, 20, 376), ("trn3", 157, 79, 20, 528)],
)
def test_peaks_are_the_documented_ones(
    name: str, fp8: int, bf16: int, fp32: int, bytes_per_ns: float
) -> None:
    core = device(name)
    assert round(core.peak_flops_per_ns(1) / 1000) == fp8
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
    trn1 = device("trn1")
    peak_us = flops / trn1.peak_flops_per_ns(2) / 1000
    assert trn1.roofline_us(flops, 0, 2) == pytest.approx(peak_us / trn1.tensor.sustained_factor)


def test_bandwidth_is_capped_by_the_hbm_stack() -> None:
    core = device("trn2")
    slow = msgspec.structs.replace(core.hbm, alone_bytes_per_ns=100.0)
    assert msgspec.structs.replace(core, hbm=slow).bytes_per_ns == 100


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


MINE = """
inherits = "trn2"

[dma]
start_ns = { value = 700.0, tag = "M", source = "my own run", range = [650, 750] }

[kernel]
launch_us = { value = 12, tag = "R", source = "my own run" }
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_overrides_what_it_inherits(tmp_path: Path) -> None:
    mine, trn2 = device(written(tmp_path, MINE)), device("trn2")
    assert (mine.name, mine.core) == ("mine", "NeuronCore-v3")
    assert (mine.dma.start_ns, mine.kernel.launch_us) == (700, 12)
    assert mine.tensor == trn2.tensor
    assert mine.facts() == {**trn2.facts(), "name": "mine"}
    found = {constant.name: constant for constant in constants(str(tmp_path / "mine.toml"))}
    assert found["dma.start_ns"] == Constant("dma.start_ns", 700.0, "M", "my own run", (650, 750))
    assert found["kernel.launch_us"].range is None
    others = [c for c in trn2.constants if c.name not in ("dma.start_ns", "kernel.launch_us")]
    assert [found[c.name] for c in others] == others  # the same core: as well known as there


def test_what_is_known_of_a_core_is_assumed_of_another(tmp_path: Path) -> None:
    name = written(tmp_path, 'core = "NeuronCore-v4"\ninherits = "trn1"\n')
    assert (device(name).core, device(name).generation) == ("NeuronCore-v4", 4)
    assert {constant.tag for constant in constants(name)} == {"A"}
    assert all(constant.source.startswith("as on trn1: ") for constant in constants(name))


def test_a_file_inherits_from_a_file_beside_it(tmp_path: Path) -> None:
    written(tmp_path, MINE)
    (tmp_path / "deep").mkdir()
    text = 'inherits = "../mine.toml"\n[dma]\ndone_ns = { value = 1.0, tag = "A", source = "a" }'
    found = device(written(tmp_path, text, "deep/own.toml"))
    assert (found.name, found.dma.start_ns, found.dma.done_ns) == ("own", 700, 1)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    assert device(written(tmp_path, MINE)).dma.start_ns == 700
    assert device(written(tmp_path, MINE.replace("700", "710"))).dma.start_ns == 710


@pytest.mark.parametrize("name", DEVICES)
def test_the_source_of_a_shipped_device_makes_it_again(name: str) -> None:
    assert device_from_source(device_source(name), name) == device(name)


def test_the_source_of_a_file_makes_it_again_where_the_file_is_not(tmp_path: Path) -> None:
    odd = 'a \\"page\\", C:\\\\x, 2 \\u00b5s \\u007f\\n'
    name = written(tmp_path, MINE.replace("my own run", odd))
    here, text = device(name), device_source(name)
    (tmp_path / "mine.toml").unlink()
    assert device_from_source(text, name) == here
    assert {c.source for c in here.constants if c.tag == "M"} >= {'a "page", C:\\x, 2 µs \x7f\n'}


def test_a_source_inherits_from_shipped_devices_only(tmp_path: Path) -> None:
    assert device_from_source('inherits = "trn1"', "mine").core == "NeuronCore-v2"
    with pytest.raises(TunerError, match=r"mine: inherits = .* expected a shipped device"):
        device_from_source(f"inherits = {written(tmp_path, MINE)!r}", "mine")


FULL = 'value = 700.0, tag = "M", source = "my own run", range = [650, 750]'
LAUNCH = 'value = 12, tag = "R", source = "my own run"'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (MINE, "core = ", "mine.toml: Invalid value"),
        (MINE, "", "mine.toml: needs core = ... or inherits = ..."),
        (
            MINE,
            'core = "NeuronCore-v5"\ninherits = "trn2"',
            "unknown core in .*; did you mean Neuron",
        ),
        (MINE, 'core = "x"', "without inherits it needs every constant, lacks clock.tensor_ghz"),
        ('"trn2"', "2", "inherits = 2: expected a text"),
        ('"trn2"', '"trn9"', "unknown device 'trn9'; did you mean trn1, trn2, trn3"),
        ('"trn2"', '"none.toml"', "none.toml: No such file"),
        ('"trn2"', '"mine.toml"', "inherits from itself: mine.toml -> mine.toml"),
        ("[dma]", "[dna]", "constant in .*mine.toml: 'dna.start_ns'; did you mean .*dma.start_ns"),
        ("start_ns", "strat_ns", "'dma.strat_ns'; did you mean .*dma.start_ns"),
        ("[dma]", "dma = 3\n[kernel.x]", "unknown key in .*mine.toml: 'dma'"),
        (FULL, "value = 7", "dma.start_ns needs a tag"),
        ("{ " + FULL + " }", "700.0", r"dma.start_ns: expected \{ value = "),
        (FULL, 'tag = "M", source = "a"', r"dma.start_ns: expected \{ value = "),
        (', source = "my own run", range', ", range", "dma.start_ns needs a tag"),
        ('"M"', '"guess"', r"dma.start_ns needs a tag \(D, M, R, A\) and a source"),
        ('"my own run"', '" "', "dma.start_ns needs a tag"),
        ("range", "rang", "unknown key of .*dma.start_ns: 'rang'; did you mean .*range"),
        ("700.0", "800.0", r"dma.start_ns = 800.0 is outside its range 650 .. 750"),
        ("[650, 750]", "[650]", r"range = \[650\]: expected \[low, high\]"),
        ("[650, 750]", "[750, 650]", "the first must be below the second"),
        ("[650, 750]", "[650, true]", r"expected \[low, high\]"),
        ("12", "nan", "kernel.launch_us = nan: expected a finite number"),
        ("12", "-1", "kernel.launch_us = -1: expected a finite number, 0 or more"),
        ("12", '"long"', "mine.toml: Expected `float`, got `str` - at `\\$.kernel.launch_us`"),
        ("12", "true", "Expected `float`, got `bool`"),
        ("start_ns = { " + FULL, "engines = { " + LAUNCH.replace("12", "1.5"), "Expected `int`"),
        (
            "start_ns = { " + FULL,
            "engines = { " + LAUNCH.replace("12", "0"),
            "expected a finite number, more than 0",
        ),
    ],
)
def test_a_wrong_file_is_one_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in MINE
    with pytest.raises(TunerError, match=message) as raised:
        device(written(tmp_path, MINE.replace(old, new)))
    assert "\n" not in str(raised.value)


def test_a_circle_of_files_is_told(tmp_path: Path) -> None:
    written(tmp_path, 'inherits = "b.toml"', "a.toml")
    written(tmp_path, 'inherits = "a.toml"', "b.toml")
    with pytest.raises(TunerError, match=r"inherits from itself: a.toml -> b.toml -> a.toml"):
        device(str(tmp_path / "a.toml"))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"device file none.toml: No such file"):
        device("none.toml")
    with pytest.raises(TunerError, match=r"trn2 is a shipped device; give the file another name"):
        device(written(tmp_path, MINE, "trn2.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(TunerError, match="Is a directory"):
        device(str(tmp_path / "folder.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TunerError, match=r"binary.toml: not a text file"):
        device(str(tmp_path / "binary.toml"))


@pytest.mark.parametrize("value", [0, 1e30])
def test_no_constant_of_a_device_file_ends_in_a_traceback(value: float, tmp_path: Path) -> None:
    for constant in constants("trn2"):
        if isinstance(constant.value, bool) or constant.range is not None:
            continue
        section, _, key = constant.name.partition(".")
        number = int(value) if isinstance(constant.value, int) else float(value)
        path = tmp_path / "mine.toml"
        entry = f'{{ value = {number}, tag = "A", source = "x" }}'
        path.write_text(f'inherits = "trn2"\n[{section}]\n{key} = {entry}\n')
        try:
            core = device(str(path))
        except TunerError as error:
            assert constant.name in str(error)  # noqa: PT017 - some values are fine
        else:
            assert core.roofline_us(1e9, 1e6, 4) > 0


def test_the_note_of_trn1_says_what_runs_there() -> None:
    assert "no released SDK runs `import nki` kernels on trn1" in device("trn1").note
    assert device("trn1").facts()["note"] == device("trn1").note
    assert (device("trn2").note, device("trn3").note) == ("", "")


def test_a_note_is_inherited_by_devices_of_the_same_core(tmp_path: Path) -> None:
    note = device("trn1").note
    assert device(written(tmp_path, 'inherits = "trn1"\n')).note == note
    assert device(written(tmp_path, 'inherits = "trn1"\ncore = "NeuronCore-v3"\n')).note == ""
    own = written(tmp_path, 'inherits = "trn1"\nnote = "it\'s \\"mine\\""\n')
    assert device(own).note == 'it\'s "mine"'
    assert device_from_source(device_source(own), own) == device(own)


def test_a_note_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match="note = 5: expected a text"):
        device(written(tmp_path, 'inherits = "trn1"\nnote = 5\n'))
