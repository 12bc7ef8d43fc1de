"""Options and formats that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from tuner.runtime.errors import TunerError

__all__ = [
    "INTERRUPTED",
    "device_option",
    "microseconds",
    "parse_params",
    "results_option",
    "settings",
    "table",
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


def parse_params(texts: tuple[str, ...]) -> dict[str, Any]:
    """Reads `tiles_m=4`: whole numbers, numbers, true, false, else text.

    Raises:
        TunerError: A text is not NAME=VALUE, or a name stands twice.
    """
    params: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or not value:
            raise TunerError(f"parameter {text!r}: expected NAME=VALUE, as in tiles_m=4")
        if name in params:
            raise TunerError(f"parameter {name!r} is given twice")
        params[name] = _value(value)
    return params


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def microseconds(value: float | None, kind: str) -> str:
    """Writes a time with its unit, and whether it was simulated or measured."""
    if value is None:
        return "failed"
    number = f"{value:,.1f} us" if value < 10_000 else f"{value / 1000:,.2f} ms"
    return f"{number} ({kind})"


def settings(config: Mapping[str, Any]) -> str:
    """Writes a config as `name=value` pairs."""
    return " ".join(f"{name}={value}" for name, value in config.items())


def table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a table to standard output; in a pipe as wide as it needs to be."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=10_000)
    if title is not None:
        click.echo(title)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*[Text(cell) for cell in row])
    console.print(grid)
