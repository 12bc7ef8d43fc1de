"""The finished trials of a job's study, and the best of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tuner.backends import Status
from tuner.backends.repeats import Interval
from tuner.database import REMEASURED, Trial, best_trial
from tuner.job.finals import incumbent_interval
from tuner.runtime.rules import Config

__all__ = ["Trials"]


class Trials:
    """Finished trials by config. What is asked of them at every trial does not look at all of them:
    a job of many thousands takes no longer a trial than one of a few.

    Attributes:
        failures: How many ended in each status other than correct.
    """

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self._by_config: dict[frozenset[tuple[str, object]], Trial] = {}
        self._best: Trial | None = None
        self._again = False
        self._interval: tuple[float, Interval] | None = None

    def __len__(self) -> int:
        return len(self._by_config)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._by_config.values())

    @property
    def best(self) -> Trial | None:
        """The fastest correct trial, as `best_trial` has it."""
        return self._best

    def of(self, config: Config) -> Trial | None:
        """Returns the trial of a config; None where it is not finished."""
        return self._by_config.get(frozenset(config.items()))

    def learn(self, trials: Iterable[Trial]) -> None:
        """Takes trials that finished, or that are known and have another outcome now."""
        replaced = False
        for trial in trials:
            key = frozenset(trial.config.items())
            before = self._by_config.get(key)
            if before is not None:
                replaced = True
                self._count(before, -1)
            self._count(trial, 1)
            self._again |= REMEASURED in trial.figures
            self._by_config[key] = trial
            self._best = best_trial([trial] if self._best is None else [self._best, trial])
        if replaced or self._again:  # the best may have lost its time, or its rival's counts more
            self._best = best_trial(list(self))
        if replaced:
            self._interval = None

    def interval(self, best_us: float | None) -> Interval | None:
        """Returns the confidence interval of the trial whose time is the best that was told."""
        if best_us is None:
            return None
        if self._interval is None or self._interval[0] != best_us:
            found = incumbent_interval(self, best_us)
            self._interval = None if found is None else (best_us, found)
        return None if self._interval is None else self._interval[1]

    def _count(self, trial: Trial, change: int) -> None:
        if trial.status == Status.CORRECT:
            return
        self.failures[trial.status.value] += change
        if not self.failures[trial.status.value]:
            del self.failures[trial.status.value]
