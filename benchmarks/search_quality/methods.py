"""What is compared: the names of methods, and which of them can be run here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.rules import Value
from tuner.space import parse_params

__all__ = ["Family", "Method", "method", "methods"]

Family = Literal["own", "optuna", "kernel_tuner", "file"]

_OWN = re.compile(r"(?P<name>\w+)(\+(?P<prior>prior|useless))?(@(?P<pending>[1-9]\d{0,3}))?")
OPTUNA = (
    "TPESampler",
    "TPESampler?encoding=categorical",
    "TPESampler?multivariate=false",
    "TPESampler?multivariate=true&group=true",
    "NSGAIISampler",
    "QMCSampler?scramble=true",  # without, it is the same for every seed
    "CmaEsSampler",
    "GPSampler",
)
NEEDS = {"CmaEsSampler": "cmaes", "GPSampler": "torch", "bayes_opt": "sklearn"}
KERNEL_TUNER = (
    "simulated_annealing",
    "adaptive_tabu_greywolf",
    "genetic_algorithm",
    "dual_annealing",
    "pso",
    "firefly_algorithm",
    "bayes_opt",
    "hybrid_vndx",
    "diff_evo",
    "greedy_ils",
    "random_sample",
)
SLOW_SEEDS = {"optuna:GPSampler": 3, "optuna:TPESampler?multivariate=false": 3}
"""Methods so slow, a minute or more a run, that a few seeds must do; by how their names begin."""


@dataclass(frozen=True)
class Method:
    """A way to search, as named on the command line.

    Attributes:
        text: Its whole name.
        family: Whose it is.
        name: Of the sampler, strategy or FILE.py:FUNCTION.
        pending: Trials asked for before the first of them is told.
        prior: `prior` has the times of another device's recording, `useless` times in random
            order.
        options: Keywords of the sampler, strategy or function.
    """

    text: str
    family: Family
    name: str
    pending: int = 1
    prior: str | None = None
    options: tuple[tuple[str, Value], ...] = ()

    @property
    def scheduled(self) -> bool:
        """Whether the method plans by its budget, and so is given what it is scored on."""
        return self.family == "kernel_tuner"

    def seeds(self, wanted: int) -> int:
        """Seeds to run it with."""
        slow = (seeds for name, seeds in SLOW_SEEDS.items() if self.text.startswith(name))
        return min(wanted, *slow, wanted)

    @property
    def missing(self) -> str | None:
        """The package that it needs and that is not installed."""
        packages = [NEEDS.get(self.name), "kernel_tuner" if self.scheduled else None]
        return next((p for p in packages if p is not None and find_spec(p) is None), None)


def method(text: str) -> Method:
    """Reads the name of one method.

    Raises:
        TunerError: The name has none of the known forms, or what it needs is not there.
    """
    found = _read(text)
    if found.family == "file" and not Path(found.name.rpartition(":")[0]).is_file():
        raise TunerError(f"method {text!r}: there is no such file")
    if found.missing is not None:
        raise TunerError(f"method {text!r} needs the package {found.missing}: not installed")
    known = _known(found)
    if known and found.name not in known:
        raise unknown(f"{found.family} method", found.name, known)
    return found


def _read(text: str) -> Method:
    name, _, query = text.partition("?")
    options = tuple(parse_params(query.split("&") if query else []).items())
    family, _, inner = name.partition(":")
    if family == "optuna":
        return Method(text, "optuna", inner, options=options)
    if family == "kernel_tuner":
        return Method(text, "kernel_tuner", inner, options=options)
    if ".py:" in name:
        return Method(text, "file", name, options=options)
    match = _OWN.fullmatch(name)
    if match is None or options:
        raise TunerError(
            f"method {text!r}: expected SAMPLER[+prior|+useless][@PENDING], optuna:SAMPLER,"
            " kernel_tuner:STRATEGY or FILE.py:FUNCTION (these three with ?OPTION=VALUE&...)"
        )
    return Method(text, "own", match["name"], int(match["pending"] or 1), match["prior"])


def _known(found: Method) -> list[str]:
    """The names of a family, as far as they can be listed."""
    if found.family == "optuna":
        import optuna

        every = optuna.samplers.__all__
        return [name for name in every if name.endswith("Sampler") and not name.startswith("Base")]
    if found.family == "kernel_tuner":
        from kernel_tuner.interface import strategy_map

        return list(strategy_map)
    return []


def methods(text: str | None) -> list[Method]:
    """Reads `a,b,c`; `own`, `optuna` and `kernel_tuner` stand for all of theirs that can run here,
    and no text for all three.
    """
    from tuner.search import SAMPLERS

    groups = {
        "own": list(SAMPLERS),
        "optuna": [f"optuna:{name}" for name in OPTUNA],
        "kernel_tuner": [f"kernel_tuner:{name}" for name in KERNEL_TUNER],
    }
    chosen: dict[str, Method] = {}
    for name in (text or ",".join(groups)).split(","):
        if name in groups:
            every = [_read(member) for member in groups[name]]
            chosen |= {found.text: found for found in every if found.missing is None}
        else:
            chosen[name] = method(name)
    if not chosen:
        raise TunerError(f"methods {text!r}: none of them can be run here")
    return list(chosen.values())
