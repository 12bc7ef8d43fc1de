"""Tables of measured times: what is read, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.calibration.small_kernels import write_kernels, write_table
from tuner.calibration import calibrate
from tuner.calibration.measurements import read_table
from tuner.neuroncore import device, policy
from tuner.runtime.errors import TunerError
from tuner.space import Argument

TRN2 = device("trn2")
GOOD: dict[str, Any] = {
    "id": "first",
    "device": "trn2",
    "policy": "nki:guide",
    "kernel": "small.py:double",
    "arguments": "x=float32[128,64]",
    "parameters": "columns=32",
    "measured_us": "20.5",
    "start_us": "3",
    "weight": "2",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_kernels(tmp_path)
    return tmp_path


def test_a_row_is_read(folder: Path) -> None:
    table = read_table(write_table(folder, [GOOD]), TRN2, "nki")
    assert (table.other_device, table.unused) == (0, ())
    (row,) = table.rows
    assert row.where == f"{folder / 'measured.csv'}, row 2"
    assert (row.id, row.kernel, row.source.entry) == ("first", "small.py:double", "double")
    assert row.arguments == (Argument("x", (128, 64), "float32"),)
    assert row.config == {"columns": 32}
    assert row.policy == policy("nki:guide")
    assert (row.measured_us, row.start_us, row.weight) == (20.5, 3, 2)


def test_only_four_columns_are_needed(folder: Path) -> None:
    needed = ("kernel", "arguments", "parameters", "measured_us")
    path = write_table(folder, [{name: GOOD[name] for name in needed}])
    (row,) = read_table(path, TRN2, "beta1").rows
    assert (row.id, row.policy) == ("row 2", policy("beta1"))
    assert (row.start_us, row.weight) == (None, 1)


def test_empty_cells_and_lines_are_as_if_left_out(folder: Path) -> None:
    empty = {**GOOD, "id": "", "device": "", "policy": "", "start_us": "", "weight": ""}
    path = write_table(folder, [{**empty, "kernel": "./small.py:double", "parameters": ""}])
    path.write_text("\ufeff" + path.read_text() + "\n , ,\n")  # as a spreadsheet saves it
    (row,) = read_table(path, TRN2, "nki").rows
    assert (row.id, row.kernel, row.config) == ("row 2", "small.py:double", {})
    assert (row.start_us, row.weight, row.policy) == (None, 1, policy("nki"))


def test_parameters_are_numbers_flags_and_words(folder: Path) -> None:
    text = "a=4 b=0.5 c=true d=false e=mnk f=1e3"
    (row,) = read_table(write_table(folder, [{**GOOD, "parameters": text}]), TRN2, "nki").rows
    expected = {"a": 4, "b": 0.5, "c": True, "d": False, "e": "mnk", "f": 1000.0}
    assert repr(row.config) == repr(expected)


def test_rows_of_other_cores_and_other_columns_are_left_out(folder: Path) -> None:
    rows = [{**GOOD, "note": "a"}, {**GOOD, "device": "trn1", "note": "b"}]
    table = read_table(write_table(folder, rows), TRN2, "nki")
    assert (len(table.rows), table.other_device, table.unused) == (1, 1, ("note",))


def test_a_device_file_stands_for_its_core(folder: Path) -> None:
    (folder / "mine.toml").write_text('inherits = "trn2"\n')
    base = device(str(folder / "mine.toml"))
    assert len(read_table(write_table(folder, [GOOD]), base, "nki").rows) == 1


BAD = [
    ("kernel", "small.py", "row 2, column kernel: 'small.py': expected FILE.py:FUNCTION"),
    ("kernel", "", "row 2, column kernel: '': expected FILE.py:FUNCTION"),
    ("kernel", "other.py:double", "row 2, column kernel: .*other.py: No such file"),
    ("kernel", "small.py:doubel", "row 2, column kernel: .*'doubel'; did you mean double"),
    ("arguments", "", "row 2, column arguments: is empty"),
    ("arguments", "x=float32", "row 2, column arguments: .*expected something like"),
    ("arguments", "x=float33[1]", "row 2, column arguments: unknown dtype"),
    ("arguments", "x=int8[1] x=int8[1]", "row 2, column arguments: x is given twice"),
    ("parameters", "columns", "row 2, column parameters: parameter 'columns': expected NAME=VALUE"),
    ("parameters", "a=1 a=2", "row 2, column parameters: parameter 'a' is given twice"),
    ("measured_us", "", "row 2, column measured_us: '': expected a number"),
    ("measured_us", "12us", "row 2, column measured_us: '12us': expected a number"),
    ("measured_us", "inf", "row 2, column measured_us: 'inf': expected a number"),
    ("measured_us", "0", "row 2, column measured_us: '0': expected more than 3"),
    ("measured_us", "2", "row 2, column measured_us: '2': expected more than 3"),
    ("start_us", "-1", "row 2, column start_us: '-1': expected 0 or more"),
    ("start_us", "x", "row 2, column start_us: 'x': expected a number"),
    ("weight", "0", "row 2, column weight: '0': expected more than 0"),
    ("device", "trn9", "row 2, column device: unknown device 'trn9'"),
    ("device", "trn1", "none of its 1 rows is of trn2"),
    ("policy", "fast", "row 2, column policy: unknown compiler policy 'fast'"),
]


@pytest.mark.parametrize(("column", "text", "message"), BAD)
def test_a_wrong_cell_is_one_line(folder: Path, column: str, text: str, message: str) -> None:
    path = write_table(folder, [{**GOOD, column: text}])
    with pytest.raises(TunerError, match=f"^{path}[,:] {message}") as raised:
        read_table(path, TRN2, "nki")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["kernel", "arguments", "parameters", "measured_us"])
def test_a_missing_column_is_named(folder: Path, name: str) -> None:
    row = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(TunerError, match=f"has no column '{name}'"):
        read_table(write_table(folder, [row]), TRN2, "nki")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'kernel'"),
        ("kernel,arguments,parameters,measured_us\n", "has no rows"),
        ("kernel,arguments,parameters,measured_us,kernel\n", "has column 'kernel' twice"),
        ("kernel,arguments,parameters,measured_us\n1,2\n", "row 2: 2 cells, the header has 4"),
        ('kernel,arguments,parameters,measured_us\n"1,2\n', "not a CSV file"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(TunerError, match=f"table.csv[,:] {message}"):
        read_table(path, TRN2, "nki")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"none.csv: No such file"):
        read_table(tmp_path / "none.csv", TRN2, "nki")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TunerError, match=r"binary.csv: not a text file"):
        read_table(tmp_path / "binary.csv", TRN2, "nki")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kernel": "small.py:broken", "parameters": ""}, "ValueError: two lines"),
        ({"parameters": "colums=8"}, "the kernel cannot be called so: .*colums"),
        ({"arguments": "x=float32[256,64]"}, r"shape \[256, 32\]"),
        ({"arguments": "x=float32[128,60000]", "parameters": "columns=60000"}, "SBUF"),
    ],
)
def test_a_kernel_that_fails_is_named(folder: Path, change: dict[str, str], reason: str) -> None:
    row = {**GOOD, "policy": "nki"}
    path = write_table(folder, [row, {**row, **change}])
    kernel = change.get("kernel", "small.py:double")
    start = f"row 3, column kernel: {kernel} fails on the simulator: "
    with pytest.raises(TunerError, match=f"{start}.*{reason}") as raised:
        calibrate(path)
    assert "\n" not in str(raised.value)
