"""Says what of AWS's Neuron is there, what is missing, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuner.backends.neuron.placeholders import INDEX, numbers
from tuner.backends.neuron.probe import Package, Probed
from tuner.backends.neuron.releases import mixed, sdk_of
from tuner.backends.neuron.settings import BETA1
from tuner.backends.neuron.tools import FIRST_DEVICE_TIMES, Tool, check_device, tools
from tuner.runtime.errors import TunerError

__all__ = ["BROKEN", "MISSING", "NOTE", "OK", "Finding", "neuron_findings", "usable_timings"]

OK, NOTE, MISSING, BROKEN = "ok", "note", "missing", "broken"
SUPPORTED = ((0, 4), (0, 7))
"""Of nki, the first version that this was written for and the first that it was not."""

_PIP = f"--extra-index-url {INDEX}"
_MENDS = {
    "nki": f"pip install 'nki>=0.4,<0.7' {_PIP}, in an environment for --nki-python",
    "neuronx-cc": f"pip install 'neuronx-cc>=2.25,<3' {_PIP}, in the environment of nki",
    "nrtpy": f"pip install 'nrtpy>=2.34' {_PIP}, in another environment, for --nrtpy-python: "
    "nki and nrtpy of SDK 2.32 cannot share one",
    "spike": "only without nrtpy: install it from its sources, in the environment of nrtpy",
    "beta1": f"only for SDK 2.28 and before: pip install 'neuronx-cc==2.23.*' {_PIP}, in an "
    "environment for --beta1-python",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: What it belongs to, e.g. "Neuron".
        name: What was looked at.
        state: "ok", "note" (may be as it should), "missing" or "broken".
        told: What was found, in one line.
        mend: What to do about it; may be empty.
    """

    topic: str
    name: str
    state: str
    told: str
    mend: str = ""


def neuron_findings(probed: Probed) -> list[Finding]:
    """Says what a machine has, the hardware first."""
    return [*_machine(probed), *_packages(probed), *_versions(probed), *_timings(probed)]


def usable_timings(probed: Probed) -> list[str]:
    """Returns the ways to time kernels that can be used, the best first."""
    return [tool.name for tool, why_not in _judged(probed) if not why_not]


def _machine(probed: Probed) -> Iterator[Finding]:
    topic = "Neuron machine"
    if probed.family is None:
        mend = "measured times need a Trn2 or Trn3 instance; the simulator needs none"
        yield Finding(topic, "instance", MISSING, "not a Trainium or Inferentia instance", mend)
    else:
        yield Finding(topic, "instance", OK, f"of family {probed.family}")
    if probed.cores:
        count = f"{probed.cores} (neuron-ls; logical ones, where LNC is larger than 1)"
        yield Finding(topic, "NeuronCores", OK, count)
    else:
        mend = "install aws-neuronx-dkms (the driver) and aws-neuronx-tools"
        yield Finding(topic, "NeuronCores", MISSING, probed.cores_problem, mend)
    if probed.runtime_library:
        yield Finding(topic, "runtime", OK, probed.runtime_library)
    else:
        mend = "install aws-neuronx-runtime-lib"
        yield Finding(topic, "runtime", MISSING, "no libnrt in /opt/aws/neuron/lib", mend)
    if probed.explorer:
        yield Finding(topic, "profiler", OK, probed.explorer)
    else:
        told = "neither neuron-explorer nor neuron-profile"
        yield Finding(topic, "profiler", MISSING, told, "install aws-neuronx-tools")


def _packages(probed: Probed) -> Iterator[Finding]:
    named = {
        "nki": probed.nki,
        "neuronx-cc": probed.neuronx_cc,
        "nrtpy": probed.nrtpy,
        "spike": probed.spike,
        "beta1": probed.beta1,
    }
    for name, package in named.items():
        yield _package(name, package)
    for package in probed.placeholders:
        yield _package(package.name, package)


def _package(name: str, package: Package | None) -> Finding:
    topic, shown = "Neuron packages", "neuronxcc.nki" if name == BETA1 else name
    if package is None:
        return Finding(topic, shown, MISSING, "not installed", _MENDS.get(name, ""))
    if package.is_placeholder:
        mend = f"{package.python} -m pip uninstall {package.name}"
        return Finding(topic, shown, BROKEN, f"{package}: {package.problem}", mend)
    if package.problem:
        return Finding(topic, shown, BROKEN, f"{package}: {package.problem}", _MENDS.get(name, ""))
    sdk = sdk_of(package.name, package.version)
    release = f"SDK {sdk}" if sdk else "of no SDK release that is known here"
    return Finding(topic, shown, OK, f"{package.version} ({release}) of {package.python}")


def _versions(probed: Probed) -> Iterator[Finding]:
    topic = "Neuron versions"
    found = [p for p in (probed.nki, probed.neuronx_cc, probed.nrtpy) if p and not p.problem]
    versions = {package.name: package.version for package in found}
    if len(versions) > 1:
        told = mixed(versions)
        mend = "install those of one release in both environments" if told else ""
        unknown = [f"{name} {v}" for name, v in versions.items() if sdk_of(name, v) is None]
        if unknown and not told:
            told = f"of no release that is known here: {', '.join(unknown)}"
        state = NOTE if told else OK
        yield Finding(topic, "belong together", state, told or "of one SDK release", mend)
    if "nki" in versions and not SUPPORTED[0] <= numbers(versions["nki"]) < SUPPORTED[1]:
        told = f"nki {versions['nki']}; this was written for nki 0.4 to 0.6"
        yield Finding(topic, "supported", NOTE, told)
    if "nrtpy" in versions and numbers(versions["nrtpy"]) < FIRST_DEVICE_TIMES:
        told = f"nrtpy {versions['nrtpy']} cannot take the device's times: 2.34 is the first"
        yield Finding(topic, "device times", BROKEN, told, "install SDK 2.32 or later")


def _timings(probed: Probed) -> Iterator[Finding]:
    for tool, why_not in _judged(probed):
        told = why_not or f"can be used (--timing {tool.name})"
        yield Finding("Neuron timing", tool.name, MISSING if why_not else OK, told)


def _judged(probed: Probed) -> Iterator[tuple[Tool, str]]:
    """Yields each way to time kernels with why it cannot be used."""
    family = probed.family or "trn2"
    for tool, problem in tools(probed, "device"):
        why_not = problem or _no_machine(probed)
        try:
            if not problem:
                check_device(probed, tool, "trn1" if family == "inf2" else family)
        except TunerError as error:
            why_not = str(error)
        yield tool, why_not


def _no_machine(probed: Probed) -> str:
    if not probed.cores:
        return f"no NeuronCore: {probed.cores_problem}"
    return "" if probed.runtime_library else "no libnrt in /opt/aws/neuron/lib"
