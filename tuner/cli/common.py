"""Options and formats that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tuner.backends.recording import Recording

__all__ = [
    "INTERRUPTED",
    "device_option",
    "error_of",
    "microseconds",
    "named_device",
    "note_of",
    "recorded_time",
    "results_option",
    "settings",
    "simulator_options",
    "table",
    "time_of",
]

INTERRUPTED = 130

Command = TypeVar("Command", bound=Callable[..., Any])


def device_option(command: Command) -> Command:
    """Adds --device."""
    return click.option(
        "--device",
        default="trn2",
        show_default=True,
        help="Device; `nki-tuner devices` lists them.",
    )(command)


def results_option(command: Command) -> Command:
    """Adds --results."""
    return click.option(
        "--results",
        default="results",
        show_default=True,
        help="Results folder: holds the database.",
    )(command)


def microseconds(value: float | None, kind: str, error_percent: float | None = None) -> str:
    """Writes a time with its unit, its error where known, and whether it was simulated or
    measured.
    """
    if value is None:
        return "failed"
    number = f"{value:,.1f} us" if value < 10_000 else f"{value / 1000:,.2f} ms"
    error = "" if error_percent is None else f" +- {error_percent:.0f} %"
    return f"{number}{error} ({kind})"


def recorded_time(recording: Recording, row: int) -> str:
    """Writes the time of a recorded config, as `microseconds` does."""
    time_us = float(recording.time_us[row])
    known = time_us if math.isfinite(time_us) else None
    return microseconds(known, recording.kind, recording.error_of(row))


def time_of(latency_us: float | None, kind: str, figures: Mapping[str, Any]) -> str:
    """Writes a measurement's time: its error, how many samples it is the median of, and how well
    that many tell it, where that is another error.
    """
    from tuner.backends.repeats import half_width_percent

    error, samples = error_of(figures), figures.get("samples", 1)
    told = microseconds(latency_us, kind, error)
    if latency_us is None or samples < 2:
        return told
    half = half_width_percent(latency_us, figures)
    sampled = "" if half is None else f" +- {half:.1f} %"
    time, _, _ = told.rpartition(" (")
    if error is None:
        return f"{time}{sampled} ({kind}, median of {samples})"
    return f"{time} ({kind}, median of {samples}{sampled})"


def named_device(name: str | None) -> str | None:
    """Returns the name under which results are kept: of a device file its stem."""
    return Path(name).stem if name is not None and name.endswith(".toml") else name


def error_of(figures: Mapping[str, Any]) -> float | None:
    """Returns the error, in percent, that a backend gives for its times."""
    return figures.get("error_percent")


def simulator_options(command: Command) -> Command:
    """Adds --policy, --cores-busy and --on-overflow."""
    for option in (
        click.option(
            "--on-overflow",
            help="Tiles that do not fit: error, spill (to HBM and back) or ignore; "
            "default: the policy's.",
        ),
        click.option(
            "--cores-busy",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Cores that move bytes at the same time and share the HBM bandwidth.",
        ),
        click.option(
            "--policy",
            default="nki",
            show_default=True,
            help="The simulator's compiler policy: nki or beta1, or with an SDK's era as in "
            "beta1:2.20.",
        ),
    ):
        command = option(command)
    return command


def note_of(device: str) -> str:
    """Returns what to know of a device's times; may be empty."""
    from tuner.neuroncore import device as core

    return core(device).note


def settings(config: Mapping[str, Any]) -> str:
    """Writes a config as `name=value` pairs."""
    return " ".join(f"{name}={value}" for name, value in config.items())


def table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table to standard output; in a pipe as wide as it needs to be."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tuner.runtime.errors import printable

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=10_000)
    if title is not None:
        click.echo(title)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(columns))
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*[Text(printable(cell)) for cell in row])
    console.print(grid)
