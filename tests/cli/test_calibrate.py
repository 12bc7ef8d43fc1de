from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.calibration.small_kernels import ROWS, measured, write_kernels, write_table
from tests.cli.console import Call
from tuner.neuroncore import constants, device


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    write_kernels(folder)
    write_table(folder, measured(folder))
    write_table(folder, measured(folder, ROWS[:2]), "one.csv")
    return folder


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_it_tells_what_was_measured_and_what_simulated(call: Call) -> None:
    said = call("calibrate", "measured.csv", "-o", "mine.toml")
    assert said.code == 0
    line = next(line for line in said.out.splitlines() if "multiply_8" in line)
    assert (line.count("(measured)"), line.count("(simulated)")) == (1, 3)
    assert " kernel.launch_us 11 " in said.flat
    assert "unchanged, no kernel feels them: " in said.out
    assert "mean absolute error over 10 measurements of 4 kernels: " in said.out
    assert "each kernel predicted without its own measurements: " in said.out
    assert "expected error of kernels that multiply: " in said.out
    assert "wrote mine.toml; next: nki-tuner measure KERNEL ... --device mine.toml" in said.out
    assert "fitting without small.py:copy" in said.err


def test_the_file_is_shown_like_a_shipped_device(call: Call) -> None:
    assert call("calibrate", "measured.csv", "-o", "shown.toml").code == 0
    said = call("devices", "shown.toml")
    assert said.code == 0
    for constant in constants("shown.toml"):
        assert f" {constant.name} {constant.value} " in said.flat
        assert " ".join(constant.source.split()) in said.flat
    assert "derived fitted by nki-tuner calibrate to 10 measurements of 4 kernels" in said.flat


def test_json_has_the_same_figures(call: Call) -> None:
    said = call("calibrate", "measured.csv", "--json", "--fit", "kernel.launch_us")
    data = json.loads(said.out)
    assert [entry["name"] for entry in data["constants"]] == ["kernel.launch_us"]
    assert data["constants"][0]["range"] == [8, 18]
    assert data["output"] is None
    assert len(data["rows"]) == 10
    assert set(data["rows"][0]) == {
        "id",
        "kernel",
        "measured_us",
        "simulated_before_us",
        "simulated_fitted_us",
        "simulated_left_out_us",
    }
    assert data["mape_fitted_percent"] < data["mape_before_percent"]


def test_the_constants_can_be_listed(call: Call) -> None:
    said = call("calibrate", "measured.csv", "--list")
    assert said.code == 0
    assert "kernel.launch_us 11 8 .. 18 " in said.flat
    assert "scalar.table_load_ns 1280 500 .. 2000 not felt" in said.flat
    data = json.loads(call("calibrate", "measured.csv", "--list", "--json").out)
    felt = {entry["name"]: entry["felt"] for entry in data}
    assert felt["kernel.launch_us"]
    assert not felt["scalar.table_load_ns"]


def test_one_kernel_leaves_the_expected_error(call: Call) -> None:
    said = call("calibrate", "one.csv", "-o", "single.toml")
    assert said.code == 0
    assert "unknown, there is only one kernel" in said.out
    assert "the expected errors stay those of trn2" in said.out
    assert device("single.toml").error == device("trn2").error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "Missing argument 'MEASUREMENTS'"),
        ("none.csv", "none.csv: No such file"),
        ("small.py", "small.py: has no column 'kernel'"),
        ("measured.csv --device trn9", "unknown device 'trn9'"),
        ("measured.csv --device none.toml", "device file none.toml: No such file"),
        ("measured.csv --device trn1 --policy fast", "unknown compiler policy 'fast'"),
        ("measured.csv --fit kernel.launch", "did you mean kernel.launch_us"),
        ("measured.csv -o mine.json", "mine.json: a device file's name ends in .toml"),
        ("measured.csv -o trn2.toml", "trn2 is a shipped device"),
        ("measured.csv -o none/mine.toml", "none/mine.toml: no folder none"),
        ("measured.csv --list -o mine.toml", "--list writes no file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call: Call, line: str, message: str) -> None:
    said = call("calibrate", *line.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
