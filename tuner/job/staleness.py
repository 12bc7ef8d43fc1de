"""Tells which records of an exported table are stale: made before something changed that their
times depend on.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from tuner.job.changes import changed
from tuner.job.preparing import fingerprint
from tuner.job.settings import NEURON_OPTIONS, Job
from tuner.runtime import Record, load
from tuner.runtime.errors import TunerError

__all__ = ["Checked", "Stale", "check"]


@dataclass(frozen=True)
class Stale:
    """A record whose command would not give the same times now.

    Attributes:
        changed: What changed since, e.g. ("kernel", "simulator"); empty where that cannot be told.
        error: Why that cannot be told, e.g. that there is no such kernel any more.
    """

    record: Record
    changed: tuple[str, ...] = ()
    error: str = ""

    @property
    def why(self) -> str:
        """What changed, or the error."""
        return self.error or f"changed since: {', '.join(self.changed)}"


@dataclass(frozen=True)
class Checked:
    """A table and its stale records.

    Attributes:
        command: The command that makes the whole table anew; empty where it is not known.
        kinds: What its times are: "simulated", "measured".
    """

    path: str
    command: str
    records: int
    kinds: tuple[str, ...]
    stale: tuple[Stale, ...]


def check(path: str | os.PathLike[str]) -> Checked:
    """Compares the fingerprint of every record of a table with what its command would give now.

    Raises:
        TunerError: The file is no table.
    """
    table = load(path)
    now = cache(fingerprint)
    stale = []
    for record in table.records:
        try:
            found = changed(record.fingerprint, now(_asked(record)))
        except TunerError as error:
            stale.append(Stale(record, error=str(error)))
        else:
            stale += [Stale(record, found)] if found else []
    kinds = tuple(sorted({record.kind for record in table.records}))
    return Checked(table.path, table.command, len(table.records), kinds, tuple(stale))


def _asked(record: Record) -> Job:
    """Returns the job of a record's command, without what does not count for its fingerprint.

    Nor does it take the interpreters that the command names: a table is data, which starts nothing.
    """
    job = _job(record.command)
    depends = (
        "kernel",
        "device",
        "backend",
        "policy",
        "cores_busy",
        "on_overflow",
        *(name for name in NEURON_OPTIONS if not name.endswith("_python")),
    )
    stated = {name: getattr(job, name) for name in depends}
    return Job(shape="", **stated)


def _job(command: str) -> Job:
    """Reads the command line of a tuning job.

    Raises:
        TunerError: It is none, or one of another version.
    """
    unreadable = TunerError(f"its command is not one of nki-tuner tune: {command!r}")
    types = typing.get_type_hints(Job)
    try:
        program, verb, kernel, *words = shlex.split(command)
        options: dict[str, Any] = {}
        while words:
            name = words.pop(0).removeprefix("--").replace("-", "_")
            if types.get(name.removeprefix("no_")) is bool:
                options[name.removeprefix("no_")] = not name.startswith("no_")
            else:
                options[name] = msgspec.convert(words.pop(0), types[name], strict=False)
    except (ValueError, KeyError, IndexError):
        raise unreadable from None
    if (program, verb) != ("nki-tuner", "tune") or "shape" not in options:
        raise unreadable
    known = {field.name for field in dataclasses.fields(Job)} - {"kernel"}
    return Job(kernel, **{name: value for name, value in options.items() if name in known})
