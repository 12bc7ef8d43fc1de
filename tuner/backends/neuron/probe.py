"""What of AWS's Neuron software and hardware this machine has.

Nothing of it is imported here: every package is asked for in a child process of the interpreter
that is to use it, which may be another environment's.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tuner.backends.neuron import probe_child
from tuner.backends.neuron.machine import environment
from tuner.backends.neuron.placeholders import PLACEHOLDER, numbers, placeholder
from tuner.process import Finished, run

__all__ = [
    "NEURON",
    "PRODUCT_NAME",
    "Package",
    "Probed",
    "ask",
    "family_of",
    "interpreter",
    "probe",
]

NEURON = Path("/opt/aws/neuron")
"""Where AWS's tools and runtime are installed."""
NAMES = ("nki", "neuronx-cc", "nrtpy", "spike", "libneuronxla", "nkipy")
PRODUCT_NAME = Path("/sys/devices/virtual/dmi/id/product_name")
DEADLINE_S = 120.0
TOOL_DEADLINE_S = 30.0
MAX_SAID = 300
MAX_ANSWER = 1 << 20
NOT_STARTED = 127
NO_TOOL = "neuron-ls is not installed (aws-neuronx-tools)"
FIRST_WITHOUT_BETA1 = (2, 24)
"""Of neuronx-cc: SDK 2.28 (2.23) is the last on which Beta-1 kernels are safe."""


@dataclass(frozen=True)
class Package:
    """A package that an interpreter has.

    Attributes:
        name: The distribution, e.g. "neuronx-cc".
        version: Its version; empty where the interpreter could not be asked.
        python: The interpreter.
        problem: Why it cannot be used, in one line; empty where it can.
    """

    name: str
    version: str
    python: str
    problem: str = ""

    @property
    def is_placeholder(self) -> bool:
        """Whether it is one of the public index."""
        return self.problem.startswith(PLACEHOLDER)

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        return f"{self.name}{version} of {self.python}"


@dataclass(frozen=True)
class Probed:
    """What there is; None for a package that is not installed.

    Attributes:
        nki: The compiler's front end.
        neuronx_cc: The code generator that `nki` needs.
        nrtpy: Times a compiled kernel.
        spike: Times one too; the older package of the same shape.
        beta1: `neuronxcc.nki.benchmark` of SDK 2.28 and before, by the version of neuronx-cc.
        placeholders: Placeholders of the public index under further names.
        explorer: Path of neuron-explorer, else of neuron-profile.
        cores: NeuronCores, as many as the driver counts: fewer with a larger LNC.
        cores_problem: Why there are none; empty where there are.
        family: Of the instance, e.g. "trn2"; None on other machines.
        runtime_library: Path of libnrt.
    """

    nki: Package | None
    neuronx_cc: Package | None
    nrtpy: Package | None
    spike: Package | None
    beta1: Package | None
    placeholders: tuple[Package, ...] = ()
    explorer: str | None = None
    cores: int = 0
    cores_problem: str = NO_TOOL
    family: str | None = None
    runtime_library: str | None = None


def probe(
    nki_python: str | None = None,
    nrtpy_python: str | None = None,
    beta1_python: str | None = None,
    neuron: Path | None = None,
    product_name: Path | None = None,
    lnc: int = 1,
) -> Probed:
    """Looks at the machine once a process; takes seconds where packages are installed.

    Args:
        nki_python: The interpreter with `nki`; None is this one.
        nrtpy_python: The one with `nrtpy` or `spike`; None is that with `nki`.
        beta1_python: The one with `neuronxcc.nki`; None is that with `nki`.
        neuron: Where AWS's tools are; default `NEURON`, then the PATH.
        product_name: The file that names the instance type; default `PRODUCT_NAME`.
        lnc: Physical cores of a logical one, by which cores are counted.
    """
    nki = interpreter(nki_python)
    return _probe(
        nki,
        interpreter(nrtpy_python) if nrtpy_python else nki,
        interpreter(beta1_python) if beta1_python else nki,
        neuron or NEURON,
        product_name or PRODUCT_NAME,
        lnc,
    )


def interpreter(name: str | None) -> str:
    """Returns a program as a path that holds in any folder; `name` itself where there is none."""
    found = shutil.which(name or sys.executable)
    return str(Path(found).absolute()) if found else str(name)


@cache
def _probe(nki: str, nrtpy: str, beta1: str, neuron: Path, product_name: Path, lnc: int) -> Probed:
    library = _library(neuron)
    pythons = dict.fromkeys((nki, nrtpy, beta1))
    listed = {python: _Listed(python, library=library) for python in pythons}
    compiler = listed[nki]
    others = [each.bare(name) for each in listed.values() for name in ("libneuronxla", "nkipy")]
    cores, problem = _cores(neuron, lnc)
    return Probed(
        nki=compiler.package("nki", "nki", "jit"),
        neuronx_cc=compiler.package("neuronx-cc", "neuronxcc"),
        nrtpy=listed[nrtpy].package("nrtpy", "nrtpy", "NrtpyModel"),
        spike=listed[nrtpy].package("spike", "spike", "SpikeModel"),
        beta1=_beta1(listed[beta1]),
        placeholders=tuple(p for p in others if p is not None and p.version and p.problem),
        explorer=_tool(neuron, "neuron-explorer") or _tool(neuron, "neuron-profile"),
        cores=cores,
        cores_problem=problem,
        family=family_of(product_name),
        runtime_library=library,
    )


def ask(
    python: str,
    name: str,
    module: str,
    attribute: str = "__name__",
    deadline_s: float = DEADLINE_S,
) -> Package | None:
    """Asks an interpreter for a package; None where it is not installed.

    Args:
        python: The interpreter.
        name: The distribution, e.g. "neuronx-cc".
        module: What is imported, e.g. "neuronxcc".
        attribute: What it must have to be of use.
        deadline_s: Seconds that its import may take.
    """
    return _Listed(python, (name,), _library(NEURON)).package(name, module, attribute, deadline_s)


class _Listed:
    """The packages that an interpreter has, by name; nothing is imported for that."""

    def __init__(
        self, python: str, names: Sequence[str] = NAMES, library: str | None = None
    ) -> None:
        self._python, self._library = python, library
        answer, failed = _child(python, library, ["versions", *names], DEADLINE_S)
        self._versions = answer.get("versions", {})
        self._problem = "" if "versions" in answer else f"cannot be asked: {failed}"

    def bare(self, name: str) -> Package | None:
        """Returns a package that is not tried, though known where it is a placeholder."""
        if self._problem:
            return Package(name, "", self._python, self._problem)
        if name not in self._versions:
            return None
        version = str(self._versions[name])
        return Package(name, version, self._python, placeholder(name, version))

    def package(
        self,
        name: str,
        module: str,
        attribute: str = "__name__",
        deadline_s: float = DEADLINE_S,
    ) -> Package | None:
        """Returns a package, as `ask` does."""
        bare = self.bare(name)
        if bare is None or bare.problem:
            return bare
        answer, failed = _child(
            self._python, self._library, ["import", module, attribute], deadline_s
        )
        error = " ".join(str(answer.get("error", "")).split())
        problem = placeholder(name, bare.version, error)
        if "error" not in answer:
            problem = f"its import does not return: {failed}"
        elif error and not problem:
            problem = f"cannot be imported: {error[:MAX_SAID]}"
        elif not error and not answer.get("has"):
            problem = f"has no {module}.{attribute}"
        return replace(bare, problem=problem)


def _child(
    python: str, library: str | None, words: list[str], deadline_s: float
) -> tuple[dict[str, Any], str]:
    """Returns the answer of a child of an interpreter, and how it ended where there is none."""
    with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
        folder = Path(name)
        script = folder / "probe_child.py"
        shutil.copyfile(probe_child.__file__, script)  # else its neighbours could be imported
        ended = run(
            [python, str(script), *words],
            deadline_s=deadline_s,
            folder=folder,
            environment=environment.importing(python, library),  # some load libnrt at once
        )
        answer = _answer(folder / "answer.json")
    ok = (ended.ended, ended.code) == ("exit", 0)
    return answer, "ended without an answer" if ok else _told(ended, deadline_s)


def _beta1(listed: _Listed) -> Package | None:
    found = listed.bare("neuronx-cc")
    if found is None or found.problem:
        return found
    if numbers(found.version) < FIRST_WITHOUT_BETA1:
        return listed.package("neuronx-cc", "neuronxcc.nki", "benchmark")
    last = "the last one whose neuronxcc.nki is to be relied on is 2.23 (SDK 2.28)"
    return replace(found, problem=f"too new for Beta-1 kernels: {last}")


def family_of(product_name: Path) -> str | None:
    """Returns the family of this instance, e.g. "trn2" of a trn2.48xlarge; None for no Neuron."""
    found = re.match(r"(?:trn|inf)\d+", _text(product_name))
    return found[0] if found else None


def _cores(neuron: Path, lnc: int) -> tuple[int, str]:
    """Returns the number of cores, and why there are none."""
    tool = _tool(neuron, "neuron-ls")
    if tool is None:
        return 0, NO_TOOL
    with tempfile.TemporaryDirectory(prefix="nki-tuner-") as folder:
        ended = run(
            [tool, "--json-output"],
            deadline_s=TOOL_DEADLINE_S,
            folder=Path(folder),
            environment=environment.importing(tool, _library(neuron), lnc),
        )
    if (ended.ended, ended.code) != ("exit", 0):
        return 0, f"{tool}: {_told(ended, TOOL_DEADLINE_S)}"
    try:
        devices = json.loads(ended.stdout)
        cores = sum(int(device["nc_count"]) for device in devices)
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0, f"{tool}: its output is not a list of devices with nc_count"
    return cores, "" if cores else f"{tool} lists none"


def _tool(neuron: Path, name: str) -> str | None:
    return shutil.which(name, path=str(neuron / "bin")) or shutil.which(name)


def _library(neuron: Path) -> str | None:
    paths = [neuron / "lib" / name for name in ("libnrt.so.1", "libnrt.so")]
    return next((str(path) for path in paths if path.is_file()), None)


def _text(path: Path) -> str:
    """Returns the beginning of a file; empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(MAX_ANSWER)
    except OSError:
        return ""


def _answer(path: Path) -> dict[str, Any]:
    try:
        answer = json.loads(_text(path))
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _told(ended: Finished, deadline_s: float) -> str:
    """Says in a line how a program ended, with the end of what it wrote."""
    said = " ".join(ended.stderr.split())
    tail = f": {'... ' * (len(said) > MAX_SAID)}{said[-MAX_SAID:]}" if said else ""
    if ended.ended == "timeout":
        return f"no answer within {deadline_s:g} s{tail}"
    if ended.ended == "signal":
        return f"killed by {signal_name(ended.code or 0)}{tail}"
    if ended.code == NOT_STARTED and said:
        return re.sub(r"^\w+: \[Errno \d+\] ", "", said)
    return f"exit code {ended.code}{tail}"


def signal_name(number: int) -> str:
    """Returns a signal's name, e.g. "SIGSEGV" for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
