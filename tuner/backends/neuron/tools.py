"""What times kernels here: the first of nrtpy, spike, neuron-explorer and Beta-1 that works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tuner.backends.neuron.placeholders import numbers
from tuner.backends.neuron.probe import Package, Probed
from tuner.backends.neuron.settings import (
    AUTO,
    BETA1,
    EXPLORER,
    HOST,
    NRTPY,
    SPIKE,
    TIMINGS,
    Settings,
)
from tuner.runtime.errors import TunerError

__all__ = ["METRICS", "Tool", "check_device", "choose_tool", "tools", "usable_nki"]

METRICS = {
    "device": "device_time_us",
    "host": "host_time_us",
    "profile": "profile_time_us",
    "benchmark": "benchmark_time_us",
}
"""How a tool measures -> what its times are called: those of different names are never mixed."""
FIRST_NEW_NKI = (0, 3)
FIRST_DEVICE_TIMES = (2, 34)
"""Of nrtpy: earlier runtimes record no events to time by."""
TARGETS = ("trn1", "trn2", "trn3")
_GENERATION = {"inf2": "trn1"}
_BETA1_WAY = (
    "use AWS's SDK 2.28 and a Beta-1 kernel (--timing beta1 --beta1-python PYTHON), or --backend "
    "simulator"
)


@dataclass(frozen=True)
class Tool:
    """What times kernels.

    Attributes:
        name: "nrtpy", "spike", "explorer" or "beta1".
        program: The interpreter, or neuron-explorer's path.
        version: Its version; of neuron-explorer, which has none that is documented, its name.
        mode: A key of `METRICS`.
    """

    name: str
    program: str
    version: str
    mode: str

    @property
    def metric(self) -> str:
        """What its times are called."""
        return METRICS[self.mode]


def usable_nki(probed: Probed) -> Package:
    """Returns the compiler's front end.

    Raises:
        TunerError: It, or the code generator that it needs, is missing or of no use.
    """
    for name, package in (("nki", probed.nki), ("neuronx-cc", probed.neuronx_cc)):
        if package is None:
            raise TunerError(
                f"{name} is not installed: name an interpreter that has it (--nki-python), or use "
                "--backend simulator; `nki-tuner doctor` says what there is"
            )
        if package.problem:
            raise TunerError(_of_no_use(package))
    assert probed.nki is not None
    return probed.nki


def choose_tool(probed: Probed, settings: Settings) -> Tool:
    """Returns what to time with.

    Raises:
        TunerError: What the settings name is of no use, or nothing here is.
    """
    wanted = settings.timing.removesuffix(HOST)
    mode = "host" if settings.timing.endswith(HOST) else "device"
    names = [name for name in TIMINGS[1:5] if wanted in (AUTO, name)]
    problems = []
    for tool, problem in tools(probed, mode):
        if tool.name in names and not problem:
            return tool
        if tool.name in names:
            problems.append(problem)
    told = "; ".join(dict.fromkeys(problems))
    raise TunerError(
        f"nothing here can time kernels: {told}; `nki-tuner doctor` says what there is"
    )


def tools(probed: Probed, mode: str) -> Iterator[tuple[Tool, str]]:
    """Yields each tool with why it is of no use, best first: all but Beta-1 need a compiler."""
    uncompiled = ""
    try:
        usable_nki(probed)
    except TunerError as error:
        uncompiled = str(error)
    for name, package in ((NRTPY, probed.nrtpy), (SPIKE, probed.spike)):
        tool, problem = _tool(name, package, mode)
        if name == NRTPY and mode == "device" and not problem:
            problem = _too_old(tool)
        yield tool, problem or uncompiled
    missing = "" if probed.explorer else "neuron-explorer is not installed"
    path = probed.explorer or ""
    yield Tool(EXPLORER, path, path.rpartition("/")[2], "profile"), missing or uncompiled
    yield _tool(BETA1, probed.beta1, "benchmark")


def _tool(name: str, package: Package | None, mode: str) -> tuple[Tool, str]:
    if package is None:
        return Tool(name, "", "", mode), f"{name} is not installed"
    problem = _of_no_use(package) if package.problem else ""
    return Tool(name, package.python, package.version, mode), problem


def _too_old(nrtpy: Tool) -> str:
    if numbers(nrtpy.version) >= FIRST_DEVICE_TIMES:
        return ""
    return (
        f"nrtpy {nrtpy.version} cannot take the device's times: 2.34 is the first "
        f"(--timing {NRTPY}{HOST} asks for the host's)"
    )


def _of_no_use(package: Package) -> str:
    return f"{package}: {package.problem}"


def check_device(probed: Probed, tool: Tool, target: str) -> None:
    """Refuses kernels for a device that the compiler does not serve or that is not this one.

    Args:
        probed: What there is.
        tool: What times.
        target: "trn1", "trn2" or "trn3".

    Raises:
        TunerError: Says what to do instead.
    """
    here = _GENERATION.get(probed.family or "", probed.family)
    if here not in (None, *TARGETS):
        raise TunerError(f"this machine is {probed.family}, which NKI does not serve")
    if here is not None and here != target:
        raise TunerError(
            f"device {target}: this machine is {probed.family}: name that device (inf2 is trn1), "
            "or use --backend simulator"
        )
    if tool.name == BETA1:
        return
    nki = usable_nki(probed)
    if target == "trn1" and numbers(nki.version) >= FIRST_NEW_NKI:
        raise TunerError(
            f"device trn1: nki {nki.version} does not support trn1 and inf2 on hardware (0.2.0 was "
            f"the last to): {_BETA1_WAY}"
        )
