"""The neuron backend's options, as a problem carries them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.backends.neuron.machine import environment
from tuner.runtime.errors import TunerError, unknown

__all__ = ["AUTO", "BETA1", "EXPLORER", "HOST", "NRTPY", "SPIKE", "TIMINGS", "Settings"]

AUTO, NRTPY, SPIKE, EXPLORER, BETA1 = "auto", "nrtpy", "spike", "explorer", "beta1"
HOST = "-host"
TIMINGS = (AUTO, NRTPY, SPIKE, EXPLORER, BETA1, NRTPY + HOST, SPIKE + HOST)
"""How kernels are timed; those that end in "-host" by the host's clock instead of the device's."""
GIB = 1 << 30


@dataclass(frozen=True)
class Settings:
    """How kernels are compiled and timed.

    Attributes:
        nki_python: The interpreter with `nki`.
        nrtpy_python: The one with `nrtpy` or `spike`; None is that with `nki`.
        beta1_python: The one with `neuronxcc.nki`; None is that with `nki`.
        timing: One of `TIMINGS`.
        lnc: Physical cores of a logical one.
        exclusive_hbm: Keep the core idle that shares the HBM.
        warmup: Calls before those that are timed.
        iterations: Calls that are timed; their median is one sample.
        compile_s: Seconds that compiling may take.
        run_s: Seconds that running may take.
        memory_bytes: Of the host, for one child and its children.
        neff_cache: Folder of compiled kernels, "none" for none; None is the user's.
        versions: What the driver found installed: workers refuse to run anything else.
        variables: What is set for AWS's programs, wherever they run; those of this process unless
            the driver says which.
    """

    nki_python: str
    nrtpy_python: str | None
    beta1_python: str | None
    timing: str
    lnc: int
    exclusive_hbm: bool
    warmup: int
    iterations: int
    compile_s: float
    run_s: float
    memory_bytes: int | None
    neff_cache: str | None
    versions: Mapping[str, str] | None
    variables: Mapping[str, str]

    @property
    def wait_s(self) -> float:
        """Seconds to wait for a core: whoever has it may compile there and run."""
        return self.compile_s + self.run_s

    @staticmethod
    def of(options: Mapping[str, Any]) -> Settings:
        """Reads a problem's options; None stands for a default.

        Raises:
            TunerError: One of them is none that there is.
        """
        timing = str(_given(options, "timing", AUTO))
        if timing not in TIMINGS:
            raise unknown("choice of timing", timing, TIMINGS)
        memory_gb = _given(options, "memory_gb", None)
        return Settings(
            nki_python=str(_given(options, "nki_python", sys.executable)),
            nrtpy_python=_given(options, "nrtpy_python", None),
            beta1_python=_given(options, "beta1_python", None),
            timing=timing,
            lnc=_count(options, "lnc", 1, 1, 2),
            exclusive_hbm=bool(_given(options, "exclusive_hbm", False)),
            warmup=_count(options, "warmup", 10, 0, 1_000_000),
            iterations=_count(options, "iterations", 100, 1, 1_000_000),
            compile_s=_seconds(options, "compile_timeout_s", 600.0),
            run_s=_seconds(options, "timeout_s", 300.0),
            memory_bytes=None if memory_gb is None else int(float(memory_gb) * GIB),
            neff_cache=_given(options, "neff_cache", None),
            versions=_given(options, "versions", None),
            variables=dict(_given(options, "variables", environment.recorded())),
        )


def _given(options: Mapping[str, Any], name: str, default: Any) -> Any:
    value = options.get(name)
    return default if value is None else value


def _count(options: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = _given(options, name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise TunerError(f"{name}={value!r}: expected a whole number from {least} to {most}")
    return value


def _seconds(options: Mapping[str, Any], name: str, default: float) -> float:
    value = _given(options, name, default)
    if not isinstance(value, int | float) or not value > 0:
        raise TunerError(f"{name}={value!r}: expected a number of seconds above 0")
    return float(value)
