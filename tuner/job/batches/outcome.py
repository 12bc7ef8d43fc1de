"""What a batch says while it runs and when it ends."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.database import Exported, Study, Trial
from tuner.job.outcome import Progress

__all__ = ["Batch", "BatchProgress", "Done"]


@dataclass(frozen=True)
class Done:
    """A job of a batch that has come to an end, in this run or before.

    Attributes:
        name: Its workload and device.
        study: Its study; None where it failed before it had one.
        default: The default config's trial; None if it did not come back.
        best: The fastest correct trial; None if there is none.
        failed: Why it failed, in one line; empty if it did not.
        skipped: Whether an earlier run had finished it.
        measured: Trials that this run measured.
    """

    name: str
    study: Study | None = None
    default: Trial | None = None
    best: Trial | None = None
    failed: str = ""
    skipped: bool = False
    measured: int = 0

    @property
    def kind(self) -> str:
        """What its times are: "simulated" or "measured"; empty without a study."""
        return self.study.info.kind if self.study else ""

    @property
    def speedup(self) -> float | None:
        """How many times faster the best config is than the default."""
        times = (self.default and self.default.latency_us, self.best and self.best.latency_us)
        return times[0] / times[1] if times[0] and times[1] else None

    @property
    def roofline_share(self) -> float | None:
        """Roofline time over the best config's time; None where either is not known."""
        roofline_us = self.study.info.roofline_us if self.study else 0.0
        best_us = self.best and self.best.latency_us
        return roofline_us / best_us if roofline_us and best_us else None


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is; handed to the caller when a job is checked, begins, goes on and ends.

    Attributes:
        number: The job's number, from 1.
        jobs: Jobs of the batch.
        name: The job's workload and device; its place in the file while it is checked.
        checking: Whether it is being checked; that comes before the first job begins.
        resumed: Whether it goes on where an earlier run was interrupted.
        changed: What changed since an earlier run of it, which is why it is done anew.
        tuning: How far it is; None when it begins and when it ends.
        done: What came of it; None before it ends.
        left_s: Estimated seconds to the end of the batch; None before there is an estimate.
    """

    number: int
    jobs: int
    name: str
    checking: bool = False
    resumed: bool = False
    changed: tuple[str, ...] = ()
    tuning: Progress | None = None
    done: Done | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class Batch:
    """What a batch found.

    Attributes:
        done: The jobs that came to an end, in the order of the file.
        jobs: Jobs of the file.
        devices: Names of their devices, as the file gives them.
        results: Folder of the database.
        interrupted: Whether it was stopped before its end.
        exported: What was written as a table; None where nothing was.
    """

    done: tuple[Done, ...]
    jobs: int
    devices: tuple[str, ...]
    results: str
    interrupted: bool
    exported: Exported | None = None

    @property
    def failed(self) -> tuple[Done, ...]:
        """The jobs that failed."""
        return tuple(done for done in self.done if done.failed)
