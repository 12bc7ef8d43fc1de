"""Checks every job of a batch before the first one begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tuner.backends import make_backend
from tuner.database import StudyInfo
from tuner.job.batches.outcome import BatchProgress
from tuner.job.batches.reading import Listed
from tuner.job.settings import Job
from tuner.job.tuning import look_up
from tuner.runtime.errors import TunerError

__all__ = ["Planned", "plan"]


@dataclass(frozen=True)
class Planned:
    """A job that was checked; its search space is not kept, as those of all take much memory.

    Attributes:
        number: Its place in the file, from 1.
        trials: Configs that it tries at most.
        resources: What a Ray that is started here has for it besides CPUs.
    """

    number: int
    job: Job
    info: StudyInfo
    trials: int
    resources: Mapping[str, float]

    @property
    def name(self) -> str:
        """Its workload and device."""
        return f"{self.info.kernel} {self.info.shape} {self.info.dtype} on {self.info.device}"


def plan(listed: Sequence[Listed], report: Callable[[BatchProgress], None]) -> list[Planned]:
    """Looks up everything that the jobs name.

    Args:
        listed: The jobs.
        report: Told the number of each job before it is checked.

    Raises:
        TunerError: Something in a job is wrong; says which.
    """
    planned = []
    for number, each in enumerate(listed, 1):
        report(BatchProgress(number, len(listed), each.where, checking=True))
        planned.append(_planned(number, each))
    return planned


def _planned(number: int, listed: Listed) -> Planned:
    try:
        prepared, _ = look_up(listed.job)
    except TunerError as error:
        raise TunerError(f"{listed.where}: {error}") from None
    trials = min(listed.job.trials, len(prepared.space))
    resources = make_backend(prepared.problem).capabilities().available
    return Planned(number, listed.job, prepared.info, trials, resources)
