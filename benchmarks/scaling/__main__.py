"""Command line of the benchmark.

python -m benchmarks.scaling [--json] [--workers 1,2,8,64,256] [--seconds 1.0] [--trials N]
       [--default-trials N] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.arguments import positive, positives
from benchmarks.scaling.figures import Point, fit
from benchmarks.scaling.report import DRIVER_TRIALS, Found, as_data, show
from benchmarks.scaling.runs import Crew, Real, Sleeping, available_mb, crew, real
from tuner.runtime.errors import TunerError
from tuner.search import DEFAULT

WORKERS = (1, 2, 8, 64, 256)
ROUNDS = 10
MANY = 64
"""From so many workers on a run goes to where the bar on the driver's CPU is."""
SATURATED_WORKERS, SATURATED_TRIALS = 8, 1500
REAL_TRIALS = 2000
WORKER_MB, SPARE_MB = 70.0, 2000.0
"""What a worker takes as long as none was measured, and what is left alone."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line; bad input ends with one line and exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        found = measure(
            options.workers,
            options.seconds,
            options.trials,
            default_trials=options.default_trials,
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
    workers: Sequence[int],
    seconds: float,
    trials: int | None = None,
    *,
    default_trials: int | None = None,
    quick: bool = False,
) -> Found:
    """Runs everything.

    Args:
        workers: Numbers of workers.
        seconds: What a trial sleeps.
        trials: Of each run; None for what its figures need.
        default_trials: Of the run with the default sampler; None for as many as the others have.
        quick: Without the default sampler and the job of simulated kernels.
    """
    for name, given in (("trials", trials), ("default-trials", default_trials)):
        if given is not None and given < 2 * max(workers):
            raise TunerError(f"{name}={given}: expected two for each of {max(workers)} workers")
    scaled: list[Sleeping] = []
    default: list[Sleeping] = []
    saturated: list[Sleeping] = []
    simulated: list[Real] = []
    skipped: list[str] = []

    def attempt(what: str, run: Callable[[], None]) -> None:
        print(f"{what} ...", file=sys.stderr, flush=True)
        try:
            run()
        except TunerError as error:  # the other figures are worth having all the same
            skipped.append(f"{what}: {error}")

    def sleeping(count: int, with_default: bool) -> None:
        _check_memory(count, scaled)
        with crew(count, seconds) as there:
            scaled.append(_run(there, trials))
            if with_default:
                default.append(_run(there, default_trials or trials, DEFAULT))

    def saturating() -> None:
        with crew(SATURATED_WORKERS, 0.0) as there:
            saturated.append(there.run(trials or SATURATED_TRIALS))

    usual = max(count for count in workers if count <= max(MANY, min(workers)))
    for count in sorted(workers):
        attempt(f"{count} workers", partial(sleeping, count, not quick and count == usual))
    attempt("trials that take no time", saturating)
    if not quick:
        attempt("simulated trials", lambda: simulated.append(real(REAL_TRIALS)))
    if not scaled:
        raise TunerError(f"nothing was run: {'; '.join(skipped)}")
    points = [_point(run) for run in scaled]
    model = fit(points, _point((saturated or scaled)[-1]), os.cpu_count() or 1)
    return Found([*scaled, *default], saturated, simulated, model, skipped)


def _point(run: Sleeping) -> Point:
    cost = run.cost
    return Point(run.workers, run.seconds, run.busy.per_s, cost.driver_s, cost.others_s)


def _check_memory(count: int, before: Sequence[Sleeping]) -> None:
    """Raises TunerError where so many workers are too many for this machine."""
    measured = [run.worker_mb for run in before if run.workers >= MANY]
    worker_mb = max([WORKER_MB, *measured])
    need_mb, have_mb = count * worker_mb + SPARE_MB, available_mb()
    if need_mb > have_mb:
        raise TunerError(
            f"they need about {need_mb / 1000:.1f} GB at {worker_mb:.0f} MB each, "
            f"{have_mb / 1000:.1f} GB are there"
        )


def _run(there: Crew, trials: int | None, sampler: str = "random") -> Sleeping:
    """Runs so many trials; None: as many as say what a trial costs when 1,000 are finished, with
    enough workers to come to that soon.
    """
    many = trials is None and there.workers >= MANY
    least = DRIVER_TRIALS * 6 // 5 if many else 0
    count = trials or max(ROUNDS * there.workers, least)
    return there.run(count, sampler, at=DRIVER_TRIALS if many else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description="How many workers one driver keeps busy, and what a trial costs it.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--workers", type=positives, default=WORKERS, metavar="N,N,...")
    parser.add_argument("--seconds", type=_seconds, default=1.0, help="what a trial sleeps")
    parser.add_argument("--trials", type=positive, help="of each run; default: what it needs")
    parser.add_argument(
        "--default-trials",
        type=positive,
        metavar="N",
        help="of the default sampler, which proposes one in some 0.1 s; default: as the others",
    )
    parser.add_argument(
        "--quick", action="store_true", help="without the default sampler and the simulator"
    )
    return parser


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
