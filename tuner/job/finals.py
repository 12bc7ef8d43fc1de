"""The last word on which config is best, where times vary.

Of many noisy times the lowest is too low: it won in part by luck. The fastest configs are therefore
timed anew, in rounds that take one sample of each in shuffled order, so that a device that warms up
or slows down does so for all of them alike; these samples alone decide.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuner.backends import Candidate, Measurement, Repeats, Status, summarize
from tuner.backends.repeats import TOLERANCE, Interval, narrow, order_interval
from tuner.database import REMEASURED, Trial, asked
from tuner.execution import Executor
from tuner.runtime.rules import Config

__all__ = ["Finals", "finalists", "incumbent_interval", "outcomes", "remeasure"]

MIN_ROUNDS, MAX_ROUNDS = 6, 40
CONFIDENCE = 0.99
"""Of each comparison; higher than in the search, as there is one a round and rival."""
POLL_S = 0.25


@dataclass
class Finals:
    """What the rounds brought.

    Attributes:
        samples: Position of a config -> its samples [us], one a round; without those that failed.
        last: Position of a config -> the last that came back of it.
    """

    samples: dict[int, list[float]]
    last: dict[int, Measurement] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """Rounds that are complete."""
        return min((len(taken) for taken in self.samples.values()), default=0)

    def settled(self) -> bool:
        """Whether the time of the best is known well, and it is clear of every rival that it is
        slower, or as good as equal.

        Rounds are compared in pairs: what slows a whole round down cancels.
        """
        if self.rounds < MIN_ROUNDS:
            return not self.samples
        best = min(self.samples, key=lambda each: statistics.median(self.samples[each]))
        return narrow(self.samples[best]) and all(
            low > 1 or max(high - 1, 1 - low) < TOLERANCE
            for low, high in (
                order_interval(_ratios(taken, self.samples[best]), CONFIDENCE)
                for position, taken in self.samples.items()
                if position != best
            )
        )


def _ratios(times: Sequence[float], others: Sequence[float]) -> list[float]:
    return [time / other for time, other in zip(times, others, strict=True)]


def _searched(trial: Trial) -> Mapping[str, Any]:
    """Returns latency, samples and interval of a trial as the search was told them."""
    told: Mapping[str, Any] | None = trial.figures.get(REMEASURED)
    return told or {"latency_us": trial.latency_us, **_statistics(trial)}


def _statistics(trial: Trial) -> dict[str, Any]:
    return {name: trial.figures.get(name) for name in ("samples", "spread_us", "ci_us")}


def incumbent_interval(trials: Iterable[Trial], best_us: float | None) -> Interval | None:
    """Returns the confidence interval of the trial whose time is the best that was told."""
    for trial in trials:
        told = _searched(trial)
        if best_us is not None and told["latency_us"] == best_us and told["ci_us"]:
            low, high = told["ci_us"]
            return low, high
    return None


def finalists(trials: Iterable[Trial], count: int) -> list[Trial]:
    """Returns the trials to measure again, fastest first: those among the `count` fastest of the
    search that may be as fast as the fastest; none where all of these were measured again, or where
    the fastest is clearly faster than all others and nothing was measured again.

    Where all of them failed since, it is the turn of the next.
    """
    timed = [trial for trial in trials if _searched(trial)["latency_us"] is not None]
    ranked = sorted(timed, key=lambda t: (_searched(t)["latency_us"], asked(t)))
    while ranked and count:
        group, ranked = ranked[:count], ranked[count:]
        reach = (_searched(group[0])["ci_us"] or (0, math.inf))[1]
        group = [t for t in group if (_searched(t)["ci_us"] or (0, 0))[0] <= reach]
        if len(group) == 1 < count and not any(REMEASURED in t.figures for t in timed):
            return []  # the search has separated it: there is nobody to compare it with
        if any(REMEASURED not in trial.figures for trial in group):
            return [trial for trial in group if trial.status == Status.CORRECT]
        if any(trial.status == Status.CORRECT for trial in group):
            break
    return []


def remeasure(
    executor: Executor,
    configs: Sequence[Config],
    *,
    seed: int = 0,
    first: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> Finals | None:
    """Times configs in rounds until the best is known or the rounds are used up.

    Args:
        executor: Has nothing of the caller's in flight.
        configs: One that fails drops out.
        seed: Of the order within the rounds.
        first: Number of the first sample, as in `Repeats`.
        stopped: Asked while waiting.

    Returns:
        The samples; None if it was stopped.
    """
    found = Finals({position: [] for position in range(len(configs))})
    generator = np.random.default_rng(seed)
    while found.rounds < MAX_ROUNDS and not found.settled():
        repeats = Repeats(most=1, first=first + found.rounds)
        asked = {}
        for position in generator.permutation(list(found.samples)).tolist():
            # No number of the search or of another round: a late answer is told by it.
            number = -1 - len(configs) * found.rounds - position
            asked[number] = position
            executor.submit(Candidate(number, configs[position], repeats=repeats))
        while asked:
            if stopped():
                return None
            for done in executor.wait(POLL_S):
                if done.number in asked:
                    _take(found, asked.pop(done.number), done)
    return found


def _take(found: Finals, position: int, done: Measurement) -> None:
    found.last[position] = done
    if done.latency_us is not None:
        found.samples[position].append(done.latency_us)
    else:
        del found.samples[position]


def outcomes(trials: Sequence[Trial], found: Finals) -> list[tuple[Config, Measurement]]:
    """Returns what to store of finalists: the new median and its statistics, or the failure; what
    the search was told is kept among the figures.
    """
    stored = []
    for position, trial in enumerate(trials):
        new = found.last[position]
        figures = {**trial.figures, REMEASURED: _searched(trial)}
        if position in found.samples:
            told = summarize(found.samples[position])
            new = dataclasses.replace(new, latency_us=told.median_us)
            figures |= told.figures()
        else:
            new = dataclasses.replace(new, reason=f"when measured again: {new.reason}")
        new = dataclasses.replace(new, figures=figures, verified=trial.verified)
        stored.append((trial.config, new))
    return stored
