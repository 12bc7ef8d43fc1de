"""Tuned configs: of the shipped table where it has the workload and is not stale, else searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tuner
from benchmarks.kernels.runs import Run, prepared, run
from benchmarks.kernels.workloads import DTYPE
from tuner import bundled
from tuner.job import check
from tuner.runtime import Record, load
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config

__all__ = ["Searching", "Tuned", "find_tuned", "from_table", "shipped"]


@dataclass(frozen=True)
class Searching:
    """How configs are found.

    Attributes:
        folder: Database of the searches; each begins with the best configs of its neighbours.
        trials: Configs that a search tries.
        tables: Whether shipped tables are looked into first.
    """

    folder: str
    trials: int
    tables: bool = True


@dataclass(frozen=True)
class Tuned:
    """The default and the best config of a workload.

    Attributes:
        default: Of the job: the search space's, or the legal one nearest to it.
        source: Where the best config is from.
    """

    default: Run
    best: Run
    config: Config
    source: str

    @property
    def gain(self) -> float | None:
        """How many times faster the best config is than the default."""
        times = self.default.latency_us, self.best.latency_us
        return None if times[0] is None or times[1] is None else times[0] / times[1]


def find_tuned(kernel: str, sizes: Mapping[str, int], device: str, searching: Searching) -> Tuned:
    """Finds the best config of a workload and simulates it beside the default.

    Raises:
        TunerError: No config of it runs.
    """
    job = prepared(kernel, sizes, device)
    record = from_table(kernel, sizes, device) if searching.tables else None
    if record is not None:
        config, source = record.config, f"table, {record.trials} trials"
    else:
        config = _searched(kernel, sizes, device, searching)
        source = f"search, {searching.trials} trials"
    return Tuned(run(job, job.info.default), run(job, config), dict(config), source)


def _searched(kernel: str, sizes: Mapping[str, int], device: str, searching: Searching) -> Config:
    found = tuner.tune(
        kernel,
        dict(sizes),
        dtype=DTYPE,
        device=device,
        trials=searching.trials,
        ray="serial",
        verify="none",  # takes longer than the search: see the notes of the report
        results=searching.folder,
    )
    if found.interrupted:
        raise KeyboardInterrupt
    if found.best is None:
        raise TunerError(f"{found.workload} on {device}: no config runs: {found.failures}")
    return found.best.config


def from_table(kernel: str, sizes: Mapping[str, int], device: str) -> Record | None:
    """Returns the shipped record of a workload that a search would still find."""
    asked = (kernel, dict(sizes), DTYPE, device, "simulator")
    for record in shipped(device):
        sizes_of = dict(record.sizes)
        if asked == (record.kernel, sizes_of, record.dtype, record.device, record.backend):
            return record
    return None


@cache
def shipped(device: str) -> tuple[Record, ...]:
    """Records of the device's shipped table that are not stale."""
    path = Path(bundled.folder("results")) / f"{device}.json"
    if not path.is_file():
        return ()
    stale = [each.record for each in check(path).stale]
    return tuple(record for record in load(path).records if record not in stale)
