"""Runs a kernel on AWS's own `nki`; started by tuner.backends.oracle in an interpreter that has it.

A script of its own: that interpreter has neither this package nor, maybe, this version of Python.
Usage: python oracle_child.py FOLDER. Reads FOLDER/job.json, writes FOLDER/answer.json.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from typing import Any


def main(folder: str) -> None:
    """Runs the kernel that the job names."""
    with open(os.path.join(folder, "job.json"), encoding="utf-8") as file:
        job = json.load(file)
    answer = _run(folder, job)
    with open(os.path.join(folder, "answer.json"), "w", encoding="utf-8") as file:
        json.dump(answer, file)


def _run(folder: str, job: dict[str, Any]) -> dict[str, Any]:
    import ml_dtypes
    import numpy as np

    nki = importlib.import_module("nki")
    kernels = os.path.join(folder, "kernel")
    sys.path.insert(0, kernels)
    spec = importlib.util.spec_from_file_location("_nki_kernel", os.path.join(kernels, job["file"]))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_nki_kernel"] = module
    spec.loader.exec_module(module)
    kernel = getattr(module, job["entry"])
    if inspect.isfunction(kernel):
        kernel = nki.jit(kernel)

    with np.load(os.path.join(folder, "inputs.npz"), allow_pickle=False) as raw:
        inputs = {
            name: raw[name].view(np.dtype(getattr(ml_dtypes, dtype, dtype)))
            for name, dtype in job["dtypes"].items()
        }
    arrays = [inputs.pop(name) for name in job["positional"]]
    returned = nki.simulate(kernel)(*arrays, **inputs, **job["config"])

    outputs = returned if isinstance(returned, (tuple, list)) else [returned]
    outputs = [np.ascontiguousarray(np.asarray(output)) for output in outputs]
    views = [o.view(f"u{o.dtype.itemsize}") if o.dtype.isbuiltin != 1 else o for o in outputs]
    np.savez(os.path.join(folder, "outputs.npz"), *views)
    return {"dtypes": [output.dtype.name for output in outputs]}


if __name__ == "__main__":
    main(sys.argv[1])
