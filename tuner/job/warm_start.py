"""Warm start: the best configs of nearby workloads are tried first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tuner.database import Store, Study, StudyInfo, Trial, best_trial
from tuner.runtime.rules import Config
from tuner.runtime.sizes import Sizes, dims_of, words_of
from tuner.space import SearchSpace

__all__ = ["SETTING", "Seed", "nearby", "seeds_of", "settings_of"]

SETTING = "warm_start"
SEEDS = 3


@dataclass(frozen=True)
class Seed:
    """A config to try first.

    Attributes:
        shape: The workload that it comes from, e.g. "M=1024,K=4096,N=4096".
        config: Valid for the workload that it is for.
    """

    shape: str
    config: Config


def nearby(
    store: Store,
    info: StudyInfo,
    space: SearchSpace,
    count: int = SEEDS,
    takes: Callable[[Study], bool] = lambda _: True,
) -> list[Seed]:
    """Returns the best configs of the nearest workloads that differ in their sizes only.

    A config that is not valid here becomes the nearest that is. They are distinct, and none is the
    default.

    Args:
        store: Where the other workloads' studies are.
        info: The study to start.
        space: Its search space.
        count: At most so many.
        takes: Says of which studies.
    """
    taken = np.zeros(len(space), bool)
    taken[space.default] = True
    found: list[Seed] = []
    for shape, best in _bests(store, info, takes):
        row = space.nearest(best.config)
        if not taken[row]:
            taken[row] = True
            found.append(Seed(shape, space.config(row)))
        if len(found) == count:
            break
    return found


def _bests(
    store: Store, info: StudyInfo, takes: Callable[[Study], bool]
) -> Iterable[tuple[str, Trial]]:
    """Yields the best trial of every workload that is comparable, the nearest first."""
    by_shape: dict[str, list[Study]] = {}
    for study in store.studies():
        if _same_but_sizes(study.info, info) and takes(study):
            by_shape.setdefault(study.info.shape, []).append(study)

    def away(shape: str) -> tuple[float, str]:
        return _distance(by_shape[shape][0].info.sizes, info.sizes), shape

    for shape in sorted(by_shape, key=away):
        trials = [trial for study in by_shape[shape] for trial in store.trials(study.id)]
        best = best_trial(trials)
        if best is not None:
            yield shape, best


def _same_but_sizes(other: StudyInfo, info: StudyInfo) -> bool:
    def identity(of: StudyInfo) -> tuple[Any, ...]:
        common = (of.kernel, of.dtype, of.device, of.backend, of.fingerprint)
        return (*common, set(of.sizes), words_of(of.sizes))

    return identity(other) == identity(info) and other.sizes != info.sizes


def _distance(a: Sizes, b: Sizes) -> float:
    """Euclidean, in doublings of each size."""
    theirs = dims_of(b)
    return math.hypot(*(math.log2(size / theirs[dim]) for dim, size in dims_of(a).items()))


def settings_of(seeds: Iterable[Seed]) -> dict[str, Any]:
    """Returns seeds as a study's settings keep them: resumed, it takes no others."""
    return {SETTING: [asdict(seed) for seed in seeds]}


def seeds_of(settings: Mapping[str, Any]) -> list[Seed]:
    """Returns the seeds that a study's settings keep."""
    return [Seed(**kept) for kept in settings.get(SETTING, ())]
