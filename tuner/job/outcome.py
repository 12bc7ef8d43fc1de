"""What a job says while it runs and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.database import Trial
from tuner.job.warm_start import Seed
from tuner.space import Workload

__all__ = ["Outcome", "Progress"]


@dataclass(frozen=True)
class Progress:
    """How far a job is; handed to the caller whenever trials come back.

    Attributes:
        note: What it does meanwhile where that is not trials; one line.
    """

    done: int
    trials: int
    measured: int
    best_us: float | None
    default_us: float | None
    kind: str
    failures: Mapping[str, int]
    elapsed_s: float
    stopping: bool = False
    error_percent: float | None = None
    note: str = ""

    @property
    def per_s(self) -> float:
        """Trials measured a second by this run."""
        return self.measured / self.elapsed_s if self.elapsed_s > 0 else 0.0


@dataclass(frozen=True)
class Outcome:
    """What a job found.

    Attributes:
        kind: "simulated" or "measured": what its times are.
        default: The default config's trial; None if it did not come back.
        best: The fastest correct trial; None if there is none.
        failures: Number of trials by status, other than correct.
        measured: Trials that this run measured; the others came from the database.
        elapsed_s: Wall-clock seconds of this run's search.
        interrupted: Whether it was stopped before its end.
        stopped_by: What ended the search: "trials" (all were used), "exhausted" (every valid config
            was tried), "time", "target" or "patience" (see `Job`), "interrupted".
        sampler: The sampler that chose the configs: where all of them are tried "exhaustive",
            whatever was asked for.
        chance_of_better: By the sampler's model, the chance that an untried config is more than 1 %
            faster; None where the sampler has no model.
        doubt: What can be said about configs that are better and untried, in one sentence; may be
            empty.
        seeds: Configs of nearby workloads that were tried first.
        prior: What the prior was and took, in one line; empty without one.
        shared: What drivers share the study, in one line; empty where none do.
        exhausting_s: Estimated seconds that measuring every valid config would take, where that is
            worth doing: quicker than the sampler, or quick anyway.
        unverified: Why the best config could not be checked, where the check itself failed.
        ask_s: Seconds, of those, in which the sampler chose what to try.
    """

    study: int
    workload: Workload
    device: str
    kind: str
    default: Trial | None
    best: Trial | None
    trials: int
    valid_configs: int
    failures: Mapping[str, int]
    roofline_us: float
    measured: int
    elapsed_s: float
    interrupted: bool
    unverified: str
    space_file: Path
    kernel_file: Path
    database: Path
    stopped_by: str
    sampler: str
    chance_of_better: float | None
    doubt: str
    seeds: tuple[Seed, ...]
    prior: str
    shared: str
    exhausting_s: float | None
    ask_s: float

    @property
    def speedup(self) -> float | None:
        """How many times faster the best config is than the default."""
        times = (self.default and self.default.latency_us, self.best and self.best.latency_us)
        return times[0] / times[1] if times[0] and times[1] else None

    @property
    def roofline_share(self) -> float | None:
        """Roofline time over the best config's time; None where no roofline is known."""
        best_us = self.best and self.best.latency_us
        return self.roofline_us / best_us if self.roofline_us and best_us else None
