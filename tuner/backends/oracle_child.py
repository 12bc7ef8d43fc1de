"""Runs a kernel on AWS's own `nki`; started by tuner.backends.oracle in an interpreter that has it.

A script of its own: that interpreter has neither this package nor, maybe, this version of Python.
Usage: python oracle_child.py FOLDER. Reads FOLDER/job.json, writes FOLDER/answer.json.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import child_tools  # type: ignore[import-not-found]


def work(folder: str, job: dict[str, Any]) -> dict[str, Any]:
    """Runs the kernel that the job names."""
    nki = importlib.import_module("nki")
    kernel = getattr(child_tools.load_module(folder, job), job["entry"])
    if inspect.isfunction(kernel):
        kernel = nki.jit(kernel)
    inputs = child_tools.load_inputs(folder, job["dtypes"])
    arrays = [inputs.pop(name) for name in job["positional"]]
    returned = nki.simulate(kernel)(*arrays, **inputs, **job["config"])
    outputs = returned if isinstance(returned, (tuple, list)) else [returned]
    return {"dtypes": child_tools.save_outputs(folder, outputs)}


if __name__ == "__main__":
    child_tools.run(work)
