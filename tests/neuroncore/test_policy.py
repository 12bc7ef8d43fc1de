from __future__ import annotations

import tomllib
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tuner import neuroncore
from tuner.neuroncore.device import TAGS
from tuner.neuroncore.policy import ON_OVERFLOW, Policy, policy, policy_names
from tuner.runtime.errors import TunerError

FOLDER = Path(neuroncore.__file__).parent / "policies"
FILES = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.toml")}
SETTINGS = {field.name: field.type for field in fields(Policy) if field.name != "name"}
ENGINES = {
    "copy_engine": {"vector", "scalar"},
    "move_engine": {"vector", "scalar", "gpsimd"},
    "scale_engine": {"vector", "scalar", "gpsimd"},
    "memset_engine": {"vector", "scalar", "gpsimd"},
}
ENTRIES = [
    (f"{compiler}.{table}.{name}", name, entry)
    for compiler, data in FILES.items()
    for table, entries in [("policy", data["policy"]), *data["era"].items()]
    for name, entry in entries.items()
    if name != "sdk"
]


def test_names_are_compilers_and_their_eras() -> None:
    assert policy_names() == [
        "beta1",
        "beta1:2025",
        "beta1:2.20",
        "nki",
        "nki:2026",
        "nki:guide",
        "nki:as-written",
    ]


@pytest.mark.parametrize(("compiler", "newest"), [("nki", "2026"), ("beta1", "2025")])
def test_a_compiler_without_an_era_is_its_newest(compiler: str, newest: str) -> None:
    assert policy(compiler) == policy(f"{compiler}:{newest}")
    assert policy(compiler).name == f"{compiler}:{newest}"
    assert all(entry["sdk"] for entry in FILES[compiler]["era"].values())


@pytest.mark.parametrize("name", ["", "nkl", "nki:", "nki:2025", "beta1:guide", "nki:2026:1", ":"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(TunerError, match="compiler policy") as caught:
        policy(name)
    assert "nki" in str(caught.value)


@pytest.mark.parametrize("name", policy_names())
def test_every_setting_has_its_type(name: str) -> None:
    found = policy(name)
    kinds: dict[Any, type] = {"int": int, "bool": bool, "str": str, "float": float}
    for setting, kind in SETTINGS.items():
        assert type(getattr(found, setting)) is kinds[kind], setting
    assert found.on_overflow in ON_OVERFLOW
    for setting, engines in ENGINES.items():
        assert getattr(found, setting) in engines
    for setting in ("load_queues", "store_queues", "rotation_depth", "buffers_min"):
        assert getattr(found, setting) >= 1


@pytest.mark.parametrize("compiler", FILES)
def test_a_file_has_every_setting_and_no_other(compiler: str) -> None:
    assert set(FILES[compiler]["policy"]) == set(SETTINGS)
    for entries in FILES[compiler]["era"].values():
        assert set(entries) <= {*SETTINGS, "sdk"}


@pytest.mark.parametrize(("where", "name", "entry"), ENTRIES, ids=[where for where, *_ in ENTRIES])
def test_every_value_has_a_tag_a_source_and_lies_in_its_range(
    where: str, name: str, entry: dict[str, Any]
) -> None:
    assert set(entry) <= {"value", "tag", "source", "range"}
    assert entry["tag"] in TAGS
    assert len(entry["source"]) > 10
    if "range" in entry:
        low, high = entry["range"]
        assert low <= entry["value"] <= high
        assert low < high
        if type(entry["value"]) is int:
            assert type(low) is type(high) is int


@pytest.mark.parametrize(
    ("compiler", "era"), [(c, era) for c, data in FILES.items() for era in data["era"]]
)
def test_an_era_overrides_what_it_names_and_nothing_else(compiler: str, era: str) -> None:
    data, found = FILES[compiler], policy(f"{compiler}:{era}")
    for setting, entry in data["policy"].items():
        expected = data["era"][era].get(setting, entry)["value"]
        assert getattr(found, setting) == expected, setting


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hoists", "hoist"),
        ('tag = "R"', 'tag = "Z"'),
        ('source = "known"', 'source = ""'),
    ],
)
def test_a_broken_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    text = (
        'newest = "1"\n[policy]\nhoists = { value = true, tag = "R", source = "known" }\n[era.1]\n'
    )
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    monkeypatch.setattr(import_module("tuner.neuroncore.policy"), "_FOLDER", tmp_path)
    with pytest.raises(TunerError, match=r"policy file mine\.toml: \w+ is no setting"):
        policy("mine:1")
