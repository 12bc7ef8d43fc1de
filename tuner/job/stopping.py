"""When a search ends, and what it may have missed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.search import Search

__all__ = ["GAIN", "Stopping", "doubt", "exhausting_s", "next_best", "unseen_share"]

GAIN = 0.001
"""A config that is faster by no more than this share is no improvement."""

BETTER = 0.01
CONFIDENCE = 0.95
SURE = 0.99
SOON_S = 10.0
FEW = 8


@dataclass
class Stopping:
    """The rules that end a search, fed with what happens in it.

    Target and patience look at the results in the order of asking, so that a run that is repeated
    ends at the same trial. What is in flight when a rule holds is waited for.

    Attributes:
        trials: Configs to measure, those of earlier runs of the study among them.
        max_s: Seconds of search, of all runs of the study; no config is begun later.
        target_us: A correct config that takes at most this ends the search.
        patience: So many results in a row without an improvement of more than `GAIN` end it; they
            count from the first that has a time.
        begun: Configs that were begun, by this run or an earlier one.
        rule: What ended it, a word of `Outcome.stopped_by`; "" while it goes on.
        asked: Configs that this run asked for.
        told: Results of this run so far.
    """

    trials: int
    max_s: float | None = None
    target_us: float | None = None
    patience: int | None = None
    begun: int = 0
    rule: str = ""
    asked: int = 0
    told: int = 0
    _to_beat_us: float | None = None
    _in_vain: int = 0

    def tries_everything(self, configs: int) -> bool:
        """Whether nothing ends the search before all of so many configs are tried."""
        return self.trials >= configs and not (self.max_s or self.target_us or self.patience)

    @property
    def learns(self) -> bool:
        """Whether results may end the search."""
        return self.target_us is not None or self.patience is not None

    def asks(self, elapsed_s: float) -> bool:
        """Whether to ask for another config; those of earlier runs are asked for again first."""
        if self.asked >= self.begun:
            self._check_budget(elapsed_s)
        self.asked += not self.rule
        return not self.rule

    def begins(self, elapsed_s: float) -> bool:
        """Whether to measure a config that was asked for."""
        self._check_budget(elapsed_s)
        self.begun += not self.rule
        return not self.rule

    def _check_budget(self, elapsed_s: float) -> None:
        if self.rule:
            return
        if self.begun >= self.trials:
            self.rule = "trials"
        elif self.is_late(elapsed_s):
            self.rule = "time"

    def is_late(self, elapsed_s: float) -> bool:
        """Whether the time is over; one config is begun in any case."""
        return self.max_s is not None and elapsed_s >= self.max_s and self.begun > 0

    def reaches_target(self, latency_us: float | None) -> bool:
        """Whether a result is as good as was asked for."""
        if latency_us is None or self.target_us is None:
            return False
        return latency_us <= self.target_us

    def tell(self, latency_us: float | None) -> None:
        """Takes the next result in the order of asking; None for one that failed."""
        self.told += 1
        before = self._to_beat_us
        if latency_us is not None and (before is None or latency_us < before * (1 - GAIN)):
            self._to_beat_us, self._in_vain = latency_us, 0
        elif before is not None:
            self._in_vain += 1
        if self.reaches_target(latency_us):
            self.rule = "target"
        elif self.patience is not None and self._in_vain >= self.patience and not self.rule:
            self.rule = "patience"


def doubt(
    search: Search, sampler: str, drawn: int, untried: int, rule: str
) -> tuple[float | None, str]:
    """Says how likely it is that a better config was missed.

    A sampler with a model answers from it. Random configs are exchangeable: whatever their times,
    the next one is the best of all with a chance of one in all of them at most, and a share q of
    better ones goes unseen by n with a chance of (1 - q)^n at most. Both hold where patience ended
    the search too, as it looks at the order of the times only (but for `GAIN`); not where a target
    did.

    Args:
        search: The search, at its end.
        sampler: Its sampler's name.
        drawn: Finished trials that the sampler chose: without the default and the seeds.
        untried: Configs that were not tried.
        rule: What ended it.

    Returns:
        The model's chance that an untried config is faster by more than `BETTER`, and the sentence
        for a person; None and "" where nothing can be said.
    """
    if untried == 0:
        return 0.0, "no config is untried"
    chance = search.chance_of_better(BETTER) if search.best_us is not None else None
    if chance is not None:
        margin = f"an untried config is more than {_percent(BETTER)} faster"
        said = _percent(chance) if chance <= SURE else f"more than {_percent(SURE)}"
        return chance, f"the sampler's model gives a {said} chance that {margin}"
    if sampler != "random" or drawn < 1 or rule == "target":
        return None, ""
    return None, (
        f"the next random config is faster with a chance of at most {_percent(next_best(drawn))}; "
        f"with {_percent(CONFIDENCE)} confidence at most {_percent(unseen_share(drawn))} of all "
        "configs are"
    )


def next_best(drawn: int) -> float:
    """Returns the chance, at most, that one more random config beats so many."""
    return 1 / (drawn + 1)


def unseen_share(drawn: int) -> float:
    """Returns the share of configs, at most, that are better than the best of so many random ones,
    with `CONFIDENCE`.
    """
    return 1 - math.pow(1 - CONFIDENCE, 1 / drawn)


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.1 else 1}f}".removesuffix(".0") + " %"


def exhausting_s(
    configs: int, trials: int, *, measured: int, elapsed_s: float, asked: int, ask_s: float
) -> float | None:
    """Returns the seconds that measuring every config would take, where that is worth offering:
    quicker than the sampler with its trials, or soon done anyway.

    Args:
        configs: Valid configs.
        trials: Trials of the job.
        measured: Trials that were measured, in `elapsed_s` seconds of search.
        asked: Configs that the sampler proposed meanwhile, in `ask_s` of these seconds.
    """
    if measured < FEW or configs <= trials:
        return None
    trial_s = max(elapsed_s - ask_s, 0.0) / measured
    every_s, sampler_s = configs * trial_s, trials * (trial_s + ask_s / asked)
    return every_s if every_s <= max(sampler_s, SOON_S) else None
