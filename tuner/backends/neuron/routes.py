"""The ways to time a compiled kernel on this machine, and what stands in the way of each."""

from __future__ import annotations

from tuner.backends.neuron.placeholders import numbers
from tuner.backends.neuron.probe import Package, Probed
from tuner.runtime.errors import TunerError, unknown

__all__ = ["TIMINGS", "choose_route", "mismatch", "routes"]

TIMINGS = ("nrtpy", "spike", "explorer", "beta1")
"""The best first."""

_FAMILIES = {
    "NeuronCore-v2": ("trn1", "inf2"),
    "NeuronCore-v3": ("trn2",),
    "NeuronCore-v4": ("trn3",),
}
_FIRST_GENERATION = ("trn1", "inf2")
FIRST_WITHOUT_GEN2 = (0, 3)


def routes(probed: Probed) -> dict[str, str]:
    """Returns the ways to time a kernel and why each cannot be taken; empty for one that can."""
    cores = "" if probed.cores else f"no NeuronCore: {probed.cores_problem}"
    compiler = (
        _no_package(probed.nki, "nki", "--nki-python")
        or _no_package(probed.neuronx_cc, "neuronx-cc", "--nki-python")
        or _too_old(probed)
    )
    needs = {
        "nrtpy": compiler or _no_package(probed.nrtpy, "nrtpy", "--nrtpy-python"),
        "spike": compiler or _no_package(probed.spike, "spike", "--nrtpy-python"),
        "explorer": compiler or ("" if probed.explorer else _NO_EXPLORER),
        "beta1": _no_package(probed.beta1, "neuronx-cc", "--beta1-python"),
    }
    return {name: needs[name] or cores for name in TIMINGS}


def choose_route(probed: Probed, wanted: str | None = None) -> str:
    """Returns the way to time kernels that was asked for, or the best one.

    Raises:
        TunerError: There is no such way, or it cannot be taken here.
    """
    if wanted is not None and wanted not in TIMINGS:
        raise unknown("timing", wanted, TIMINGS)
    why_not = routes(probed)
    if wanted is not None:
        if why_not[wanted]:
            raise TunerError(f"timing {wanted} cannot be used: {why_not[wanted]}")
        return wanted
    for name, problem in why_not.items():
        if not problem:
            return name
    raise TunerError(f"nothing can be timed here: {why_not[TIMINGS[0]]}")


def mismatch(device: str, core: str, probed: Probed) -> str:
    """Says that kernels for a device are none for this machine; empty where they are.

    Args:
        device: Its name.
        core: Its kind of core, e.g. "NeuronCore-v3".
        probed: What the machine has; where its family is not known, nothing can be said.
    """
    family = probed.family
    if family is None or family in _FAMILIES.get(core, ()):
        return ""
    named = next((families[0] for families in _FAMILIES.values() if family in families), None)
    hint = f": use --device {named}" if named else ""
    return f"device {device} does not agree with this machine, of family {family}{hint}"


_NO_EXPLORER = (
    "neither neuron-explorer nor neuron-profile is installed: install aws-neuronx-tools, or add "
    "their folder to PATH"
)


def _no_package(package: Package | None, name: str, option: str) -> str:
    if package is None:
        return f"{name} is not installed: name an interpreter that has it with {option}"
    return f"{package}: {package.problem}" if package.problem else ""


def _too_old(probed: Probed) -> str:
    """The compiler's refusal of first-generation machines."""
    nki = probed.nki
    if probed.family not in _FIRST_GENERATION or nki is None:
        return ""
    if numbers(nki.version) < FIRST_WITHOUT_GEN2:
        return ""
    return (
        f"nki {nki.version} does not support {probed.family}: 0.3 and later are for trn2 and trn3; "
        "use SDK 2.28 with a Beta-1 kernel (--beta1-python), or the backend simulator"
    )
