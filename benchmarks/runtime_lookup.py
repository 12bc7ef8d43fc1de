"""Time to import `tuner.runtime` and to look a config up; prints medians, asserts nothing.

python -m benchmarks.runtime_lookup [--json] [--records 200]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tuner.database import table_kernel
from tuner.neuroncore import device
from tuner.runtime.loading import SCHEMA, SCHEMA_VERSION, load
from tuner.space import find

IMPORT = (
    "import time; t = time.perf_counter(); import tuner.runtime; print(time.perf_counter() - t)"
)
TARGETS_US = {
    "import": 30_000,
    "exact": 20,
    "nearest, asked before": 20,
    "default, asked before": 20,
    "exact, first time": None,
    "nearest, first time": None,
    "default, first time": None,
}


def table(records: int) -> dict[str, Any]:
    """A table of the bundled matmul with as many records, each with the same legal config."""
    definition = find("matmul")
    config: dict[str, Any] = {
        "tiles_m": 1,
        "tiles_n": 1,
        "tiles_k": 1,
        "loop_order": "mnk",
        "resident": "none",
    }
    config |= {"buffers": 2, "psum_accumulators": 8, "evict": "vector", "load_columns": 512}
    common: dict[str, Any] = {
        "kernel": "matmul",
        "dtype": "bfloat16",
        "device": "trn2",
        "backend": "simulator",
        "kind": "simulated",
        "config": config,
        "latency_us": 1.0,
        "default_latency_us": 2.0,
        "trials": 1,
        "verified": True,
        "fingerprint": {},
        "command": "",
    }
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "kernels": {"matmul": table_kernel(definition)},
        "devices": {"trn2": device("trn2").facts()},
        "records": [
            common | {"sizes": {"M": 128 * (i + 1), "K": 4096, "N": 4096}} for i in range(records)
        ],
    }


def microseconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append((time.perf_counter() - start) * 1e6)
    return statistics.median(times)


def measure(records: int) -> dict[str, float]:
    """All figures, in microseconds."""
    runs = [
        subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        for _ in range(9)
    ]
    figures = {"import": statistics.median(float(run.stdout) * 1e6 for run in runs)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.json"
        path.write_text(json.dumps(table(records)))
        asked = {"exact": 128 * (records // 2), "nearest": 128 * (records // 2) + 1, "default": 1}
        for match, rows in asked.items():
            tables = [load(path) for _ in range(9)]
            lookups = [partial(t.lookup, "matmul", M=rows, K=4096, N=4096) for t in tables]
            assert tables[0].lookup("matmul", M=rows, K=4096, N=4096).match == match
            firsts = [microseconds(look, 1) for look in lookups[1:]]
            figures[f"{match}, first time"] = statistics.median(firsts)
            again = match if match == "exact" else f"{match}, asked before"
            figures[again] = microseconds(lookups[0], 20_000)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--records", type=int, default=200)
    options = parser.parse_args()
    figures = measure(options.records)
    if options.json:
        print(json.dumps(figures))
        return
    for name, target in TARGETS_US.items():
        bar = f"bar {target} us, {figures[name] / target:.2f} of it" if target else "no bar"
        print(f"{name:24s} {figures[name]:10.2f} us   {bar}")


if __name__ == "__main__":
    main()
