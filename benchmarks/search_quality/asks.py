"""How long a proposal takes and how much memory that needs, with eight trials pending.

Each figure is from a process of its own that runs nothing else.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.search_quality.methods import Method, methods
from benchmarks.search_quality.recordings import read, recordings_in, synthetic
from benchmarks.search_quality.running import Task, check, run_all
from tuner.backends.recording import write_recording
from tuner.cli.common import table

__all__ = ["PENDING", "TRIALS", "measure", "show"]

COUNTS, CONFIGS = (4, 4, 3, 3, 3, 3, 4, 4, 2, 2), 18_000
"""The made-up space: values of each parameter, and configs."""
PENDING = 8
TRIALS = {300: 30, 1000: 50}
"""Trials -> milliseconds that a proposal may take on average."""
MEMORY_MB = 500


def measure(
    wanted: Sequence[Method], folder: Path | None, trials: Sequence[int] = tuple(TRIALS)
) -> dict[str, dict[int, dict[str, float]]]:
    """Returns mean milliseconds and the process's memory by method and number of trials, in the
    largest recording of the folder or else in a made-up one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            path = Path(scratch) / "synthetic.npz"
            write_recording(synthetic(COUNTS, CONFIGS, seed=0), path)
        else:
            path = max(recordings_in(folder), key=lambda p: len(read(p).space))
        for method in wanted:
            check(method, path)
        found: dict[str, dict[int, dict[str, float]]] = {}
        for method in wanted:
            for budget in trials:
                task = Task(method, path, 0, budget)
                trace = run_all([task], 1)[task]
                figures = {"ask_ms": trace.ask_ms, "memory_mb": trace.memory_mb}
                found.setdefault(method.text, {})[budget] = figures
    return found


def show(text: str | None, folder: Path | None, as_json: bool) -> None:
    """Prints the figures of the methods named in `text`, all of our own without it."""
    from tuner.search import SAMPLERS

    wanted = methods(text or ",".join(f"{name}@{PENDING}" for name in SAMPLERS))
    found: dict[str, Any] = measure(wanted, folder)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    table(
        "search time for each trial and memory of the process",
        ["method", "trials", "ms per ask", "bar", "MB", "bar"],
        [
            [
                method,
                f"{trials}",
                f"{figures['ask_ms']:.1f}",
                f"{TRIALS[trials]}",
                f"{figures['memory_mb']:.0f}",
                f"{MEMORY_MB}",
            ]
            for method, by_trials in found.items()
            for trials, figures in by_trials.items()
        ],
    )
