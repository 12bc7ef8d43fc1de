"""Samplers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tuner.runtime.errors import unknown
from tuner.search.sampler import RowSampler
from tuner.space import SearchSpace

__all__ = ["DEFAULT", "SAMPLERS", "UNGUIDED", "check_sampler", "make_sampler"]

DEFAULT = "gp"


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
    "exhaustive": _exhaustive,
}
"""Our own samplers; those of Optuna go by the names of their classes."""

UNGUIDED = ("anneal", "random", "exhaustive")
"""Samplers that take no prior; nor do Optuna's."""


def check_sampler(name: str) -> None:
    """Raises TunerError where there is no sampler of this name."""
    from tuner.search.borrowed import optuna_samplers

    if name not in SAMPLERS and name not in optuna_samplers():
        raise unknown("sampler", name, [*SAMPLERS, *optuna_samplers()])


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
    check_sampler(name)
    if name in SAMPLERS:
        return SAMPLERS[name](space, seed, **options)
    from tuner.search.borrowed import BorrowedSampler

    options.pop("prior", None)
    return BorrowedSampler(name, space, seed, **options)
