"""Records: the best trial for each workload, among studies of one fingerprint."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tuner.backends import Status
from tuner.database.store import Store
from tuner.database.studies import Study, Trial
from tuner.runtime.errors import TunerError
from tuner.runtime.sizes import without_defaults
from tuner.space import parse_sizes

__all__ = [
    "ASKED",
    "REMEASURED",
    "Best",
    "Filter",
    "asked",
    "best_trial",
    "made_noise",
    "records",
    "select",
]

REMEASURED = "searched"
"""Figure of a trial that was measured again after the search: what the search had been told."""
ASKED = "asked"
"""Figure of a trial: its place in the order in which the search asked; trials are numbered as they
come back."""


@dataclass(frozen=True)
class Filter:
    """Which studies to take; None takes all."""

    kernel: str | None = None
    shape: str | None = None
    device: str | None = None
    study: int | Collection[int] | None = None

    def takes(self, study: Study) -> bool:
        """Whether a study is among them."""
        return (
            self.kernel in (None, study.info.kernel)
            and (self.shape is None or _sizes(self.shape, study) == study.info.sizes)
            and self.device in (None, study.info.device)
            and (self.study is None or study.id in _numbers(self.study))
        )

    def __str__(self) -> str:
        given = {k: v for k, v in vars(self).items() if v is not None}
        return ", ".join(f"{k}={v}" for k, v in given.items()) or "any"


def _sizes(shape: str, study: Study) -> dict[str, int | str]:
    """Returns the sizes of a text as a study of that kernel has them."""
    variants = study.info.rules.get("kernel", {}).get("variants", {})
    return without_defaults(variants, parse_sizes(shape))


def _numbers(study: int | Collection[int]) -> Collection[int]:
    return [study] if isinstance(study, int) else study


@dataclass(frozen=True)
class Best:
    """The best trial of a workload, the default's time there, and how many trials stand behind
    it.
    """

    study: Study
    trial: Trial
    default_latency_us: float | None
    trials: int


def select(store: Store, wanted: Filter) -> list[Study]:
    """Returns the studies of a filter.

    Raises:
        TunerError: There is none; the message lists what there is.
    """
    studies = store.studies()
    if not studies:
        raise TunerError(f"{store.path}: there is no study in it yet")
    found = [study for study in studies if wanted.takes(study)]
    if not found:
        there = sorted({f"{s.info.kernel} {s.info.shape} {s.info.device}" for s in studies})
        listed = "; ".join(there[:6]) or "nothing"
        raise TunerError(f"{store.path}: no study matches {wanted} (there is: {listed})")
    return found


def made_noise(study: Study) -> bool:
    """Whether noise was added to the times of a study."""
    return bool(study.info.fingerprint.get("noise"))


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Returns the fastest correct trial; of equals the first that was asked for.

    The fastest of many noisy times is too low to be compared with times that were measured again:
    the fastest of the latter wins over all whose interval does not lie below it as a whole.
    """
    return _fastest(sorted(trials, key=asked))


def asked(trial: Trial) -> tuple[int, int]:
    """Returns what puts trials in the order in which they were asked for, whenever they came back;
    of those of which that is not known, in the order of coming back.
    """
    return trial.figures.get(ASKED, trial.number), trial.number


def _fastest(trials: Sequence[Trial]) -> Trial | None:
    timed = [t for t in trials if t.status == Status.CORRECT and t.latency_us is not None]
    again = [t for t in timed if REMEASURED in t.figures]
    if again:
        to_beat_us = min(_latency_us(t) for t in again)
        new = (t for t in timed if REMEASURED not in t.figures)
        timed = [t for t in new if _highest_us(t) < to_beat_us] or again
    return min(timed, key=_latency_us, default=None)


def _latency_us(trial: Trial) -> float:
    return math.inf if trial.latency_us is None else trial.latency_us


def _highest_us(trial: Trial) -> float:
    """The end of the confidence interval of a trial's time; where it has none, it may be any."""
    return float((trial.figures.get("ci_us") or (0.0, math.inf))[1])


def records(store: Store, wanted: Filter | None = None) -> list[Best]:
    """Returns the best of every workload that the filter takes and that has a correct trial.

    Studies count together when their fingerprint is that of the workload's newest study that has a
    correct trial; one with made noise is taken only where none without has one.
    """
    by_key: dict[tuple[str, ...], list[Study]] = {}
    for study in select(store, wanted or Filter()):
        by_key.setdefault(study.info.key, []).append(study)
    found = []
    for studies in by_key.values():
        for newest in sorted(studies, key=lambda each: (made_noise(each), -each.id)):
            same = [s for s in studies if s.info.fingerprint == newest.info.fingerprint]
            best = _best_of(store, same)
            if best is not None:
                found.append(best)
                break
    return found


def _best_of(store: Store, studies: Sequence[Study]) -> Best | None:
    bests: list[tuple[Study, Trial]] = []
    default: float | None = None
    count = 0
    for study in studies:
        trials = store.trials(study.id)
        count += len(trials)
        fastest = best_trial(trials)
        for trial in trials:
            if trial.config == study.info.default:
                default = trial.latency_us
        if fastest is not None:
            bests.append((study, fastest))
    winner = _fastest([trial for _, trial in bests])
    for study, trial in bests:
        if trial is winner:
            return Best(study, trial, default, count)
    return None
