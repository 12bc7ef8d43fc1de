"""Times NEFFs with `neuron-explorer`, or `neuron-profile`, its older name: no nrtpy is needed.

It gives no outputs, so that numbers cannot be checked with it. The schema of its summary is not
guaranteed: only `total_time`, in seconds, is taken from it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.backends.base import CandidateError, Status
from tuner.backends.checking import random_values
from tuner.backends.children import dtype_named
from tuner.backends.neuron.compiling.artifact import Artifact
from tuner.backends.neuron.failures import MEASURE, failure
from tuner.backends.neuron.machine import environment
from tuner.backends.neuron.machine.cores import Cores
from tuner.backends.neuron.settings import Settings
from tuner.backends.neuron.tools import Tool
from tuner.process import Finished, run

__all__ = ["Explorer", "total_times_s"]

NTH = 2
"""The execution that is profiled: the first one warms up."""
MAX_DEPTH = 8


@dataclass(frozen=True)
class Explorer:
    """neuron-explorer.

    Attributes:
        tool: Its path.
        settings: The options.
        cores: Where it may run.
        library: Path of the runtime's library.
    """

    tool: Tool
    settings: Settings
    cores: Cores
    library: str | None

    def time(self, artifact: Artifact) -> tuple[float, dict[str, Any]]:
        """Profiles one run on random numbers; returns its microseconds and figures.

        Raises:
            CandidateError: It fails, or tells no time.
        """
        values = random_values(artifact.tensors)
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
            folder = Path(name)
            (folder / "kernel.neff").write_bytes(artifact.neff)
            inputs = []
            for each in artifact.tensors:
                array = values[each.name].astype(dtype_named(each.dtype))
                np.save(folder / f"{each.name}.npy", array.view(_storable(array.dtype)))
                inputs += [each.name, f"{each.name}.npy"]
            with self.cores.held() as core:
                which = ["-n", "kernel.neff", "-s"]
                nth = ["--num-exec", str(NTH), "--profile-nth-exec", str(NTH)]
                self._do(folder, core, "capture", *which, "profile.ntff", *nth, *inputs)
                profile = next(iter(sorted(folder.glob("profile*.ntff"))), None)
                if profile is None:
                    raise CandidateError(Status.RUNTIME, "neuron-explorer left no profile")
                words = [*which, profile.name, "--output-format", "summary-json"]
                viewed = self._do(folder, core, "view", *words)
        times_s = total_times_s(viewed.stdout)
        if len(times_s) != 1 or not times_s[0] > 0:
            told = f"{len(times_s)} of them" if len(times_s) != 1 else f"{times_s[0]} s"
            raise CandidateError(
                Status.RUNTIME, f"neuron-explorer's summary has no single total_time ({told})"
            )
        return 1e6 * times_s[0], {"metric": self.tool.metric, "core": core, "execution": NTH}

    def _do(self, folder: Path, core: int, *words: str) -> Finished:
        variables = environment.running(self.settings, self.tool.program, str(core), self.library)
        limits: Mapping[str, Any] = {
            "deadline_s": self.settings.run_s,
            "memory_bytes": self.settings.memory_bytes,
        }
        finished = run([self.tool.program, *words], folder=folder, environment=variables, **limits)
        if (finished.ended, finished.code) != ("exit", 0):
            raise failure(MEASURE, finished, None, **limits)
        return finished


def _storable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.isbuiltin == 1 else np.dtype(f"u{dtype.itemsize}")


def total_times_s(summary: str) -> list[float]:
    """Returns every `total_time` of a summary in JSON, wherever it is."""
    try:
        return list(_found(json.loads(summary), MAX_DEPTH))
    except (ValueError, RecursionError):
        return []


def _found(part: Any, depth: int) -> Iterator[float]:
    if depth and isinstance(part, dict):
        time_s = part.get("total_time")
        if isinstance(time_s, int | float) and not isinstance(time_s, bool):
            yield float(time_s)
        for inner in part.values():
            yield from _found(inner, depth - 1)
    elif depth and isinstance(part, list):
        for inner in part:
            yield from _found(inner, depth - 1)
