"""Studies and trials, and how they are read from rows of the database.

A database may come from a stranger: rows are checked, and a wrong one is an error that names it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from tuner.backends import Status
from tuner.runtime.rules import Config, Value
from tuner.runtime.sizes import Sizes, workload_key

__all__ = ["Study", "StudyInfo", "Trial", "study_of", "trial_of"]

_Row = TypeVar("_Row", bound=msgspec.Struct)
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


@dataclass(frozen=True)
class StudyInfo:
    """What identifies a study and what its trials have in common.

    Attributes:
        sizes: Sizes by dim, in the kernel's order, then the variants that are not at their
            default.
        kind: "simulated" or "measured".
        fingerprint: What the times depend on besides workload and config.
        rules: The kernel's entry of an exported table, and the device's facts.
        default: The default config, as repaired for the workload.
        settings: Seed, sampler and the like.
        command: The command line that repeats the job.
    """

    kernel: str
    sizes: Sizes
    dtype: str
    device: str
    backend: str
    kind: str
    fingerprint: Mapping[str, Any]
    rules: Mapping[str, Any]
    default: Config
    settings: Mapping[str, Any]
    command: str
    roofline_us: float

    @property
    def shape(self) -> str:
        """The sizes as the command line takes them."""
        return workload_key(self.sizes)

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What a record is the best of: kernel, shape, dtype, device, backend."""
        return (self.kernel, self.shape, self.dtype, self.device, self.backend)


@dataclass(frozen=True)
class Study:
    """A study as stored."""

    id: int
    info: StudyInfo
    created_at: float
    finished_at: float | None


@dataclass(frozen=True)
class Trial:
    """A finished trial as stored; fields as in `Measurement`."""

    number: int
    config: Config
    status: Status
    latency_us: float | None
    reason: str
    verified: bool
    figures: Mapping[str, Any]
    host_s: Mapping[str, float]
    finished_at: float


class _KernelRules(msgspec.Struct):
    variants: dict[str, Annotated[list[str], msgspec.Meta(min_length=1)]] = {}


class _Rules(msgspec.Struct):
    """Of `rules`, what is read of it here; whoever loads a table checks the rest."""

    kernel: _KernelRules | None = None
    device: dict[str, Value] | None = None


class _StudyRow(msgspec.Struct):
    id: int
    kernel: str
    sizes: dict[str, int | str]
    dtype: str
    device: str
    backend: str
    kind: str
    fingerprint: dict[str, Any]
    rules: dict[str, Any]
    default: dict[str, Value]
    settings: dict[str, Any]
    command: str
    roofline_us: float
    created_at: _Seconds
    finished_at: _Seconds | None


class _TrialRow(msgspec.Struct):
    number: int
    config: dict[str, Value]
    status: Status
    latency_us: Annotated[float, msgspec.Meta(gt=0)] | None
    reason: str
    verified: int
    figures: dict[str, Any]
    host_s: dict[str, float]
    finished_at: _Seconds


_JSON = {"sizes", "fingerprint", "rules", "default", "settings", "config", "figures", "host_s"}


def study_of(row: sqlite3.Row) -> Study:
    """Returns the study of a row.

    Raises:
        ValueError: The row is not as a study is stored.
    """
    read = _read(row, _StudyRow)
    about = {name: getattr(read, name) for name in StudyInfo.__dataclass_fields__}
    return Study(read.id, StudyInfo(**about), read.created_at, read.finished_at)


def trial_of(row: sqlite3.Row) -> Trial:
    """Returns the trial of a row.

    Raises:
        ValueError: The row is not as a trial is stored.
    """
    read = _read(row, _TrialRow)
    fields = {name: getattr(read, name) for name in Trial.__dataclass_fields__}
    return Trial(**{**fields, "verified": bool(read.verified)})


def _read(row: sqlite3.Row, kind: type[_Row]) -> _Row:
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118  # a Row is no mapping
    try:
        for name in _JSON & values.keys():
            values[name] = json.loads(values[name])
        msgspec.convert(values.get("rules", {}), _Rules)
        return msgspec.convert(values, kind)
    except (ValueError, TypeError, RecursionError) as error:
        where = "study" if kind is _StudyRow else "trial"
        raise ValueError(f"a {where} that nki-tuner did not write ({error})") from None
