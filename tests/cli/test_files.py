from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.backends.small_kernel import SHAPE, write_space
from tests.cli.console import Call
from tuner.cli.common import settings
from tuner.database import Best, Store, best_trial, records
from tuner.runtime import load


@pytest.fixture
def found(results: Path) -> list[Best]:
    with Store(results) as store:
        return records(store)


@pytest.fixture
def table_file(call: Call, results: Path, tmp_path: Path) -> Path:
    path = tmp_path / "trn2.json"
    said = call("export", str(results), "-o", str(path), "--device", "trn2")
    assert said.code == 0
    assert said.out.startswith(f"wrote 2 record(s), simulated times, to {path}\n")
    return path


def times(text: str) -> list[str]:
    """Every time in a text, with what stands behind it."""
    return re.findall(r"[\d.,]+ (?:us|ms)\b(?: \+- \d+ %)?(?: \(\w+\))?", text)


def test_show_lists_what_was_measured_again_first(call: Call, tmp_path: Path) -> None:
    space, folder = write_space(tmp_path), str(tmp_path / "noisy")
    words = ("--shape", SHAPE, "--ray", "serial", "--trials", "12", "--results", folder)
    assert call("tune", str(space), *words, "--noise", "0.1").code == 0
    with Store(folder) as store:
        winner = best_trial(store.trials(1))
    assert winner is not None
    rows = [line.split() for line in call("show", folder, "--study", "1").out.splitlines()]
    listed = [row[0] for row in rows if row and row[0].isdecimal()]
    assert len(listed) == 12
    assert listed[0] == str(winner.number)
    assert "us +- 32 % (simulated, made noise)" in call("best", folder).flat
    refused = call("export", folder, "-o", str(tmp_path / "table.json"))
    assert refused.code == 2
    assert "nothing to export but times with made noise (--noise)" in refused.err


def test_show_lists_studies(call: Call, results: Path, found: list[Best]) -> None:
    said = call("show", str(results))
    assert said.code == 0
    rows = [line.split() for line in said.out.splitlines() if "double" in line]
    assert [row[:7] for row in rows] == [
        ["1", "double", "M=256,N=512", "float32", "trn2", "simulator", "8"],
        ["2", "double", "M=512,N=512", "float32", "trn2", "simulator", "8"],
        ["3", "double", "M=256,N=512", "float32", "trn1", "simulator", "8"],
    ]
    assert {row[-1] for row in rows} == {"finished"}
    assert times(said.out) == [
        f"{best.trial.latency_us:.1f} us +- 32 % (simulated)" for best in found
    ]


def test_show_lists_the_trials_of_a_study_fastest_first(
    call: Call, results: Path, found: list[Best]
) -> None:
    said = call("show", str(results), "--study", "1")
    with Store(results) as store:
        trials = store.trials(1)
        study = store.studies()[0]
    assert said.code == 0
    assert f"command: {study.info.command}" in said.out
    assert f"kernel_hash={study.info.fingerprint['kernel_hash']}" in said.out
    shown = times(said.out)
    assert len(shown) == sum(trial.latency_us is not None for trial in trials)
    endings = (" us +- 32 % (simulated)", " us (bound)")
    assert all(time.endswith(endings) for time in shown)
    assert [float(time.split()[0]) for time in shown] == sorted(
        float(time.split()[0]) for time in shown
    )
    for trial in trials:
        assert settings(trial.config) in said.out
    failed = [trial for trial in trials if trial.latency_us is None]
    assert failed
    assert said.out.count(failed[0].reason) == len(failed)
    assert said.flat.count("correct, verified") == 1


def test_best_lists_the_best_of_every_workload(
    call: Call, results: Path, found: list[Best]
) -> None:
    said = call("best", str(results))
    assert said.code == 0
    rows = [line for line in said.out.splitlines() if "double" in line]
    assert len(rows) == len(found) == 3
    for row, best in zip(rows, found, strict=True):
        assert best.study.info.shape in row
        assert row.rstrip().endswith(settings(best.trial.config))
        assert best.default_latency_us is not None
        assert best.trial.latency_us is not None
        assert times(row) == [
            f"{best.trial.latency_us:.1f} us +- 32 % (simulated)",
            f"{best.default_latency_us:.1f} us +- 32 % (simulated)",
        ]
        assert f"{best.default_latency_us / best.trial.latency_us:.3f}x" in row


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--device", "trn1"), 1),
        (("--shape", "N=512,M=256"), 2),
        (("--kernel", "double"), 3),
        (("--study", "2"), 1),
    ],
)
def test_filters_choose_what_is_listed(
    call: Call, results: Path, words: tuple[str, ...], count: int
) -> None:
    assert call("best", str(results), *words).out.count("double ") == count
    if "--study" not in words:
        assert call("show", str(results), *words).out.count("double ") == count


def test_an_export_names_the_command_that_looks_up(
    call: Call, table_file: Path, results: Path
) -> None:
    said = call("export", str(results), "-o", str(table_file), "--study", "2")
    last = said.out.splitlines()[-1]
    assert last.startswith("next: nki-tuner lookup ")
    answer = call(*last.removeprefix("next: nki-tuner ").split())
    assert answer.code == 0
    assert answer.out.startswith("match:  exact\n")


def test_lookup_answers_as_the_run_time_does(
    call: Call, table_file: Path, found: list[Best]
) -> None:
    answer = load(table_file).lookup("double", M=256, N=512)
    assert answer.config == found[0].trial.config
    words = ("lookup", str(table_file), "double", "--shape", "M=256,N=512")
    assert json.loads(call(*words, "--json").out) == {
        "config": answer.config,
        "match": "exact",
        "why": answer.why,
        "kind": "simulated",
    }
    said = call(*words)
    assert said.out == (
        f"match:  exact\nwhy:    {answer.why}\nconfig: {settings(answer.config)}\n"
        f"time:   {found[0].trial.latency_us:.1f} us +- 32 % (simulated) on M=256 N=512\n"
    )


def test_lookup_of_a_near_workload_says_whose_time_it_shows(call: Call, table_file: Path) -> None:
    said = call("lookup", str(table_file), "double", "--shape", "M=256,N=700")
    assert said.out.startswith("match:  nearest\n")
    assert said.out.endswith("+- 32 % (simulated) on M=256 N=512\n")


def test_lookup_of_a_far_workload_has_a_default_and_no_time(call: Call, table_file: Path) -> None:
    words = ("lookup", str(table_file), "double", "--shape", "M=1,N=100000")
    said = call(*words)
    assert said.out.startswith("match:  default\n")
    assert "/double.toml --shape M=1,N=100000" in said.out  # a space of no package: its file
    assert times(said.out) == []
    assert json.loads(call(*words, "--json").out)["kind"] is None


def test_lookup_with_dtype_and_device(call: Call, table_file: Path) -> None:
    words = ("lookup", str(table_file), "double", "--shape", "M=256,N=512", "--device", "trn2")
    assert call(*words, "--dtype", "float32").out.startswith("match:  exact\n")
    assert call(*words, "--dtype", "bfloat16").out.startswith("match:  default\n")
