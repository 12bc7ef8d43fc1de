"""Runs and times a NEFF with AWS's `nrtpy`, or its forerunner `spike`, which has the same shape.

A script of its own: that interpreter has neither this package nor, maybe, this version of Python.
Usage: python nrtpy_child.py FOLDER. One process is one runtime, which holds its core till it ends.
"""

from __future__ import annotations

import importlib
import os
import traceback
from typing import Any

import child_tools  # type: ignore[import-not-found]

CLASSES = {"nrtpy": ("NrtpyModel", "NrtpyTensor"), "spike": ("SpikeModel", "SpikeTensor")}
ERRORS = ("NrtError", "NrtpyError", "SpikeError")


def work(folder: str, job: dict[str, Any]) -> dict[str, Any]:
    """Loads the NEFF, then runs it once or times it; a failure is told with where it was."""
    where = "load"
    try:
        package = importlib.import_module(job["package"])
        model_class, tensor_class = (getattr(package, name) for name in CLASSES[job["package"]])
        model = model_class.load_from_neff(os.path.join(folder, "kernel.neff"), core_id=0)
        where = "run"
        inputs = _inputs(folder, job, model, tensor_class)
        if job["what"] == "run":
            return _run(folder, model, inputs)
        return _timed(job, package, model, inputs)
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        return {"failed": {"where": where, "text": text}}


def _inputs(folder: str, job: dict[str, Any], model: Any, tensor_class: Any) -> dict[str, Any]:
    """Puts the arrays that the NEFF asks for on the device."""
    arrays = child_tools.load_inputs(folder, job["dtypes"], exact=False)
    wanted = list(model.input_tensors_info)
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ValueError(f"the NEFF has inputs {wanted}, the workload {sorted(arrays)}")
    return {name: tensor_class.from_numpy(arrays[name], name=name) for name in wanted}


def _run(folder: str, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    returned = model(inputs=inputs)
    names = sorted(returned, key=_number)
    arrays = [returned[name].numpy() for name in names]
    return {"dtypes": child_tools.save_outputs(folder, arrays), "outputs": names}


def _number(name: str) -> tuple[int, str]:
    """Order of an output: "output_10" comes after "output_9"."""
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else 0, name)


def _timed(job: dict[str, Any], package: Any, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Benchmarks until the durations are steady; all runs are told."""
    runs: list[dict[str, Any]] = []
    while len(runs) < job["most_runs"]:
        done = _benchmark(job, package, model, inputs)
        if "no_events" in done:
            return done
        runs.append(done)
        try:
            calls = child_tools.per_call(done["durations_ms"], job["iterations"])
        except ValueError as error:
            return {"failed": {"where": "time", "text": str(error)}}
        if child_tools.spread(calls) <= job["steady"]:
            break
    return {"runs": runs}


def _benchmark(
    job: dict[str, Any], package: Any, model: Any, inputs: dict[str, Any]
) -> dict[str, Any]:
    """One benchmark; in mode "device" a second one where the first has seen no trace events."""
    ours = tuple(getattr(package, name) for name in ERRORS if hasattr(package, name))
    told = ""
    for _ in range(2):
        try:
            result = model.benchmark(
                inputs=inputs,
                warmup_iter=job["warmup"],
                benchmark_iter=job["iterations"],
                mode=job["mode"],
            )
        except RuntimeError as error:
            if job["mode"] != "device" or isinstance(error, ours):
                raise  # the kernel failed: whatever is run after it tells nothing
            told = str(error)
            continue
        return {"durations_ms": [float(each) for each in result.durations_ms]}
    return {"no_events": told}


if __name__ == "__main__":
    child_tools.run(work)
