"""Reads a file of jobs: defaults, and jobs whose sizes may be lists that stand for many."""

from __future__ import annotations

import itertools
import math
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tuner.backends import REPLAY
from tuner.job.settings import Job
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.files import read_text

__all__ = ["OVERRIDES", "Jobs", "Listed", "read_jobs"]

MAX_FILE_BYTES = 1 << 20
MAX_JOBS = 10_000
AT_ONCE = 2
"""Jobs that run at the same time unless stated. Not a number of this machine: results depend on
it."""
MAX_AT_ONCE = 64
_FOR_ALL = ("results", "ray", "workers", "memory_gb")
"""Options that all jobs of a batch share."""

_TYPES: dict[str, Any] = {
    name: kind
    for name, kind in typing.get_type_hints(Job).items()
    if name not in ("kernel", "shape", "resume")
}
_OF_BATCH: dict[str, Any] = {"at_once": int}
OVERRIDES = ("device", "trials", "timeout_s", *_FOR_ALL, *_OF_BATCH)
"""Options that may be given beside the file; they go before its own."""

_Size = int | str
_WORKLOAD: dict[str, Any] = {
    "kernel": str,
    "shape": str,
    "sizes": dict[str, _Size | list[_Size]],
}


@dataclass(frozen=True)
class Listed:
    """One job of a file.

    Attributes:
        where: The entry that it comes from and its sizes, for messages.
    """

    where: str
    job: Job


@dataclass(frozen=True)
class Jobs:
    """What a file of jobs says.

    Attributes:
        at_once: How many jobs run at the same time.
    """

    listed: tuple[Listed, ...]
    at_once: int = AT_ONCE

    def __post_init__(self) -> None:
        at_once: Any = self.at_once
        if not isinstance(at_once, int) or not 1 <= at_once <= MAX_AT_ONCE:
            raise TunerError(
                f"at_once={at_once!r}: expected a whole number from 1 to {MAX_AT_ONCE}"
            )


def read_jobs(path: Path, overrides: Mapping[str, Any]) -> Jobs:
    """Reads the jobs of a file, in its order, the last size of an entry changing fastest.

    Args:
        path: A TOML file with the table `defaults` and an entry of `jobs` for each group of jobs.
        overrides: Values for some of `OVERRIDES`.

    Raises:
        TunerError: Names the file, the entry and what was expected there.
    """
    data = _tables(path)
    defaults, entries = data.get("defaults", {}), data.get("jobs", [])
    if not isinstance(entries, list) or not entries:
        raise TunerError(f"{path}: expected at least one [[jobs]]")
    for name in overrides:
        if name not in OVERRIDES:
            raise unknown("option of a batch:", name, OVERRIDES)
    common = _converted(f"{path}: defaults", "option", defaults, {**_TYPES, **_OF_BATCH})
    batch = {name: value for name, value in {**common, **overrides}.items() if name in _OF_BATCH}
    kinds = {**_WORKLOAD, **{name: _TYPES[name] for name in _TYPES if name not in _FOR_ALL}}
    listed: list[Listed] = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: entry {number} of [[jobs]]"
        if isinstance(entry, dict):
            for name in (*_FOR_ALL, *_OF_BATCH):
                if name in entry:
                    raise TunerError(f"{where}: {name} is one for all jobs: give it in [defaults]")
        stated = _converted(where, "key", entry, kinds)
        shapes = list(_shapes(where, stated))
        options = {name: stated[name] for name in stated if name not in _WORKLOAD}
        options = {**common, **options, **overrides}
        of_job = {name: options[name] for name in options if name not in _OF_BATCH}
        listed += _listed(where, stated.get("kernel"), shapes, of_job)
        if len(listed) > MAX_JOBS:
            raise TunerError(f"{where}: more than {MAX_JOBS:,} jobs")
    try:
        return Jobs(tuple(listed), **batch)
    except TunerError as error:
        raise TunerError(f"{path}: {error}") from None


def _tables(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(read_text(path, MAX_FILE_BYTES))
    except (ValueError, RecursionError) as error:
        raise TunerError(f"{path}: {error}") from None
    for key in data:
        if key not in ("defaults", "jobs"):
            raise unknown(f"table in {path}:", key, ("defaults", "jobs"))
    return data


def _converted(where: str, what: str, table: Any, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the names and types of a table's entries."""
    if not isinstance(table, dict):
        raise TunerError(f"{where}: expected a table, got {table!r}")
    found = {}
    for name, value in table.items():
        if name not in kinds:
            raise unknown(f"{what} in {where}:", name, kinds)
        try:
            found[name] = msgspec.convert(value, kinds[name])
        except msgspec.ValidationError as error:
            raise TunerError(f"{where}: {name} = {value!r}: {error}") from None
    return found


def _shapes(where: str, stated: Mapping[str, Any]) -> Iterator[str]:
    """Yields the shapes of an entry: each choice from its lists, after what `shape` states."""
    sizes: dict[str, list[_Size]] = {
        name: value if isinstance(value, list) else [value]
        for name, value in stated.get("sizes", {}).items()
    }
    if not sizes and "shape" not in stated:
        raise TunerError(f"{where}: expected sizes = {{ M = [1, 128], ... }} or shape = '...'")
    for name, values in sizes.items():
        if not values or len(set(values)) != len(values):
            raise TunerError(f"{where}: sizes.{name} = {values}: expected values, each once")
    if math.prod(map(len, sizes.values())) > MAX_JOBS:
        raise TunerError(f"{where}: more than {MAX_JOBS:,} jobs")
    fixed = [stated["shape"]] if "shape" in stated else []
    for chosen in itertools.product(*sizes.values()):
        pairs = [f"{name}={value}" for name, value in zip(sizes, chosen, strict=True)]
        yield ",".join([*fixed, *pairs])


def _listed(
    where: str, kernel: str | None, shapes: Iterable[str], options: Mapping[str, Any]
) -> Iterator[Listed]:
    if kernel is None:
        raise TunerError(f"{where}: expected kernel = '...'")
    if options.get("backend") == REPLAY:
        raise TunerError(f"{where}: a batch replays no recordings: nki-tuner replay does")
    for shape in shapes:
        here = f"{where} ({shape})"
        try:
            yield Listed(here, Job(kernel, shape, **options))
        except TunerError as error:
            raise TunerError(f"{here}: {error}") from None
