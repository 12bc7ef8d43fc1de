"""How fast the simulator is; prints figures, asserts nothing.

python -m benchmarks.simulator_speed [--json] [--quick]

For the blocked matmul at three shapes: instructions, milliseconds per trial (record, give memory,
schedule), and the ratio to a plain-Python event simulation of the same instruction stream in the
same run. Then trials per second of two worker processes on random configs, a worker's memory, and
the first call of a fresh process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.plain_python import makespan_ps
from tuner.cli.common import table
from tuner.kernel import LoadedKernel, load_kernel, read_kernel
from tuner.neuroncore import device, policy
from tuner.neuroncore.compiler.memory import plan_memory
from tuner.neuroncore.costs import costs
from tuner.neuroncore.heap import keep_freed_memory
from tuner.neuroncore.program import Program
from tuner.neuroncore.simulation import predict, simulate
from tuner.nki.record.tracing import trace
from tuner.space import Argument, find

SHAPES = {(1024, 4096, 4096): 1.0, (4096, 4096, 4096): 2.5, (4096, 8192, 16384): 15.0}
"""[M, K, N] -> milliseconds a trial may take on one idle core."""
RATIOS = {10_000: 100, 78_000: 180}
"""Instructions, about -> how many times faster than plain Python."""
RATE, WORKER_MB, FIRST_CALL_S = 250, 250, 1.0
DEVICE, POLICY = "trn2", "nki"
MIXED = ((256, 512, 1024), (128, 2048, 4096), (1024, 1024, 2048), (1024, 4096, 4096))
FIRST_CALL = """
import time
begun = time.perf_counter()
from benchmarks.simulator_speed import kernel, one_trial
one_trial(kernel(), (256, 512, 1024), {})
print(time.perf_counter() - begun)
"""


def kernel() -> LoadedKernel:
    """The bundled blocked matmul, in a process prepared as a worker's is."""
    keep_freed_memory()
    definition = find("matmul")
    return load_kernel(read_kernel(definition.kernel_file, definition.entry))


def recorded(loaded: LoadedKernel, shape: tuple[int, int, int], config: dict[str, Any]) -> Program:
    m, k, n = shape
    arguments = (Argument("lhsT", (k, m), "bfloat16"), Argument("rhs", (k, n), "bfloat16"))
    with loaded.lent():
        return trace(loaded.function, arguments, config, device(DEVICE)).program


def one_trial(loaded: LoadedKernel, shape: tuple[int, int, int], config: dict[str, Any]) -> float:
    """Records, plans and schedules one config; returns its simulated latency in microseconds."""
    program = recorded(loaded, shape, config)
    return simulate(program, device(DEVICE), policy(POLICY)).latency_us


def plain_python_s(program: Program) -> float:
    """Seconds that plain Python takes for the schedule of an instruction stream, with the same
    result.
    """
    core, rules = device(DEVICE), policy(POLICY)
    plan = plan_memory(program, core, rules)
    begun = time.perf_counter()
    makespan = makespan_ps(program, costs(program, core, rules), plan, rules, core)
    seconds = time.perf_counter() - begun
    assert makespan == predict(program, plan, core, rules).timeline.makespan
    return seconds


def shapes(quick: bool) -> list[dict[str, Any]]:
    loaded = kernel()
    rows = []
    for shape, bar_ms in SHAPES.items():
        one_trial(loaded, shape, {})
        times = []
        for _ in range(5 if quick else 25):
            begun = time.perf_counter()
            one_trial(loaded, shape, {})
            times.append(time.perf_counter() - begun)
        program = recorded(loaded, shape, {})
        plain_s = plain_python_s(program)
        ms = statistics.median(times) * 1000
        rows.append(
            {
                "kernel": "matmul",
                "shape": list(shape),
                "instructions": len(program),
                "ms_per_trial": ms,
                "fastest_ms": min(times) * 1000,
                "bar_ms": bar_ms,
                "ratio_to_python": plain_s * 1000 / ms,
                "python_us_per_instruction": plain_s * 1e6 / len(program),
            }
        )
    return rows


def _configs(shape: tuple[int, int, int], count: int, seed: int) -> list[dict[str, Any]]:
    """Random valid configs of the bundled search space."""
    import numpy as np

    from tuner.job import Job, prepare

    text = ",".join(f"{d}={v}" for d, v in zip("MKN", shape, strict=True))
    space = prepare(Job("matmul", text, device=DEVICE)).space
    chosen = np.random.default_rng(seed).integers(0, len(space), count)
    return [space.config(int(row)) for row in chosen]


def _worker(seed: int, count: int, ready: Any, go: Any, results: Any) -> None:
    loaded = kernel()
    work = [(shape, c) for shape in MIXED for c in _configs(shape, count // len(MIXED), seed)]
    one_trial(loaded, MIXED[0], {})
    ready.release()
    go.wait()
    begun = time.perf_counter()
    for shape, config in work:
        try:
            one_trial(loaded, shape, config)
        except Exception:  # a config that does not fit is a trial too
            continue
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.put((len(work), time.perf_counter() - begun, rss_mb))


def rate(quick: bool) -> dict[str, float]:
    """Trials per second of two processes, and the memory of the larger."""
    context = multiprocessing.get_context("spawn")
    ready, go, results = context.Semaphore(0), context.Event(), context.Queue()
    count = 100 if quick else 400
    workers = [
        context.Process(target=_worker, args=(seed, count, ready, go, results)) for seed in (1, 2)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    go.set()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return {
        "trials_per_s": sum(trials / seconds for trials, seconds, _ in found),
        "worker_mb": max(mb for _, _, mb in found),
    }


def first_call_s() -> float:
    """Import and first simulation of a fresh process, compiled code from the cache."""
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, check=True
        )
        seconds.append(float(done.stdout))
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    options = parser.parse_args()
    rows = shapes(options.quick)
    whole = {**rate(options.quick), "first_call_s": first_call_s()}
    if options.json:
        print(json.dumps({"rows": rows, **whole}, indent=1))
        return
    table(
        "blocked matmul, bfloat16, default config, trn2 (simulator time on this machine)",
        ["M, K, N", "instructions", "ms per trial", "bar", "times plain Python", "its us each"],
        [
            [
                str(tuple(row["shape"])),
                f"{row['instructions']:,}",
                f"{row['ms_per_trial']:.2f} (fastest {row['fastest_ms']:.2f})",
                f"{row['bar_ms']}",
                f"{row['ratio_to_python']:.0f}",
                f"{row['python_us_per_instruction']:.1f}",
            ]
            for row in rows
        ],
    )
    table(
        None,
        ["", "", "bar"],
        [
            ["random configs, two workers", f"{whole['trials_per_s']:.0f} trials/s", f"{RATE}"],
            ["memory of a worker", f"{whole['worker_mb']:.0f} MB", f"{WORKER_MB}"],
            ["first call of a process", f"{whole['first_call_s']:.2f} s", f"{FIRST_CALL_S}"],
        ],
    )


if __name__ == "__main__":
    main()
