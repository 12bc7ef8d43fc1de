from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuner
from tests.runtime.small_table import TABLE, VARIED, Open
from tuner.runtime import Table, TunerError, load, loading


def changed(path: str, value: Any) -> dict[str, Any]:
    """The table with another value at a dotted path."""
    data = copy.deepcopy(TABLE)
    node: Any = data
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        node = node[part]
    node[last] = value
    return data


def without(name: str) -> dict[str, Any]:
    """The table whose first record lacks an entry."""
    data = copy.deepcopy(TABLE)
    del data["records"][0][name]
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not a JSON table"),
        ("[" * 100_000, "not a JSON table"),
        ("\N{REPLACEMENT CHARACTER}", "not a JSON table"),
        (changed("schema", "other"), "its `schema` is not"),
        (changed("schema_version", 2), "schema version 2, this reads version 1"),
        ({"schema": "nki-tuner/table", "schema_version": 1}, "KeyError: 'kernels'"),
        (changed("records", [5]), "a broken table"),
        (changed("command", 5), "command: 5 is no text"),
        (changed("records.0.device", "trn9"), "names a kernel, device or dtype it lacks"),
        (changed("records.0.fingerprint", []), r"records\[0\].fingerprint: \[\] has the wrong"),
        (changed("records.0.config", {"tiles": [3]}), r"records\[0\].config: tiles=\[3\] is no"),
        (changed("records.0.roofline_us", "9"), r"records\[0\].roofline_us: '9' has the wrong"),
        (changed("records.0.default_config", []), r"default_config: \[\] has the wrong type"),
        (without("kind"), r"records\[0\].kind: missing"),
        (changed("records.0.sizes", {"M": 1}), "copy needs a size for N"),
        (changed("kernels.copy.dtypes", ["bf16"]), "unknown dtype 'bf16'"),
        (changed("kernels.copy.parameters.0.default", 3), "'tiles': its default is none"),
        (changed("kernels.copy.parameters.2.when", "import os"), "keep.when: .* is not an expr"),
        (changed("devices.trn2.rows", []), "device 'trn2' has a fact"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_broken_file_is_an_error_that_names_it(opened: Open, data: Any, message: str) -> None:
    with pytest.raises(TunerError, match=rf"^/.*/table\.json: .*{message}") as caught:
        opened(data)
    assert "\n" not in str(caught.value)


def test_a_missing_or_too_large_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TunerError, match=r"none\.json: No such file"):
        load(tmp_path / "none.json")
    (tmp_path / "large.json").write_text(" " * 100)
    monkeypatch.setattr(loading, "MAX_FILE_BYTES", 99)
    with pytest.raises(TunerError, match=r"large\.json: larger than 99 bytes"):
        load(tmp_path / "large.json")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats()
    | st.sampled_from(["M", "trn2", "("]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a node."""
    keys = (
        list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    )
    return [place for key in keys for place in ((node, key), *places(node[key]))]


def load_or_error(path: Path) -> Table | TunerError:
    try:
        return load(path)
    except TunerError as error:
        return error


@given(st.data())
def test_a_damaged_table_is_an_error_or_can_be_used(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = copy.deepcopy(data.draw(st.sampled_from([TABLE, VARIED])))
    container, key = data.draw(st.sampled_from(places(damaged)))
    if data.draw(st.booleans()):
        del container[key]
    else:
        container[key] = data.draw(JSON)
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_text(json.dumps(damaged))
    tuned = load_or_error(path)
    if isinstance(tuned, TunerError):
        assert str(tuned).startswith(f"{path}: ")
        return
    varied = {"M": 2048, "N": 512, "how": "add"}
    for M, N in ((1024, 512), (800, 512), (128, 4096), (10**6, 10**6), (2048, 512)):
        sizes: dict[str, Any] = varied if M == 2048 else {"M": M, "N": N}
        try:
            answer = tuned.lookup(
                "copy", **sizes, dtype="bfloat16", device="trn2", expect={"space_hash": "s"}
            )
        except TunerError:
            continue
        assert answer.match in ("exact", "nearest", "default")


def test_a_table_may_say_what_command_makes_it(opened: Open) -> None:
    assert opened(TABLE).command == ""
    command = "nki-tuner batch jobs.toml --export t.json"
    assert opened(changed("command", command)).command == command


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that comes with a table trn2; the working directory is empty."""
    package, here = tmp_path / "package", tmp_path / "here"
    for folder in (package / "tuner" / "results", here):
        folder.mkdir(parents=True)
    monkeypatch.setattr(tuner, "__file__", str(package / "tuner" / "__init__.py"))
    monkeypatch.chdir(here)
    path = package / "tuner" / "results" / "trn2.json"
    path.write_text(json.dumps(TABLE))
    return path


def test_a_bare_name_is_that_of_a_shipped_table(shipped: Path) -> None:
    assert load("trn2").path == str(shipped)
    assert len(load("trn2").records) == len(TABLE["records"])


def test_a_file_goes_before_a_shipped_table_of_its_name(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "here" / "trn2").write_text(json.dumps(VARIED))
    assert load("trn2").path == "trn2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trn3", r"^unknown file or shipped table 'trn3'; did you mean trn2\? \(known: trn2\)$"),
        ("trn2.json", r"^trn2\.json: No such file or directory$"),
        ("./trn2", r"^\./trn2: No such file or directory$"),
    ],
)
def test_a_name_that_is_none_is_an_error(shipped: Path, name: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        load(name)
