"""Compiles and times a Beta-1 kernel with `neuronxcc.nki` of AWS's SDK 2.28 and before.

A script of its own: that interpreter has neither this package nor, maybe, this version of Python.
Usage: python beta1_child.py FOLDER. `nki.benchmark` compiles and times in one call; the numbers
are of `nki.baremetal`, and are compared with what the kernel file's reference returns there.
"""

from __future__ import annotations

from typing import Any

import child_tools  # type: ignore[import-not-found]

PERCENTILES = (50, 90, 99)


def work(folder: str, job: dict[str, Any]) -> dict[str, Any]:
    """Times the kernel, or runs it and its reference."""
    from neuronxcc import nki

    module = child_tools.load_module(folder, job)
    kernel = getattr(module, job["entry"])
    if job["what"] == "run":
        return _run(folder, job, nki.baremetal(kernel), getattr(module, job["reference"]))
    timed = nki.benchmark(warmup=job["warmup"], iters=job["iterations"])(kernel)
    arrays = child_tools.zeros(job["arguments"])
    positional = [arrays.pop(name) for name in job["positional"]]
    timed(*positional, **arrays, **job["config"])
    latency = timed.benchmark_result.nc_latency
    return {
        "percentiles_us": {str(p): float(latency.get_latency_percentile(p)) for p in PERCENTILES}
    }


def _run(folder: str, job: dict[str, Any], kernel: Any, reference: Any) -> dict[str, Any]:
    import numpy as np

    arrays = child_tools.load_inputs(folder, job["dtypes"])
    values = {name: array.astype(np.float32) for name, array in arrays.items()}
    expected = reference(**job["variants"], **values)
    expected = expected if isinstance(expected, tuple) else (expected,)
    doubles = [np.asarray(each, np.float64) for each in expected]
    child_tools.save_outputs(folder, doubles, "expected.npz")
    positional = [arrays.pop(name) for name in job["positional"]]
    returned = kernel(*positional, **arrays, **job["config"])
    outputs = returned if isinstance(returned, (tuple, list)) else [returned]
    return {"dtypes": child_tools.save_outputs(folder, outputs), "expected": len(doubles)}


if __name__ == "__main__":
    child_tools.run(work)
