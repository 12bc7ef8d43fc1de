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
from benchmarks.scaling.runs import Crew, Sleeping, available_mb, crew, real
from tuner.runtime.errors import TunerError
from tuner.search import DEFAULT

WORKERS = (1, 2, 8, 64, 256)
ROUNDS = 10
MANY = 64
"""From so many workers on a run goes to where the bar on the driver's CPU is."""
DEFAULT_TRIALS = 300
"""Of the default sampler, whose proposals take longer the more it knows."""
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
    default: Sleeping | None = None
    skipped: list[str] = []
    counts = sorted(workers)
    for count in counts:
        skip = _too_many(count, scaled)
        try:
            if not skip:
                _say(f"{count} workers")
                with crew(count, seconds) as there:
                    scaled.append(_random(there, trials))
                    if not quick and count == max(n for n in counts if n <= max(MANY, counts[0])):
                        _say(f"{count} workers, sampler {DEFAULT}")
                        default = there.run(trials or max(DEFAULT_TRIALS, 3 * count), DEFAULT)
        except TunerError as error:
            skip = f"{count} workers: {error}"
        skipped += [skip] if skip else []
    if not scaled:
        raise TunerError(f"nothing was run: {'; '.join(skipped)}")
    _say("trials that take no time")
    with crew(SATURATED_WORKERS, 0.0) as there:
        saturated = there.run(trials or SATURATED_TRIALS)
    simulated = None
    if not quick:
        _say("simulated trials")
        simulated = real(REAL_TRIALS)
    points = [(run.workers, run.seconds, run.busy.per_s) for run in scaled]
    cost = saturated.cost
    model = fit(points, cost.driver_s, cost.others_s, os.cpu_count() or 1)
    return Found(scaled, default, saturated, simulated, model, skipped)


def _too_many(count: int, before: Sequence[Sleeping]) -> str:
    """Says why so many workers are too many for this machine; empty where they are not."""
    measured = [run.worker_mb for run in before if run.workers >= MANY]
    worker_mb = max([WORKER_MB, *measured])
    need_mb, have_mb = count * worker_mb + SPARE_MB, available_mb()
    if need_mb <= have_mb:
        return ""
    return (
        f"{count} workers: they need about {need_mb / 1000:.1f} GB at {worker_mb:.0f} MB each, "
        f"{have_mb / 1000:.1f} GB are there"
    )


def _random(there: Crew, trials: int | None) -> Sleeping:
    many = trials is None and there.workers >= MANY
    least = DRIVER_TRIALS * 6 // 5 if many else 0
    count = trials or max(ROUNDS * there.workers, least)
    return there.run(count, at=DRIVER_TRIALS if many else None)


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


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
