"""The recordings of a folder, and a made-up one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuner.backends.base import Status
from tuner.backends.recording import Recording, read_recording
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Parameter
from tuner.space import SearchSpace

__all__ = ["Times", "aligned", "others", "read", "recordings_in", "synthetic"]

Times = npt.NDArray[np.float64]

FAILING = 0.05
"""Share of the configs of a made-up recording that fail."""


@lru_cache(maxsize=64)
def read(path: Path) -> Recording:
    """Reads a recording once in a process."""
    return read_recording(path)


def recordings_in(folder: Path) -> list[Path]:
    """Returns the recordings in a folder, by name.

    Raises:
        TunerError: There is none.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise TunerError(f"{folder}: expected a folder with recorded spaces (*.npz), found none")
    return paths


def others(path: Path, paths: Sequence[Path]) -> list[Path]:
    """Returns the recordings of the same kernel with the same parameters, made elsewhere."""
    mine = read(path)
    return [
        p
        for p in paths
        if p != path
        and read(p).kernel == mine.kernel
        and {q.name: q.values for q in read(p).space.parameters}
        == {q.name: q.values for q in mine.space.parameters}
    ]


def aligned(other: Recording, recording: Recording) -> Times:
    """Times of `other` for the rows of `recording`, inf where it lacks a config; shape (configs,).

    Both have the same parameters.
    """
    theirs, mine = (recorded.space.rows.tolist() for recorded in (other, recording))
    times = dict(zip(map(tuple, theirs), other.time_us.tolist(), strict=True))
    return np.array([times.get(tuple(row), np.inf) for row in mine])


def synthetic(counts: Sequence[int], configs: int, seed: int) -> Recording:
    """Makes a recording up: random configs of a grid, whose times have an effect for each value and
    for each pair of values of neighbouring parameters.

    Args:
        counts: Values of each parameter.
        configs: How many, at most as many as the grid has.
        seed: Of everything random.
    """
    generator = np.random.default_rng(seed)
    codes = np.sort(generator.choice(int(np.prod(counts)), configs, replace=False))
    rows = np.column_stack(np.unravel_index(codes, counts))
    log_time = 0.05 * generator.standard_normal(configs)
    for column, count in enumerate(counts):
        log_time += 0.4 * generator.standard_normal(count)[rows[:, column]]
    for left, right in zip(range(len(counts)), range(1, len(counts)), strict=False):
        effects = 0.3 * generator.standard_normal((counts[left], counts[right]))
        log_time += effects[rows[:, left], rows[:, right]]
    failed = generator.random(configs) < FAILING
    values = [tuple(2**power for power in range(count)) for count in counts]
    return Recording(
        name="synthetic",
        space=SearchSpace.of_rows(
            [Parameter(f"p{i}", v, v[len(v) // 2]) for i, v in enumerate(values)], rows
        ),
        time_us=np.where(failed, np.inf, 100 * np.exp(log_time)),
        spread_us=np.full(configs, np.nan),
        status=tuple(Status.RUNTIME if f else Status.CORRECT for f in failed),
        kind="simulated",
        device="",
        kernel="synthetic",
        cost_s=np.zeros(configs),
    )
