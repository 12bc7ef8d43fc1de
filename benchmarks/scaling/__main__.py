"""Command line of the benchmark.

python -m benchmarks.scaling [--json] [--workers 1,2,8,64,256] [--seconds 1.0] [--trials N]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from benchmarks.scaling.figures import fit
from benchmarks.scaling.report import DRIVER_TRIALS, Found, as_data, show
from benchmarks.scaling.runs import Sleeping, available_mb, real, sleeping_run
from tuner.runtime.errors import TunerError
from tuner.search import DEFAULT

WORKERS = (1, 2, 8, 64, 256)
ROUNDS = 10
MANY = 64
"""From so many workers on a run goes to where the bar on the driver's CPU is."""
SATURATED_WORKERS, SATURATED_TRIALS = 8, 1500
REAL_TRIALS = 2000
WORKER_MB, SPARE_MB = 120.0, 2000.0
"""What a worker takes as long as none was measured, and what is left alone."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line; bad input ends with one line and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        found = measure(
            options.workers,
            options.seconds,
            options.trials,
            quick=options.quick,
        )
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted: nothing is kept", file=sys.stderr)
        sys.exit(130)
    if options.json:
        print(json.dumps(as_data(found), indent=1))
    else:
        show(found)


def measure(
    workers: Sequence[int], seconds: float, trials: int | None = None, *, quick: bool = False
) -> Found:
    """Runs everything.

    Args:
        workers: Numbers of workers.
        seconds: What a trial sleeps.
        trials: Of each run; None for what its figures need.
        quick: Without the default sampler and the job of simulated kernels.
    """
    scaled: list[Sleeping] = []
    skipped: list[str] = []
    for count in sorted(workers):
        worker_mb = scaled[-1].worker_mb if scaled and scaled[-1].workers >= MANY else WORKER_MB
        need_mb, have_mb = count * worker_mb + SPARE_MB, available_mb()
        if need_mb > have_mb:
            skipped.append(
                f"{count} workers: need about {need_mb / 1000:.1f} GB at {worker_mb:.0f} MB each, "
                f"{have_mb / 1000:.1f} GB are there"
            )
            continue
        scaled.append(_scaled(count, seconds, trials))
    if not scaled:
        raise TunerError(f"nothing to run: {'; '.join(skipped)}")
    most = scaled[-1]
    saturated = sleeping_run(SATURATED_WORKERS, 0.0, trials or SATURATED_TRIALS)
    points = [(run.workers, run.seconds, run.busy.per_s) for run in scaled]
    model = fit(points, most.cost.driver_s, most.cost.others_s, os.cpu_count() or 1)
    default = None if quick else _scaled(min(most.workers, MANY), seconds, trials, DEFAULT)
    simulated = None if quick else real(REAL_TRIALS)
    return Found(scaled, default, saturated, simulated, model, skipped)


def _scaled(workers: int, seconds: float, trials: int | None, sampler: str = "random") -> Sleeping:
    print(f"{workers} workers, {sampler} ...", file=sys.stderr, flush=True)
    many = trials is None and workers >= MANY
    count = trials or max(ROUNDS * workers, DRIVER_TRIALS * 6 // 5 if many else 0)
    return sleeping_run(workers, seconds, count, sampler, at=DRIVER_TRIALS if many else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description="How many workers one driver keeps busy, and what a trial costs it.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--workers", type=_counts, default=WORKERS, metavar="N,N,...")
    parser.add_argument("--seconds", type=_seconds, default=1.0, help="what a trial sleeps")
    parser.add_argument("--trials", type=_positive, help="of each run; default: what it needs")
    parser.add_argument(
        "--quick", action="store_true", help="without the default sampler and the simulator"
    )
    return parser


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_positive(part) for part in text.split(",")))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 3600")
    return seconds


if __name__ == "__main__":
    main()
