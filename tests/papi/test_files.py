"""Files of hardware, systems and models that a user writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.papi.hardware import Gpu, hardware, hardware_names
from tuner.papi.models import model
from tuner.papi.systems import kv_tokens, system, system_names
from tuner.runtime.errors import TunerError

GPU = """
kind = "gpu"
inherits = "h100"

[constants]
bytes_per_ns = { value = 4800, tag = "D", source = "a data sheet", range = [4000, 5000] }
"""
SYSTEM = """
fc_runs_on = ["gpu", "pim"]
gpus = { unit = "mine.toml", count = 4 }
fc_stacks = { unit = "fc_pim", count = 24 }
attention_stacks = { unit = "attn_pim", count = 24 }
link = "shared_link"
reschedule_us = 3
"""
MODEL = """
source = "me"
layers = 4
hidden = 256
heads = 8
kv_heads = 2
head_dim = 32
ffn = 512
ffn_matrices = 3
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_unit_overrides_what_it_inherits(tmp_path: Path) -> None:
    mine, h100 = hardware(written(tmp_path, GPU)), hardware("h100")
    assert isinstance(mine, Gpu)
    assert isinstance(h100, Gpu)
    assert (mine.name, mine.bytes_per_ns) == ("mine", 4800)
    assert mine.flops_per_ns == h100.flops_per_ns
    assert {c.name: c.source for c in mine.constants}["bytes_per_ns"] == "a data sheet"


def test_a_system_names_units_from_its_own_folder(tmp_path: Path) -> None:
    written(tmp_path, GPU)
    mine = system(written(tmp_path, SYSTEM, "four.toml"))
    assert (mine.name, mine.gpus, mine.reschedule_us) == ("four", 4, 3)
    assert mine.gpu == hardware(str(tmp_path / "mine.toml"))
    assert (mine.weight_gib, mine.kv_gib) == (24 * 12, 24 * 16)
    assert kv_tokens(mine, model("llama-65b")) == 24 * 16 * 2**30 // 2621440


def test_the_five_systems_of_the_paper_are_there() -> None:
    assert system_names() == ["a100_attacc", "a100_hbm_pim", "attacc_only", "papi", "pim_only_papi"]
    stacks = {name: system(name) for name in system_names()}
    assert {s.attention_stacks for s in stacks.values()} == {60}
    assert stacks["papi"].weight_gib == 360
    assert stacks["a100_attacc"].weight_gib == 480
    assert "fc_pim" in hardware_names()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"gpu"\n', '"cpu"\n', "cannot inherit from hardware h100, a gpu"),
        ('kind = "gpu"\n', "", r"mine.toml: needs kind = \.\.\., e\.g\. 'gpu'"),
        ('"h100"', '"h10"', "unknown hardware 'h10'; did you mean .*h100"),
        ('"h100"', "7", "inherits = 7: expected a name or a path"),
        ('"h100"', '"mine.toml"', "inherits from itself"),
        ('"h100"', '"none.toml"', "none.toml: No such file"),
        ("[constants]", "[values]", "unknown key in .*mine.toml: 'values' .known: .*constants"),
        ("bytes_per_ns", "byte_per_ns", "unknown constant .*'byte_per_ns'; did you mean .*bytes_p"),
        ("4800", '"fast"', "bytes_per_ns: Expected .*; expected { value = "),
        ("4800", "[1]", "bytes_per_ns: Expected"),
        ("4800", "nan", "bytes_per_ns = nan: expected 4000 to 5000"),
        ("4800", "6000", "bytes_per_ns = 6000: expected 4000 to 5000"),
        ("4800", "1" + "0" * 5000, "mine.toml: Exceeds the limit"),
        (", range = [4000, 5000]", "", ""),
        ("4800", "[" * 5000, "nested too deeply"),
        ('"D"', '"guess"', "bytes_per_ns: Invalid enum value 'guess'"),
        ('"a data sheet"', '""', "bytes_per_ns: Expected `str` of length >= 1"),
        ("{ value = 4800", "{ cost = 3, value = 4800", "unknown field `cost`"),
        ("bytes_per_ns = { value = 4800", "multiprocessors = { value = 4800.5", "Expected `int`"),
        ("bytes_per_ns = { value = 4800", "bandwidth_share = { value = 4800", "<= 1.0"),
    ],
)
def test_a_wrong_unit_is_one_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GPU
    path = written(tmp_path, GPU.replace(old, new))
    if not message:
        assert hardware(path).name == "mine"
        return
    with pytest.raises(TunerError, match=message) as raised:
        hardware(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"pim"]', '"tpu"]', "unknown unit in system .*fc_runs_on: 'tpu'; did you mean gpu"),
        ('["gpu", "pim"]', "[]", r"fc_runs_on = \[\]: lacks fc_runs_on"),
        ("gpus = ", "gpu = ", "unknown field `gpu`"),
        ('gpus = { unit = "mine.toml", count = 4 }\n', "", "fc_runs_on = .*: lacks gpus"),
        ("count = 4 ", "count = 0 ", "gpus: count = 0: expected 1 to 100000"),
        ("count = 4 ", "count = 1.5 ", "Expected `int`, got `float`"),
        ('"fc_pim"', '"a100"', "fc_stacks: a100 is no pim but a gpu"),
        ('"shared_link"', '"link"', "unknown hardware 'link'; did you mean .*shared_link"),
        ("= 3", "= -3", "reschedule_us = -3.0: expected 0 to 1e9"),
        ("= 3", "= nan", "reschedule_us = nan: expected 0 to 1e9"),
    ],
)
def test_a_wrong_system_is_one_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in SYSTEM
    written(tmp_path, GPU)
    with pytest.raises(TunerError, match=message) as raised:
        system(written(tmp_path, SYSTEM.replace(old, new), "four.toml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("layers = 4", "layers = 0", "layers = 0: expected 1 to 1048576"),
        ("ffn = 512", "ffn = 99999999", "ffn = 99999999: expected 1 to"),
        ("ffn = 512", 'ffn = "4h"', "Expected `int`, got `str`"),
        ("hidden = 256\n", "", "missing required field `hidden`"),
        ("kv_heads = 2", "kv_heads = 16", "kv_heads = 16: more than heads = 8"),
        ("kv_heads = 2", "kv_heads = 3", "heads = 8: expected a multiple of kv_heads"),
        ("ffn_matrices = 3", "ffn_matrices = 4", "ffn_matrices = 4: expected 2 or 3"),
        ("layers", "layer", "unknown field `layer`"),
        ("layers = 4", "layers = 4\nexperts_per_token = 2", "experts_per_token = 2: more than exp"),
    ],
)
def test_a_wrong_model_is_one_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in MODEL
    assert model(written(tmp_path, MODEL, "good.toml")).experts == 1
    with pytest.raises(TunerError, match=message) as raised:
        model(written(tmp_path, MODEL.replace(old, new)))
    assert "\n" not in str(raised.value)


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(TunerError, match=r"unknown model 'llama-65'; did you mean .*llama-65b"):
        model("llama-65")
