"""How kernels are compiled, and whether that runs them too.

The documented way is to call the kernel: that compiles it and runs it. What only compiles is
private and moves from release to release. Nothing here could be tried with AWS's real packages.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.backends.base import CandidateError, Stage
from tuner.backends.neuron.compiling.cache import key_of, write_whole
from tuner.backends.neuron.machine.folders import private_folder, user_folder

__all__ = ["DOCUMENTED", "HIDDEN", "PRIVATE", "TIMED_WITH", "Route", "choose_route", "stages"]

DOCUMENTED, HIDDEN = "documented", "hidden"
PRIVATE = ("framework", "ncc_driver")
TIMED_WITH = {"neuron_cores": 1.0}
"""What Ray must give a worker that runs kernels."""
_REASONS = {
    "framework": "EXPERIMENTAL: a private interface of nki that only compiles",
    "ncc_driver": "EXPERIMENTAL: a private interface of nki that only compiles",
    HIDDEN: "the documented call, which compiles here and then finds no core",
}


@dataclass(frozen=True)
class Route:
    """A way to compile.

    Attributes:
        name: "documented", "hidden" (the same, where the runtime is given no core), "framework" or
            "ncc_driver".
        runs: Whether it runs the kernel too, and so needs a core.
        reason: Why this one.
    """

    name: str
    runs: bool
    reason: str

    @property
    def pipeline(self) -> str:
        """What compiles: routes of one pipeline make the same of a kernel."""
        return DOCUMENTED if self.name == HIDDEN else self.name


def choose_route(
    cores: int,
    facts: Mapping[str, Any],
    private: Callable[[], list[str]],
    works: Callable[[str], bool | None],
    named: str | None = None,
) -> Route:
    """Decides how to compile on this machine, the one place where that is decided.

    1. Where there is no core, the documented call cannot run anything: it ends after the NEFF.
    2. With a core it would run the kernel, so that compiling would need the core as timing does.
       What only compiles is better, as it overlaps timing: each private interface that can be
       imported, then the documented call without a core, is tried on a tiny kernel.
    3. Where none of these leaves a NEFF, compiling and timing take turns on the core.

    Args:
        cores: Cores of this machine.
        facts: What the trials depend on: their outcome is kept for the next process.
        private: Lists the private interfaces that can be imported.
        works: Tries a route on a tiny kernel: whether it leaves a NEFF and runs nothing;
            None where that cannot be said.
        named: The route that the driver took: other machines take it too, else their kernels would
            be compiled otherwise.
    """
    if named in PRIVATE:
        return Route(named, False, _REASONS[named])
    if cores == 0:
        return Route(DOCUMENTED, False, "no core here: the documented call ends after the NEFF")
    if named == HIDDEN:
        return Route(HIDDEN, False, _REASONS[HIDDEN])
    if named is None:
        name = _tried(facts, private, works)
        if name in _REASONS:
            return Route(name, False, _REASONS[name])
    reason = "the documented call runs what it compiles: both take turns on the core"
    return Route(DOCUMENTED, True, reason)


def _tried(
    facts: Mapping[str, Any],
    private: Callable[[], list[str]],
    works: Callable[[str], bool | None],
) -> str:
    """Returns the first route that works, from an earlier trial where there was one."""
    kept = user_folder() / "routes" / f"{key_of(facts)}.json"
    with contextlib.suppress(OSError, ValueError):
        name = json.loads(kept.read_text(encoding="utf-8"))
        if name in (*_REASONS, DOCUMENTED):
            return str(name)
    certain = True
    for name in [*private(), HIDDEN]:
        with contextlib.suppress(CandidateError):
            found = works(name)
            certain = certain and found is not None
            if found:
                break
    else:
        name = DOCUMENTED
    if certain:
        with contextlib.suppress(OSError):
            write_whole(private_folder(kept.parent) / kept.name, json.dumps(name).encode())
    return name


def stages(route: Route) -> tuple[Stage, ...]:
    """Returns the stages of a candidate: one where compiling needs the core as well."""
    if route.runs:
        return (Stage(resources=TIMED_WITH),)
    return Stage("compile"), Stage("time", TIMED_WITH)
