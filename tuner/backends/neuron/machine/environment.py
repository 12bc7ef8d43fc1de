"""Environment variables of the programs that compile and run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.backends.neuron.settings import Settings

__all__ = ["CORES", "compiling", "importing", "recorded", "running"]

CORES = "NEURON_RT_VISIBLE_CORES"
TARGET = "NEURON_PLATFORM_TARGET_OVERRIDE"
LNC = "NEURON_LOGICAL_NC_CONFIG"
LIBRARIES = "/opt/aws/neuron/lib"
TOOLS = "/opt/aws/neuron/bin"
_DECIDED = ("NKI_SIMULATOR", "NKI_ARTIFACTS_DIR", "NEURON_RT_NUM_CORES", CORES, TARGET, LNC)
_PREFIXES, _OURS = ("NEURON_", "NKI_"), "NKI_TUNER_"


def recorded() -> dict[str, str]:
    """Returns what is set for the compiler and the runtime and is not decided here: all of it is
    passed through, and told beside the times.
    """
    names = sorted(name for name in os.environ if _is_theirs(name) and name not in _DECIDED)
    return {name: os.environ[name] for name in names}


def compiling(
    settings: Settings,
    python: str,
    folder: Path,
    target: str,
    cores: str | None,
    library: str | None,
) -> dict[str, str]:
    """Returns the environment of a compile.

    Args:
        settings: The options.
        python: The interpreter: the compiler's programs are beside it.
        folder: Where the NEFF is left.
        target: "trn1", "trn2" or "trn3".
        cores: The core where compiling runs the kernel too; None where nothing may be run.
        library: Path of the runtime's library.
    """
    return {
        **_common(python, settings.lnc, library, settings.variables),
        TARGET: target,
        "NKI_ARTIFACTS_DIR": str(folder),
        **({} if cores is None else {CORES: cores}),
    }


def running(settings: Settings, python: str, cores: str, library: str | None) -> dict[str, str]:
    """Returns the environment of a program that runs on a core."""
    return {**_common(python, settings.lnc, library, settings.variables), CORES: cores}


def importing(python: str, library: str | None, lnc: int = 1) -> dict[str, str]:
    """Returns the environment of a program that only looks at what there is."""
    return _common(python, lnc, library, recorded())


def _common(
    python: str, lnc: int, library: str | None, variables: Mapping[str, str]
) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _is_theirs(name)}
    libraries = str(Path(library).parent) if library else LIBRARIES
    beside = [str(Path(python).parent)] if os.sep in python else []
    return {
        **kept,
        **variables,
        LNC: str(lnc),
        "LD_LIBRARY_PATH": _joined([libraries], kept, "LD_LIBRARY_PATH", []),
        "PATH": _joined(beside, kept, "PATH", [TOOLS]),
    }


def _is_theirs(name: str) -> bool:
    return name.startswith(_PREFIXES) and not name.startswith(_OURS)


def _joined(before: list[str], variables: Mapping[str, str], name: str, after: list[str]) -> str:
    there = [path for path in variables.get(name, "").split(os.pathsep) if path]
    return os.pathsep.join(dict.fromkeys([*before, *there, *after]))
