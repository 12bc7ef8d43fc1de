"""Small recordings, and the files of others that hold such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tuner.backends import Status
from tuner.backends.recording import Recording, read_recording
from tuner.backends.recording.values import parameters_of
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Value
from tuner.space import INACTIVE, SearchSpace

VALUES: dict[str, tuple[Value, ...]] = {
    "columns": (64, 128, 256, 512),
    "engine": ("vector", "gpsimd"),
    "unroll": (False, True),
}

SHIPPED = Path(__file__).resolve().parents[2] / "benchmarks" / "recorded"


def recording(**changes: Any) -> Recording:
    """All configs of `VALUES`, but that the engine is chosen above 64 columns only; the wider the
    faster, and gpsimd with 512 columns fails in two ways.
    """
    rows = [
        (c, e if c else INACTIVE, u) for c in range(4) for e in range(2 if c else 1) for u in (0, 1)
    ]
    space = SearchSpace.of_rows(parameters_of(VALUES), rows)
    configs = [space.config(row) for row in range(len(space))]
    time_us = np.array([10_240 / int(c["columns"]) + 3 * bool(c["unroll"]) for c in configs])
    fails = np.array([c.get("engine") == "gpsimd" and c["columns"] == 512 for c in configs])
    time_us[fails] = np.inf
    words = {False: Status.COMPILE, True: Status.TIMEOUT}
    status = [
        words[bool(c["unroll"])] if fail else Status.CORRECT
        for c, fail in zip(configs, fails, strict=True)
    ]
    parts: dict[str, Any] = {
        "name": "double",
        "space": space,
        "time_us": time_us,
        "spread_us": np.where(fails, np.nan, 0.25),
        "status": tuple(status),
        "kind": "measured",
        "device": "a device",
        "kernel": "double",
        "cost_s": np.arange(1.0, len(space) + 1),
        "meta": {"problem_size": "M=256,N=512"},
        "reasons": tuple("no memory" if fail else "" for fail in fails),
    }
    return Recording(**{**parts, **changes})


def t4() -> dict[str, Any]:
    """T4 results as Kernel Tuner 1.5 writes them: three configs, of which one failed."""
    results = []
    for block, tile, time in ((64, 1, 2.5), (32, 1, 1.5), (32, 2, None)):
        name_value = {"name": "time", "value": time or "RuntimeFailedConfig", "unit": "ms"}
        results.append(
            {
                "timestamp": "2026-01-01 00:00:00+00:00",
                "configuration": {"block": block, "tile": tile, "fixed": 7},
                "times": {
                    "compilation": 100.0,
                    "benchmark": 20.0,
                    "framework": 3.0,
                    "search_algorithm": 0.0,
                    "validation": 1.0,
                    "runtimes": [time - 0.5, time + 0.5] if time else [],
                },
                "invalidity": "correct" if time else "runtime",
                "correctness": 1,
                "measurements": [{"name": "power", "value": 5, "unit": "W"}, name_value],
                "objectives": ["time"],
            }
        )
    return {
        "results": results,
        "schema_version": "1.0.0",
        "metadata": {"timeunit": "milliseconds"},
    }


def cache() -> dict[str, Any]:
    """The same configs, and one that did not compile, as a cache file of Kernel Tuner."""
    entries: dict[str, Any] = {}
    for block, tile, time in (
        (64, 1, 2.5),
        (32, 1, 1.5),
        (32, 2, "RuntimeFailedConfig"),
        (64, 2, "CompilationFailedConfig"),
    ):
        entry: dict[str, Any] = {"block": block, "tile": tile, "fixed": 7, "time": time}
        if isinstance(time, float):
            entry["times"] = [time - 0.5, time + 0.5]
        entry |= {"compile_time": 100.0, "verification_time": 1.0, "benchmark_time": 20.0}
        entry |= {"strategy_time": 0.0, "framework_time": 3.0, "timestamp": "2026-01-01"}
        entries[f"{block},{tile},7"] = entry
    return {
        "device_name": "Some GPU",
        "kernel_name": "a_kernel",
        "problem_size": [4096, 4096],
        "tune_params_keys": ["block", "tile", "fixed"],
        "tune_params": {"block": [64, 32], "tile": [1, 2], "fixed": [7]},
        "objective": "time",
        "cache": entries,
    }


def refusal(path: Path) -> str:
    """What is said of a file that is refused; empty where it can be read."""
    try:
        read_recording(path)
    except TunerError as error:
        return str(error)
    return ""


def written(folder: Path, data: Any, name: str = "file.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path
