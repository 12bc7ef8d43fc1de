"""Recordings of the small kernel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.backends.small_kernel import SHAPE
from tuner.backends import Status
from tuner.backends.recording import Recording, write_recording
from tuner.job import Job, prepare
from tuner.runtime.rules import Parameter
from tuner.space import SearchSpace


def space_of(space_file: Path) -> SearchSpace:
    return prepare(Job(str(space_file), SHAPE)).space


def record(path: Path, space: SearchSpace, times: Mapping[int, float]) -> None:
    """Writes a recording: these rows with these times, inf where it failed."""
    rows = sorted(times)
    time_us = np.array([times[row] for row in rows])
    status = [Status.CORRECT if np.isfinite(time) else Status.COMPILE for time in time_us]
    parameters = tuple(  # other values in another order
        Parameter(p.name, (*reversed(p.values), _other(p)), p.default)
        for p in reversed(space.parameters)
    )
    indices = [
        [p.values.index(config[p.name]) if p.name in config else -1 for p in parameters]
        for config in map(space.config, rows)
    ]
    recorded = SearchSpace.of_rows(parameters, np.array(indices), space.config(rows[0]))
    recording = Recording(
        name="double",
        space=recorded,
        time_us=time_us,
        spread_us=np.full(len(rows), np.nan),
        status=tuple(status),
        kind="measured",
        device="other",
        kernel="double",
        cost_s=np.zeros(len(rows)),
    )
    write_recording(recording, path)


def _other(parameter: Parameter) -> Any:
    return "other" if isinstance(parameter.values[0], str) else 1000
