"""Runs and times NEFFs with nrtpy or spike: a fresh process for each, which holds one core."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tuner.backends.base import CandidateError, Status
from tuner.backends.checking import random_values
from tuner.backends.child_tools import per_call, spread
from tuner.backends.children import ask, dtype_named, load_arrays, save_arrays
from tuner.backends.neuron.compiling.artifact import Artifact
from tuner.backends.neuron.failures import MEASURE, VERIFY, failure
from tuner.backends.neuron.machine import environment
from tuner.backends.neuron.machine.cores import Cores
from tuner.backends.neuron.settings import HOST, Settings
from tuner.backends.neuron.tools import Tool
from tuner.nki.tensors.tensor import Values

__all__ = ["Runtime", "percentile", "sample_figures"]

SCRIPT = Path(__file__).with_name("nrtpy_child.py")
STEADY = 0.01
"""Spread of a benchmark's durations, as a share of the shortest, that needs no repetition."""
MOST_RUNS = 3
MAX_KEPT = 1000
"""Durations that are told beside a time."""


@dataclass(frozen=True)
class Runtime:
    """nrtpy or spike.

    Attributes:
        tool: Which.
        settings: The options.
        cores: Where it may run.
        library: Path of the runtime's library.
    """

    tool: Tool
    settings: Settings
    cores: Cores
    library: str | None

    def time(self, artifact: Artifact) -> tuple[float, dict[str, Any]]:
        """Times a kernel on random numbers.

        Returns:
            The median of its durations in microseconds, and figures: their percentiles, all of
            them up to `MAX_KEPT`, and how they came about.

        Raises:
            CandidateError: It fails or cannot be timed.
        """
        benchmark = {
            "mode": self.tool.mode,
            "warmup": self.settings.warmup,
            "iterations": self.settings.iterations,
            "steady": STEADY,
            "most_runs": MOST_RUNS,
        }
        values = random_values(artifact.tensors)
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
            answer, core = self._ask(
                Path(name), artifact, values, {"what": "time", **benchmark}, MEASURE
            )
        if "no_events" in answer:
            raise CandidateError(
                Status.RUNTIME,
                f"no device timestamps ({answer['no_events']}): times by the host's clock are not "
                f"comparable with others, ask for them with timing {self.tool.name}{HOST}",
            )
        try:
            return sample_figures(answer["runs"], self.settings, self.tool.metric, core)
        except (KeyError, TypeError, ValueError) as error:
            raise CandidateError(Status.RUNTIME, f"{self.tool.name}: {error}") from None

    def run(
        self, artifact: Artifact, values: Mapping[str, Values]
    ) -> list[tuple[str, npt.NDArray[Any]]]:
        """Runs a kernel once.

        Returns:
            (dtype, array) of each output, as the runtime gives them: a dtype may be void.

        Raises:
            CandidateError: It fails.
        """
        with tempfile.TemporaryDirectory(prefix="nki-tuner-") as name:
            answer, _ = self._ask(Path(name), artifact, values, {"what": "run"}, VERIFY)
            dtypes = [str(dtype) for dtype in answer.get("dtypes", [])]
            try:
                arrays = load_arrays(Path(name, "outputs.npz"), len(dtypes))
            except ValueError as error:
                raise CandidateError(Status.RUNTIME, str(error)) from None
        return list(zip(dtypes, arrays, strict=True))

    def _ask(
        self,
        folder: Path,
        artifact: Artifact,
        values: Mapping[str, Values],
        job: Mapping[str, Any],
        phase: str,
    ) -> tuple[dict[str, Any], int]:
        """Returns what the child answers, and the core that it had."""
        dtypes = {argument.name: argument.dtype for argument in artifact.tensors}
        arrays = {name: values[name].astype(dtype_named(d)) for name, d in dtypes.items()}
        save_arrays(folder / "inputs.npz", arrays)
        (folder / "kernel.neff").write_bytes(artifact.neff)
        limits = {"deadline_s": self.settings.run_s, "memory_bytes": self.settings.memory_bytes}
        with self.cores.held() as core:
            finished, answer = ask(
                [self.tool.program],
                SCRIPT,
                folder,
                {"package": self.tool.name, "dtypes": dtypes, **job},
                environment=environment.running(
                    self.settings, self.tool.program, str(core), self.library
                ),
                **limits,  # type: ignore[arg-type]
            )
        ended_well = (finished.ended, finished.code) == ("exit", 0)
        if answer is None or not ended_well or "failed" in answer:
            raise failure(phase, finished, answer, **limits)  # type: ignore[arg-type]
        return answer, core


def sample_figures(
    runs: Sequence[Mapping[str, Any]], settings: Settings, metric: str, core: int
) -> tuple[float, dict[str, Any]]:
    """Returns one sample, the median of the steadiest run, in microseconds, and its figures.

    Args:
        runs: Each with `durations_ms`, as the runtime told them.
        settings: How many calls were asked for.
        metric: What the times are called.
        core: Where they were taken.

    Raises:
        ValueError: The durations are none of so many calls.
    """
    calls = [per_call(run["durations_ms"], settings.iterations) for run in runs]
    steadiest = min(calls, key=spread)
    durations_us = sorted(1000 * each for each in steadiest)
    median_us = statistics.median(durations_us)
    if not median_us > 0:
        raise ValueError(f"a duration of {median_us} us")
    events = len(runs[calls.index(steadiest)]["durations_ms"]) // settings.iterations
    return median_us, {
        "metric": metric,
        "p50_us": percentile(durations_us, 0.5),
        "p90_us": percentile(durations_us, 0.9),
        "p99_us": percentile(durations_us, 0.99),
        "min_us": durations_us[0],
        "max_us": durations_us[-1],
        "run_spread": round(spread(steadiest), 6),
        "runs": len(runs),
        "iterations": len(steadiest),
        "events_per_call": events,
        "summed": events > 1,
        "durations_us": [round(1000 * each, 4) for each in steadiest[:MAX_KEPT]],
        "core": core,
    }


def percentile(ranked: Sequence[float], share: float) -> float:
    """Returns the smallest of sorted numbers that at least this share of them do not exceed."""
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
