"""Samplers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tuner.runtime.errors import unknown
from tuner.search.sampler import RowSampler
from tuner.space import SearchSpace

__all__ = ["DEFAULT", "EXHAUSTIVE", "GUIDED", "SAMPLERS", "full_name", "make_sampler"]

DEFAULT, EXHAUSTIVE = "gp", "exhaustive"


def _gp(space: SearchSpace, seed: int, **options: Any) -> RowSampler:
    from tuner.search.guided import GaussianSampler

    return GaussianSampler(space, seed, **options)


def _anneal(space: SearchSpace, seed: int, prior: object = None, **options: Any) -> RowSampler:
    from tuner.search.anneal import AnnealingSampler

    return AnnealingSampler(space, seed, **options)


def _random(space: SearchSpace, seed: int, prior: object = None, **options: Any) -> RowSampler:
    from tuner.search.sampler import RandomSampler

    return RandomSampler(space, seed, **options)


def _exhaustive(space: SearchSpace, seed: int, prior: object = None, **options: Any) -> RowSampler:
    from tuner.search.exhaustive import ExhaustiveSampler

    return ExhaustiveSampler(space, seed, **options)


SAMPLERS: Mapping[str, Callable[..., RowSampler]] = {
    "gp": _gp,
    "anneal": _anneal,
    "random": _random,
    EXHAUSTIVE: _exhaustive,
}
"""Our own samplers; those of Optuna go by the names of their classes."""

GUIDED = ("gp",)
"""Samplers that look at a prior."""


def full_name(name: str) -> str:
    """Returns a sampler's name in full: "tpe" is short for "TPESampler".

    Raises:
        TunerError: There is no such sampler.
    """
    from tuner.search.borrowed import optuna_samplers

    if name.lower() in SAMPLERS:
        return name.lower()
    theirs = {kind.lower(): kind for kind in optuna_samplers()}
    for wanted in (name.lower(), f"{name.lower()}sampler"):
        if wanted in theirs:
            return theirs[wanted]
    raise unknown("sampler", name, [*SAMPLERS, *theirs.values()])


def make_sampler(name: str, space: SearchSpace, seed: int = 0, **options: Any) -> RowSampler:
    """Returns a sampler by name: of `SAMPLERS`, or a class of `optuna.samplers`.

    Args:
        name: E.g. "gp" or "TPESampler".
        space: The valid configs.
        seed: Any whole number from 0.
        **options: `seeds`, `default` and, for "gp", `prior`: see the classes.

    Raises:
        TunerError: There is no such sampler, or it cannot be used here.
    """
    name = full_name(name)
    if name in SAMPLERS:
        return SAMPLERS[name](space, seed, **options)
    from tuner.search.borrowed import BorrowedSampler

    options.pop("prior", None)
    return BorrowedSampler(name, space, seed, **options)
