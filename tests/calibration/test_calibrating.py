from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from tests.calibration.small_kernels import (
    CHANGED,
    ROWS,
    latency_us,
    measured,
    truth,
    write_kernels,
    write_table,
)
from tuner.calibration import Calibration, calibrate, check_target, parameters, write
from tuner.calibration.model import with_values
from tuner.neuroncore import device
from tuner.runtime.errors import TunerError

TODAY = date(2026, 1, 2)
TRN2 = device("trn2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small kernels and times of them."""
    folder = tmp_path_factory.mktemp("measured")
    write_kernels(folder)
    write_table(folder, measured(folder))
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Calibration:
    return calibrate(folder / "measured.csv")


def test_the_error_falls(found: Calibration) -> None:
    assert found.published_mape > 10
    assert found.fitted_mape < 2
    for row in found.rows:
        assert abs(row.error_percent(row.fitted_us)) < 4, row.id


def test_what_was_changed_is_found(found: Calibration) -> None:
    fitted = {fit.parameter.name: fit for fit in found.fitted}
    for name, value in CHANGED.items():
        parameter = fitted[name].parameter
        off = abs(fitted[name].value - value)
        assert off < 0.5 * abs(parameter.published - value), name


def test_ranges_are_respected_and_whole_numbers_stay_whole(found: Calibration) -> None:
    assert found.fitted
    published = {constant.name: constant for constant in TRN2.constants}
    for fit in found.fitted:
        name, low, high = fit.parameter.name, fit.parameter.low, fit.parameter.high
        assert (low, high) == published[name].range
        assert low <= fit.value <= high, name
        section, _, key = name.partition(".")
        assert type(fit.value) is type(getattr(getattr(TRN2, section), key)), name


def test_what_no_kernel_feels_stays(found: Calibration) -> None:
    unfelt = {each.parameter.name for each in found.unfelt}
    assert unfelt >= {"scalar.table_load_ns", "gpsimd.memset_cycles", "dma.transpose_hbm_factor"}
    assert unfelt.isdisjoint(fit.parameter.name for fit in found.fitted)
    ranged = {c.name for c in TRN2.constants if c.range is not None}
    assert unfelt | {fit.parameter.name for fit in found.fitted} == ranged


def test_every_kernel_is_left_out_once(found: Calibration) -> None:
    assert found.kernels == [
        f"small.py:{name}" for name in ("double", "pieces", "copy", "multiply")
    ]
    assert found.left_out_mape is not None
    assert found.fitted_mape < found.left_out_mape < found.published_mape
    squares = {True: [], False: []}  # type: dict[bool, list[float]]
    for row in found.rows:
        assert row.left_out_us is not None
        squares[row.multiplies].append(row.error_percent(row.left_out_us) ** 2)
    assert {key: len(value) for key, value in squares.items()} == {True: 3, False: 7}
    for multiplies, name in ((True, "matmul_percent"), (False, "elementwise_percent")):
        expected = (sum(squares[multiplies]) / len(squares[multiplies])) ** 0.5
        assert found.expected_percent[name] == pytest.approx(expected, rel=0.01)


def test_the_file_makes_the_device_that_was_fitted(
    found: Calibration, folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "mine.toml"
    write(found, target, TODAY)
    assert list(tmp_path.iterdir()) == [target]
    mine = device(str(target))
    assert (mine.name, mine.core) == ("mine", TRN2.core)
    for row, compared in zip(ROWS, found.rows, strict=True):
        assert latency_us(folder, row, mine) == pytest.approx(compared.fitted_us, rel=1e-6)
    source = "fitted by nki-tuner calibrate to 10 measurements of 4 kernels, 2026-01-02"
    published = {constant.name: constant for constant in TRN2.constants}
    fitted = {fit.parameter.name: fit.value for fit in found.fitted}
    for constant in mine.constants:
        if constant.name in fitted:
            assert (constant.value, constant.tag) == (fitted[constant.name], "R")
            assert constant.source == source
            assert constant.range == published[constant.name].range
        elif not constant.name.startswith("error."):
            assert constant == published[constant.name]
    assert mine.error.matmul_percent == found.expected_percent["matmul_percent"]
    assert mine.error.elementwise_percent == found.expected_percent["elementwise_percent"]


def test_calibration_goes_on_from_a_file_of_ones_own(
    found: Calibration, folder: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first.toml"
    write(found, first, TODAY)
    names = ["kernel.launch_us"]
    again = calibrate(folder / "measured.csv", str(first), names=names)
    assert again.published_mape == pytest.approx(found.fitted_mape)
    assert [fit.parameter.name for fit in again.fitted] == names
    (tmp_path / "deep").mkdir()
    write(again, tmp_path / "deep" / "second.toml", TODAY)
    second = device(str(tmp_path / "deep" / "second.toml"))
    assert 'inherits = "../first.toml"' in (tmp_path / "deep" / "second.toml").read_text()
    assert second.dma == device(str(first)).dma


def test_one_kernel_cannot_be_left_out(folder: Path, tmp_path: Path) -> None:
    write_kernels(tmp_path)
    one = calibrate(write_table(tmp_path, measured(tmp_path, ROWS[:2])), names=["kernel.launch_us"])
    assert one.left_out_mape is None
    assert one.expected_percent == {}
    write(one, tmp_path / "mine.toml", TODAY)
    assert device(str(tmp_path / "mine.toml")).error == TRN2.error


def test_measurements_that_agree_change_nothing(tmp_path: Path) -> None:
    write_kernels(tmp_path)
    rows = [
        {**row, "measured_us": latency_us(tmp_path, asked, TRN2)}
        for row, asked in zip(measured(tmp_path, ROWS[:2]), ROWS[:2], strict=True)
    ]
    same = calibrate(write_table(tmp_path, rows))
    for fit in same.fitted:
        assert fit.value == pytest.approx(fit.parameter.published, rel=0.01, abs=0.01)


def test_start_us_replaces_the_launch_and_weights_count(tmp_path: Path) -> None:
    write_kernels(tmp_path)
    rows = measured(tmp_path, ROWS[:1])
    launch = TRN2.kernel.launch_us
    start = {**rows[0], "start_us": "40", "measured_us": 48.0}
    told = calibrate(write_table(tmp_path, [start]), names=["kernel.launch_us"])
    assert told.fitted == ()
    assert [each.parameter.name for each in told.unfelt] == ["kernel.launch_us"]
    expected = latency_us(tmp_path, ROWS[0], TRN2) - launch + 40
    assert told.rows[0].published_us == pytest.approx(expected)
    slow, fast = {**rows[0], "measured_us": 22.0}, {**rows[0], "measured_us": 16.0}
    values = []
    for weight in (1, 100):
        weighted = [{**slow, "weight": weight}, {**fast, "weight": 1}]
        outcome = calibrate(write_table(tmp_path, weighted), names=["kernel.launch_us"])
        values.append(outcome.fitted[0].value)
    assert values[0] < values[1]


def test_the_constants_are_listed_with_what_feels_them(folder: Path) -> None:
    names = ["kernel.launch_us", "scalar.table_load_ns"]
    tables, launch = parameters(folder / "measured.csv", names=names)
    assert (launch.parameter.low, launch.parameter.high) == (8, 18)
    assert launch.is_felt
    assert 0.3 < launch.strongest < 0.6
    assert not tables.is_felt
    assert tables.strongest == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "kernel.launch",
            "unknown constant of trn2 with a range: .* did you mean kernel.launch_us",
        ),
        ("tensor.rows", "tensor.rows of trn2 has no range to fit it in"),
        ("tensor.clock_ramp", "has no range"),
    ],
)
def test_only_constants_with_a_range_are_fitted(folder: Path, name: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        calibrate(folder / "measured.csv", names=[name])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine.json", "a device file's name ends in .toml"),
        ("trn2.toml", "trn2 is a shipped device"),
        ("missing/mine.toml", "no folder"),
        ("base.toml", "is the device that is calibrated"),
    ],
)
def test_a_target_that_is_no_good(tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        check_target(tmp_path / target, str(tmp_path / "base.toml"))


def test_noise_of_three_percent_does_no_harm(tmp_path: Path) -> None:
    write_kernels(tmp_path)
    noise = np.random.default_rng(0).normal(1, 0.03, len(ROWS))
    rows = [
        {**row, "measured_us": float(row["measured_us"]) * factor}
        for row, factor in zip(measured(tmp_path), noise, strict=True)
    ]
    noisy = calibrate(write_table(tmp_path, rows))
    assert noisy.fitted_mape < 4 < noisy.published_mape
    core = with_values(TRN2, {fit.parameter.name: fit.value for fit in noisy.fitted})
    exact = truth(tmp_path)
    for row in ROWS:
        right = latency_us(tmp_path, row, exact)
        assert latency_us(tmp_path, row, core) == pytest.approx(right, rel=0.05)
