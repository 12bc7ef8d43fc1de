"""nki-tuner calibrate: fits a device's constants to times that the user measured."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import device_option, microseconds, table
from tuner.runtime.errors import TunerError

if TYPE_CHECKING:
    from tuner.calibration import Calibration, Compared, Listed

MEASURED, SIMULATED = "measured", "simulated"
CLASSES = {
    "matmul_percent": "that multiply",
    "elementwise_percent": "that do not multiply",
}


@click.command(epilog="Example: nki-tuner calibrate measurements.csv --device trn2 -o mine.toml")
@click.argument("measurements", type=click.Path(path_type=Path))
@device_option
@click.option(
    "--policy",
    default="nki",
    show_default=True,
    help="The simulator's compiler policy, for rows that name none.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Device file to write, for --device of the other commands.",
)
@click.option(
    "--fit",
    "names",
    multiple=True,
    metavar="NAME",
    help="Fit only this constant, e.g. dma.start_ns; may be repeated.  "
    "[default: all that a kernel feels]",
)
@click.option("--list", "only_list", is_flag=True, help="List the constants, fit nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def calibrate(
    measurements: Path,
    device: str,
    policy: str,
    output: Path | None,
    names: tuple[str, ...],
    only_list: bool,
    as_json: bool,
) -> None:
    """Fits a device's constants to measured times.

    MEASUREMENTS is a CSV file with the columns kernel (FILE.py:FUNCTION, relative to its folder),
    arguments (lhsT=bfloat16[512,128] ...), parameters (tiles_m=4 ...) and measured_us, and, where
    wanted, id, device, policy, start_us (what passed before the first instruction and was measured
    too; empty: the launch) and weight. The constants stay within the ranges of `nki-tuner devices`.
    The kernels' code runs in this process.
    """
    from tuner.calibration import calibrate as run
    from tuner.calibration import check_target, parameters, write

    if only_list and output is not None:
        raise TunerError("--list writes no file: leave out -o")
    if only_list:
        found = parameters(measurements, device, policy, names, _say)
        if as_json:
            click.echo(json.dumps([_entry(each) for each in found], indent=1))
        else:
            _print_list(found, device)
        return
    if output is not None:
        check_target(output, device)
    outcome = run(measurements, device, policy, names, _say)
    if output is not None:
        write(outcome, output, date.today())
    if as_json:
        click.echo(json.dumps(_json(outcome, output), indent=1))
    else:
        _print(outcome, output)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _entry(each: Listed) -> dict[str, Any]:
    parameter = each.parameter
    return {
        "name": parameter.name,
        "value": parameter.published,
        "range": [parameter.low, parameter.high],
        "moves_a_kernel_by_percent": 100 * each.strongest,
        "felt": each.is_felt,
    }


def _print_list(found: list[Listed], device: str) -> None:
    rows = [
        [
            each.parameter.name,
            f"{each.parameter.published:g}",
            f"{each.parameter.low:g} .. {each.parameter.high:g}",
            f"{each.strongest:.1%}" if each.is_felt else "not felt",
        ]
        for each in sorted(found, key=lambda each: -each.strongest)
    ]
    columns = ["constant", "value", "range", "moves a kernel's time by up to"]
    table(f"Constants of {device} that may be fitted", columns, rows)


def _print(found: Calibration, output: Path | None) -> None:
    columns = ["measurement", MEASURED, "before", "", "fitted", "", "kernel left out", ""]
    rows = [
        [
            row.id,
            microseconds(row.measured_us, MEASURED),
            *_predicted(row, row.published_us),
            *_predicted(row, row.fitted_us),
            *_predicted(row, row.left_out_us),
        ]
        for row in found.rows
    ]
    table(f"Measured and simulated times, {found.device_name}", columns, rows)
    rows = [
        [
            fit.parameter.name,
            f"{fit.parameter.published:g}",
            f"{fit.value:g}",
            f"{fit.parameter.low:g} .. {fit.parameter.high:g}",
            "at the end of its range" if fit.at_end else "",
        ]
        for fit in found.fitted
    ]
    table("Fitted constants", ["constant", "before", "fitted", "range", ""], rows)
    if found.unfelt:
        names = ", ".join(each.parameter.name for each in found.unfelt)
        click.echo(f"unchanged, no kernel feels them: {names}")
    for line in _notes(found):
        click.echo(line)
    if output is not None:
        click.echo(f"wrote {output}; next: nki-tuner measure KERNEL ... --device {output}")


def _predicted(row: Compared, predicted_us: float | None) -> list[str]:
    if predicted_us is None:
        return ["-", ""]
    error = row.error_percent(predicted_us)
    return [microseconds(predicted_us, SIMULATED), f"{error:+.1f} %"]


def _notes(found: Calibration) -> list[str]:
    """What the figures say, in words."""
    before, left_out = found.published_mape, found.left_out_mape
    count = f"{len(found.rows)} measurements of {len(found.kernels)} kernels"
    lines = [
        f"mean absolute error over {count}: {before:.1f} % before, {found.fitted_mape:.1f} % fitted"
    ]
    if left_out is None:
        lines.append(
            "error of kernels that were not measured: unknown, there is only one kernel to leave "
            f"out; the expected errors stay those of {found.device_name}"
        )
    else:
        lines.append(f"each kernel predicted without its own measurements: {left_out:.1f} %")
        if left_out >= before:
            lines.append(
                "note: kernels left out are predicted no better than before: more kernels, or "
                "fewer constants (--fit), are needed"
            )
    for name, percent in found.expected_percent.items():
        lines.append(f"expected error of kernels {CLASSES[name]}: {percent:g} % (root mean square)")
    if found.other_device:
        lines.append(f"left out, measured on another core: {found.other_device} rows")
    if found.unused:
        lines.append(f"columns that are not used: {', '.join(found.unused)}")
    return lines


def _json(found: Calibration, output: Path | None) -> dict[str, Any]:
    return {
        "device": found.device_name,
        "rows": [
            {
                "id": row.id,
                "kernel": row.kernel,
                "measured_us": row.measured_us,
                "simulated_before_us": row.published_us,
                "simulated_fitted_us": row.fitted_us,
                "simulated_left_out_us": row.left_out_us,
            }
            for row in found.rows
        ],
        "constants": [
            {
                "name": fit.parameter.name,
                "before": fit.parameter.published,
                "fitted": fit.value,
                "range": [fit.parameter.low, fit.parameter.high],
            }
            for fit in found.fitted
        ],
        "unfelt": [each.parameter.name for each in found.unfelt],
        "mape_before_percent": found.published_mape,
        "mape_fitted_percent": found.fitted_mape,
        "mape_left_out_percent": found.left_out_mape,
        "expected_error": dict(found.expected_percent),
        "other_device": found.other_device,
        "unused_columns": list(found.unused),
        "output": None if output is None else str(output),
    }
