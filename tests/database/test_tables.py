from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.database.studies import DEFAULT, MATMUL, add, config, failed, info, timed
from tuner.database import Store, export, table_kernel
from tuner.neuroncore import device
from tuner.runtime import load
from tuner.runtime.errors import TunerError


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Path:
    """A results folder with records for two workloads."""
    add(store, info(), (DEFAULT, timed(9)), (config(1, loop_order="mnk"), timed(4, verified=True)))
    add(store, info(M=512), (DEFAULT, failed()), (config(4), timed(6)))
    return tmp_path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    return folder / "trn2.json"


def test_what_is_exported_is_found_at_run_time(filled: Path, output: Path) -> None:
    done = export(filled, output)
    assert done.left_out == ()
    assert len(done.written) == 2
    table = load(output)
    for best in done.written:
        sizes: dict[str, Any] = dict(best.study.info.sizes)
        answer = table.lookup("matmul", **sizes)
        assert (answer.match, answer.kind) == ("exact", "simulated")
        assert answer.config == best.trial.config
    answer = table.lookup("matmul", M=256, K=512, N=1024, dtype="bfloat16", device="trn2")
    record = answer.record
    assert record is not None
    assert record.config == config(1, loop_order="mnk")
    assert (record.latency_us, record.default_latency_us, record.trials) == (4, 9, 2)
    assert record.verified
    assert record.fingerprint == info().fingerprint
    assert record.command == info().command
    assert (record.default_config, record.roofline_us) == (DEFAULT, 4.5)


def test_a_table_holds_the_rules_to_judge_a_near_workload(filled: Path, output: Path) -> None:
    export(filled, output)
    table = load(output)
    rules = table.kernels["matmul"].rules
    assert [vars(p) | {"when": str(p.when)} for p in rules.parameters] == [
        vars(p) | {"when": str(p.when)} for p in MATMUL.rules.parameters
    ]
    assert [c.why for c in rules.constraints] == [c.why for c in MATMUL.rules.constraints]
    assert table.devices["trn2"] == device("trn2").facts()
    answer = table.lookup("matmul", M=512, K=1024, N=1024)
    assert answer.match == "nearest"


def test_the_facts_of_a_device_are_the_newest(store: Store, tmp_path: Path, output: Path) -> None:
    facts = device("trn2").facts()
    fewer = {name: value for name, value in facts.items() if name != "generation"}
    for kernel, known, latency_us in (
        ("matmul", fewer, 6),
        ("other", fewer, 5),
        ("matmul", facts, 4),
    ):
        rules = {"kernel": table_kernel(MATMUL), "device": known}
        add(store, info(kernel=kernel, rules=rules), (config(4), timed(latency_us)))
    export(tmp_path, output)
    assert load(output).devices["trn2"] == facts


def test_a_failed_default_has_no_time(filled: Path, output: Path) -> None:
    export(filled, output, shape="M=512,K=512,N=1024")
    (record,) = load(output).records
    assert record.default_latency_us is None


def test_a_filter_chooses_what_is_written(filled: Path, output: Path) -> None:
    done = export(filled, output, kernel="matmul", study=2, device="trn2")
    assert [best.study.id for best in done.written] == [2]
    assert [record.sizes["M"] for record in load(output).records] == [512]


def test_records_of_an_older_search_space_are_left_out(
    store: Store, tmp_path: Path, output: Path
) -> None:
    add(store, info(), (config(4), timed(5)))
    kernel = table_kernel(MATMUL)
    kernel["parameters"][0] = {"name": "tiles_m", "values": [1, 2], "default": 2}
    rules = {"kernel": kernel, "device": device("trn2").facts()}
    newer = info(M=512, rules=rules, fingerprint={"kernel_hash": "k2"})
    add(store, newer, (config(1), timed(6)))
    done = export(tmp_path, output)
    assert [best.study.info.sizes["M"] for best in done.written] == [512]
    assert [best.study.info.sizes["M"] for best in done.left_out] == [256]
    table = load(output)
    assert table.lookup("matmul", M=512, K=512, N=1024).config == config(1)
    assert table.kernels["matmul"].rules.parameters[0].values == (1, 2)


def test_a_table_is_readable_by_everyone_and_by_people(filled: Path, output: Path) -> None:
    export(filled, output)
    assert output.stat().st_mode & 0o777 == 0o644
    text = output.read_text()
    assert text.endswith("}\n")
    assert text.count("\n") > 50
    assert json.loads(text)["schema"] == "nki-tuner/table"


def test_a_table_replaces_the_one_before(filled: Path, output: Path) -> None:
    export(filled, output, study=1)
    export(filled, output, study=2)
    assert [record.sizes["M"] for record in load(output).records] == [512]
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("call", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), TunerError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["full", "interrupted"],
)
def test_a_failing_write_leaves_the_old_table_and_nothing_else(
    filled: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    raised: BaseException,
    seen: type[BaseException],
) -> None:
    output.write_text("old")

    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(seen):
        export(filled, output)
    monkeypatch.undo()
    assert output.read_text() == "old"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("place", ["missing/t.json", "."])
def test_a_file_that_cannot_be_written_is_an_error_that_names_it(
    filled: Path, output: Path, place: str
) -> None:
    with pytest.raises(TunerError, match=f"{output.parent.name}"):
        export(filled, output.parent / place)
    assert list(output.parent.iterdir()) == []


def test_nothing_to_export_is_an_error(store: Store, tmp_path: Path, output: Path) -> None:
    add(store, info(), (config(4), failed()))
    with pytest.raises(TunerError, match="no correct trial to export"):
        export(tmp_path, output)
    with pytest.raises(TunerError, match="no study matches kernel=other"):
        export(tmp_path, output, kernel="other")
    assert list(output.parent.iterdir()) == []


def test_made_noise_is_never_exported(store: Store, tmp_path: Path, output: Path) -> None:
    noise = {"kernel_hash": "k1", "model_hash": "m1", "noise": 0.03}
    noisy = add(store, info(fingerprint=noise), (DEFAULT, timed(1)))
    results = store.path.parent.parent
    with pytest.raises(TunerError, match="nothing to export but times with made noise"):
        export(results, output)
    exact = add(store, info(), (DEFAULT, timed(5)))
    add(store, info(M=512, fingerprint=noise), (DEFAULT, timed(1)))
    assert [best.study.id for best in export(results, output).written] == [exact.id]
    with pytest.raises(TunerError, match="nothing to export but times with made noise"):
        export(results, output, study=noisy.id)


def test_records_of_an_older_kernel_are_left_out(
    store: Store, tmp_path: Path, output: Path
) -> None:
    add(store, info(), (config(4), timed(5)))
    add(store, info(M=512, fingerprint={"kernel_hash": "k2"}), (config(1), timed(6)))
    done = export(tmp_path, output)
    assert [best.study.info.sizes["M"] for best in done.written] == [512]
    assert [best.study.info.sizes["M"] for best in done.left_out] == [256]


def test_some_studies_are_exported_with_the_command_that_makes_the_table(
    store: Store, filled: Path, output: Path
) -> None:
    add(store, info(M=1024), (DEFAULT, timed(9)))
    export(filled, output, study=[1, 3], command="nki-tuner batch jobs.toml")
    table = load(output)
    assert [record.sizes["M"] for record in table.records] == [256, 1024]
    assert table.command == "nki-tuner batch jobs.toml"
    export(filled, output)
    assert "command" not in json.loads(output.read_text()).keys() - {"records"}
