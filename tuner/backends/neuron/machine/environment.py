"""Environment variables of the programs that compile and run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["CORES", "RECORDED", "compiling", "recorded", "running"]

CORES = "NEURON_RT_VISIBLE_CORES"
TARGET = "NEURON_PLATFORM_TARGET_OVERRIDE"
LNC = "NEURON_LOGICAL_NC_CONFIG"
LIBRARIES = "/opt/aws/neuron/lib"
TOOLS = "/opt/aws/neuron/bin"
RECORDED = (
    "NEURON_CC_FLAGS",
    "NEURON_RT_ALLOW_LEGACY_NEFF",
    "NEURON_RT_ENABLE_DGE_NOTIFICATIONS",
    "NEURON_RT_ENABLE_OCP",
    "NEURON_RT_ENABLE_OCP_SATURATION",
    "NEURON_RT_EXEC_TIMEOUT",
    "NEURON_RT_LOG_LEVEL",
    "NKI_DEBUG_INFO",
    "NKI_DMA_TRANSPOSE_AS_PE_TRANSPOSE",
    "NKI_PRECISE_FP",
)
"""What a user may set for the compiler and the runtime: passed through, and told beside the times.
"""
_DROPPED = ("NKI_SIMULATOR", "NKI_ARTIFACTS_DIR", "NEURON_RT_NUM_CORES", CORES)


def recorded() -> dict[str, str]:
    """Returns those variables of `RECORDED` that are set."""
    return {name: os.environ[name] for name in RECORDED if name in os.environ}


def compiling(
    python: str, folder: Path, target: str, lnc: int, cores: str | None, library: str | None
) -> dict[str, str]:
    """Returns the environment of a compile.

    Args:
        python: The interpreter: the compiler's programs are beside it.
        folder: Where the NEFF is left.
        target: "trn1", "trn2" or "trn3".
        lnc: Physical cores of a logical one.
        cores: The core where compiling runs the kernel too; None where nothing may be run.
        library: Path of the runtime's library.
    """
    return {
        **_common(python, lnc, library),
        TARGET: target,
        "NKI_ARTIFACTS_DIR": str(folder),
        **({} if cores is None else {CORES: cores}),
    }


def running(python: str, lnc: int, cores: str, library: str | None) -> dict[str, str]:
    """Returns the environment of a program that runs on a core."""
    return {**_common(python, lnc, library), CORES: cores}


def _common(python: str, lnc: int, library: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    libraries = str(Path(library).parent) if library else LIBRARIES
    beside = [str(Path(python).parent)] if os.sep in python else []
    return {
        **kept,
        LNC: str(lnc),
        "LD_LIBRARY_PATH": _joined([libraries], kept, "LD_LIBRARY_PATH", []),
        "PATH": _joined(beside, kept, "PATH", [TOOLS]),
    }


def _joined(before: list[str], variables: Mapping[str, str], name: str, after: list[str]) -> str:
    there = [path for path in variables.get(name, "").split(os.pathsep) if path]
    return os.pathsep.join(dict.fromkeys([*before, *there, *after]))
