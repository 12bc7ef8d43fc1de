"""Recordings of a folder, and the one that another takes its prior from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Parameter
from tuner.space import SearchSpace

__all__ = ["Recording", "read", "read_folder"]

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    name: str
    space: SearchSpace
    time_us: Times
    kernel: str
    device: str


def _space(parameters: Sequence[Parameter], rows: Any) -> SearchSpace:
    space = object.__new__(SearchSpace)
    space.parameters = tuple(parameters)
    space.rows = np.asarray(rows, np.int16)
    space._values = [np.array(parameter.values) for parameter in parameters]
    space.__dict__["default"] = space.nearest({})
    return space


@lru_cache(maxsize=64)
def read(path: Path) -> Recording:
    with np.load(path) as file:
        meta = json.loads(str(file["meta"]))
        parameters = [
            Parameter(name, tuple(values), values[len(values) // 2])
            for name, values in meta["values"].items()
        ]
        times = file["time_ms"] * 1000
        return Recording(
            path.stem, _space(parameters, file["X"]), times, meta["kernel"], meta["device"]
        )


def read_folder(folder: Path) -> list[Path]:
    """Returns the recordings in a folder, by name."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise TunerError(f"{folder}: no recorded spaces (*.npz) in there")
    return paths


def others(path: Path, paths: Sequence[Path]) -> list[Path]:
    """Recordings of the same kernel with the same parameters, made elsewhere."""
    mine = read(path)
    return [p for p in paths if p != path and _same_kernel(read(p), mine)]


def _same_kernel(one: Recording, other: Recording) -> bool:
    return one.kernel == other.kernel and _values(one) == _values(other)


def _values(recording: Recording) -> Mapping[str, tuple[Any, ...]]:
    return {parameter.name: parameter.values for parameter in recording.space.parameters}


def aligned(other: Recording, recording: Recording) -> Times:
    """Times of another recording for the rows of this one, inf where it lacks a config."""
    there = {row.tobytes(): number for number, row in enumerate(other.space.rows)}
    rows = [there.get(row.tobytes(), -1) for row in recording.space.rows]
    return np.append(other.time_us, np.inf)[rows]
