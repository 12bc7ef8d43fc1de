"""Measured times of kernels, read from a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tuner.kernel import KernelSource, read_kernel
from tuner.neuroncore import Device, Policy, device, policy
from tuner.runtime.errors import TunerError
from tuner.runtime.files import read_text
from tuner.runtime.rules import Config
from tuner.space import Argument, parse_argument, parse_params

__all__ = ["COLUMNS", "Measured", "Table", "read_table"]

REQUIRED = ("kernel", "arguments", "parameters", "measured_us")
OPTIONAL = ("id", "device", "policy", "start_us", "weight")
COLUMNS = REQUIRED + OPTIONAL
MAX_FILE_BYTES = 16 << 20

Read = TypeVar("Read")


@dataclass(frozen=True)
class Measured:
    """One measured time.

    Attributes:
        where: File and row, for messages; the header is row 1.
        id: What the table calls it, else its row.
        kernel: FILE.py:FUNCTION as the table has it, without needless dots.
        start_us: Time before the first instruction that was measured too; None: the launch.
        weight: How much it counts in the fit.
    """

    where: str
    id: str
    kernel: str
    source: KernelSource
    arguments: tuple[Argument, ...]
    config: Config
    policy: Policy
    measured_us: float
    start_us: float | None
    weight: float


@dataclass(frozen=True)
class Table:
    """What a CSV file holds of one device.

    Attributes:
        rows: The measurements.
        other_device: Rows that are of another core, left out.
        unused: Columns that mean nothing here.
    """

    rows: tuple[Measured, ...]
    other_device: int
    unused: tuple[str, ...]


def read_table(path: Path, base: Device, policy_name: str) -> Table:
    """Reads a table of measured times.

    Args:
        path: A CSV file with a header; kernels lie relative to its folder.
        base: The device to calibrate; rows of other cores are left out.
        policy_name: The compiler policy of rows that name none.

    Raises:
        TunerError: Names file, row and column and what was expected there.
    """
    policy(policy_name)
    try:
        text = read_text(path, MAX_FILE_BYTES).removeprefix("\ufeff")
        lines = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise TunerError(f"{path}: not a CSV file ({error})") from None
    header = [name.strip() for name in lines[0]] if lines else []
    for name in REQUIRED:
        if name not in header:
            raise TunerError(f"{path}: has no column {name!r} (needed: {', '.join(REQUIRED)})")
    for name in COLUMNS:
        if header.count(name) > 1:
            raise TunerError(f"{path}: has column {name!r} twice")
    rows, others = [], 0
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        where = f"{path}, row {number}"
        if len(line) != len(header):
            raise TunerError(f"{where}: {len(line)} cells, the header has {len(header)}")
        cells = _Cells(where, {k: v.strip() for k, v in zip(header, line, strict=True)})
        on = cells.take("device", lambda text: device(text) if text else base)
        if on.core == base.core:
            rows.append(_row(cells, number, path.parent, policy_name))
        else:
            others += 1
    if not rows:
        told = f"none of its {others} rows is of {base.name}" if others else "has no rows"
        raise TunerError(f"{path}: {told}")
    return Table(tuple(rows), others, tuple(name for name in header if name not in COLUMNS))


@dataclass(frozen=True)
class _Cells:
    """The cells of a row."""

    where: str
    texts: Mapping[str, str]

    def take(self, column: str, reader: Callable[[str], Read]) -> Read:
        """Reads a cell, "" where the column is absent; an error names row and column."""
        try:
            return reader(self.texts.get(column, ""))
        except TunerError as error:
            raise TunerError(f"{self.where}, column {column}: {error}") from None


def _row(cells: _Cells, number: int, folder: Path, policy_name: str) -> Measured:
    name, source = cells.take("kernel", lambda text: _kernel(folder, text))
    start_us = cells.take("start_us", lambda text: _number(text, 0) if text else None)
    return Measured(
        where=cells.where,
        id=cells.texts.get("id") or f"row {number}",
        kernel=name,
        source=source,
        arguments=cells.take("arguments", _arguments),
        config=cells.take("parameters", lambda text: parse_params(text.split())),
        policy=cells.take("policy", lambda text: policy(text or policy_name)),
        measured_us=cells.take("measured_us", lambda text: _number(text, above=start_us or 0)),
        start_us=start_us,
        weight=cells.take("weight", lambda text: _number(text, above=0) if text else 1.0),
    )


def _kernel(folder: Path, text: str) -> tuple[str, KernelSource]:
    file, _, entry = text.rpartition(":")
    if not file.endswith(".py") or not entry:
        raise TunerError(f"{text!r}: expected FILE.py:FUNCTION")
    return f"{Path(file)}:{entry}", read_kernel(folder / file, entry)


def _arguments(text: str) -> tuple[Argument, ...]:
    found = tuple(parse_argument(word) for word in text.split())
    if not found:
        raise TunerError("is empty: expected tensors, as in lhsT=bfloat16[4096,1024]")
    for name in (argument.name for argument in found):
        if sum(argument.name == name for argument in found) > 1:
            raise TunerError(f"{name} is given twice")
    return found


def _number(text: str, least: float | None = None, above: float | None = None) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TunerError(f"{text!r}: expected a number")
    if least is not None and value < least:
        raise TunerError(f"{text!r}: expected {least:g} or more")
    if above is not None and value <= above:
        raise TunerError(f"{text!r}: expected more than {above:g}")
    return value
