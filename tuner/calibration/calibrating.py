"""Calibrates a device: fit, what it brought, and how well it foretells kernels it has not seen."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tuner.calibration.fitting import FELT, Parameter, felt, fit, open_parameters
from tuner.calibration.measurements import read_table
from tuner.calibration.model import Recorded, record, with_values
from tuner.neuroncore import Constant, Device, device, device_names
from tuner.neuroncore.device_files import SUFFIX, constants_text, is_file, quoted
from tuner.runtime.errors import TunerError

__all__ = [
    "Calibration",
    "Compared",
    "Fitted",
    "Listed",
    "calibrate",
    "check_target",
    "parameters",
    "write",
]

ERRORS = {True: "matmul_percent", False: "elementwise_percent"}
"""Constants of the section `error` for kernels that multiply and for those that do not."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Listed:
    """A constant that may be fitted.

    Attributes:
        strongest: The greatest share of a kernel's time that it moves within its range.
    """

    parameter: Parameter
    strongest: float

    @property
    def is_felt(self) -> bool:
        """Whether a kernel feels it."""
        return self.strongest >= FELT


@dataclass(frozen=True)
class Fitted:
    """A constant that was fitted."""

    parameter: Parameter
    value: float

    @property
    def at_end(self) -> bool:
        """Whether it went as far as its range allows."""
        ends = (self.parameter.low, self.parameter.high)
        return self.value in ends and self.value != self.parameter.published


@dataclass(frozen=True)
class Compared:
    """A measurement and what the simulator says, in microseconds.

    Attributes:
        multiplies: Whether the kernel does floating-point operations on TensorE.
        measured_us: Measured.
        published_us: Simulated with the constants that the device had.
        fitted_us: Simulated with the fitted ones.
        left_out_us: Simulated with constants fitted without this kernel; None: there is no other.
    """

    id: str
    kernel: str
    multiplies: bool
    measured_us: float
    published_us: float
    fitted_us: float
    left_out_us: float | None

    def error_percent(self, predicted_us: float) -> float:
        """Error of a prediction, positive where it is too slow."""
        return 100 * (predicted_us / self.measured_us - 1)


@dataclass(frozen=True)
class Calibration:
    """The outcome.

    Attributes:
        base: The device that was calibrated.
        device_name: How it was named: a shipped name or a path.
        fitted: The constants that were fitted.
        unfelt: Those with a range that no kernel feels; they stay.
        expected_percent: For each constant of `error` whose class has rows: the root mean square
            error of kernels that were left out of the fit; empty where that cannot be told.
        other_device: Rows of the table that are of another core.
        unused: Columns of the table that mean nothing here.
    """

    base: Device
    device_name: str
    rows: tuple[Compared, ...]
    fitted: tuple[Fitted, ...]
    unfelt: tuple[Listed, ...]
    expected_percent: Mapping[str, float]
    other_device: int
    unused: tuple[str, ...]

    @property
    def kernels(self) -> list[str]:
        """The kernels of the rows."""
        return list(dict.fromkeys(row.kernel for row in self.rows))

    @property
    def published_mape(self) -> float:
        """Mean absolute error of the rows in percent with the constants that the device had."""
        return self._mape([row.published_us for row in self.rows])

    @property
    def fitted_mape(self) -> float:
        """The same with the fitted constants."""
        return self._mape([row.fitted_us for row in self.rows])

    @property
    def left_out_mape(self) -> float | None:
        """The same with constants fitted without the row's kernel; None with one kernel only."""
        found = [row.left_out_us for row in self.rows if row.left_out_us is not None]
        return self._mape(found) if found else None

    def _mape(self, predicted_us: Sequence[float]) -> float:
        pairs = zip(self.rows, predicted_us, strict=True)
        return sum(abs(row.error_percent(us)) for row, us in pairs) / len(self.rows)


def parameters(
    path: Path,
    device_name: str = "trn2",
    policy: str = "nki",
    names: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> list[Listed]:
    """Returns the constants that may be fitted and how much the table's kernels feel them.

    Raises:
        TunerError: As `calibrate`.
    """
    base = device(device_name)
    chosen = open_parameters(base, names)
    kernels = record(read_table(path, base, policy).rows, base, progress)
    return _listed(kernels, base, chosen)


def calibrate(
    path: Path,
    device_name: str = "trn2",
    policy: str = "nki",
    names: Sequence[str] = (),
    progress: Progress = lambda _: None,
) -> Calibration:
    """Fits constants of a device to a table of measured times.

    Args:
        path: A CSV file; its columns are those of `measurements.COLUMNS`.
        device_name: A shipped device or the path of a device file; the fit begins with it.
        policy: The compiler policy of rows that name none.
        names: The constants to fit; none: every one that has a range and that a kernel feels.
        progress: Is told what is being done.

    Raises:
        TunerError: Something in the table is wrong or one of its kernels fails: names file, row and
            column.
    """
    base = device(device_name)
    chosen = open_parameters(base, names)
    table = read_table(path, base, policy)
    kernels = record(table.rows, base, progress)
    progress(f"looking at {len(chosen)} constants")
    listed = _listed(kernels, base, chosen)
    moving = [each.parameter for each in listed if each.is_felt]
    progress(f"fitting {len(moving)} constants to {len(kernels)} measurements")
    values = fit(kernels, base, moving)
    rows = _compared(kernels, base, values, _left_out(kernels, base, moving, progress))
    return Calibration(
        base=base,
        device_name=device_name,
        rows=rows,
        fitted=tuple(Fitted(p, values[p.name]) for p in moving),
        unfelt=tuple(each for each in listed if not each.is_felt),
        expected_percent=_expected(rows),
        other_device=table.other_device,
        unused=table.unused,
    )


def _listed(kernels: Sequence[Recorded], base: Device, chosen: Sequence[Parameter]) -> list[Listed]:
    strongest = felt(kernels, base, chosen)
    return [Listed(parameter, strongest[parameter.name]) for parameter in chosen]


def _left_out(
    kernels: Sequence[Recorded], base: Device, moving: Sequence[Parameter], progress: Progress
) -> dict[str, Device]:
    """Returns for each kernel the device that is fitted to the others; empty without others."""
    names = list(dict.fromkeys(kernel.row.kernel for kernel in kernels))
    if len(names) < 2:
        return {}
    found = {}
    for name in names:
        progress(f"fitting without {name}")
        others = [kernel for kernel in kernels if kernel.row.kernel != name]
        found[name] = with_values(base, fit(others, base, moving))
    return found


def _compared(
    kernels: Sequence[Recorded],
    base: Device,
    values: Mapping[str, float],
    without: Mapping[str, Device],
) -> tuple[Compared, ...]:
    fitted = with_values(base, values)
    return tuple(
        Compared(
            id=kernel.row.id,
            kernel=kernel.row.kernel,
            multiplies=kernel.multiplies,
            measured_us=kernel.row.measured_us,
            published_us=kernel.latency_us(base),
            fitted_us=kernel.latency_us(fitted),
            left_out_us=kernel.latency_us(without[kernel.row.kernel]) if without else None,
        )
        for kernel in kernels
    )


def _expected(rows: Iterable[Compared]) -> dict[str, float]:
    """Returns the root mean square error of kernels that the fit has not seen, by class."""
    squares: dict[str, list[float]] = {}
    for row in rows:
        if row.left_out_us is not None:
            error = row.error_percent(row.left_out_us)
            squares.setdefault(ERRORS[row.multiplies], []).append(error**2)
    return {
        name: float(f"{math.sqrt(sum(found) / len(found)):.3g}") for name, found in squares.items()
    }


def write(found: Calibration, path: Path, on: date) -> None:
    """Writes a device file that inherits the calibrated device and states what was fitted.

    Raises:
        TunerError: The path does not do, see `check_target`, or cannot be written.
    """
    check_target(path, found.device_name)
    text = _text(found, path, on)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TunerError(f"{path}: {error.strerror or error}") from None


def check_target(path: Path, device_name: str) -> None:
    """Raises TunerError for a path that is no good for a device file of one's own."""
    if path.suffix != SUFFIX:
        raise TunerError(f"{path}: a device file's name ends in {SUFFIX}")
    if path.stem in device_names():
        raise TunerError(f"{path}: {path.stem} is a shipped device; choose another name")
    if is_file(device_name) and path.resolve() == Path(device_name).resolve():
        raise TunerError(f"{path}: is the device that is calibrated; choose another name")
    if not path.parent.is_dir():
        raise TunerError(f"{path}: no folder {path.parent}")


def _text(found: Calibration, path: Path, on: date) -> str:
    base, kernels = found.base, len(found.kernels)
    inherits = found.device_name
    if is_file(inherits):
        inherits = os.path.relpath(Path(inherits).resolve(), path.parent.resolve())
    count = f"{len(found.rows)} measurements of {kernels} kernel{'s' if kernels > 1 else ''}"
    source = f"fitted by nki-tuner calibrate to {count}, {on.isoformat()}"
    stated = [_constant(base, fit.parameter.name, fit.value, source) for fit in found.fitted]
    source = f"kernels left out of the fit: nki-tuner calibrate, {count}, {on.isoformat()}"
    for name, percent in found.expected_percent.items():
        stated.append(Constant(f"error.{name}", percent, "R", source, None))
    head = f"# {path.stem}: {base.name} with constants fitted to {count}.\n"
    return f"{head}inherits = {quoted(inherits)}\n{constants_text(stated)}"


def _constant(base: Device, name: str, value: float, source: str) -> Constant:
    span = next(c.range for c in base.constants if c.name == name)
    return Constant(name, value, "R", source, span)
