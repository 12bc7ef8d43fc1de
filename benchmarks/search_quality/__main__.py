"""Command line of the comparison; docs/search.md explains it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.arguments import positive
from benchmarks.search_quality import asks
from benchmarks.search_quality.methods import Method, methods
from benchmarks.search_quality.metric import MARKS, Baseline, baseline
from benchmarks.search_quality.recordings import others, read, recordings_in
from benchmarks.search_quality.report import plot, tables
from benchmarks.search_quality.running import Task, Trace, check, run_all
from benchmarks.search_quality.summary import Run, summarise
from tuner.runtime.errors import TunerError


def tasks_of(
    wanted: Sequence[Method], baselines: Mapping[Path, Baseline], seeds: int, horizon: int
) -> list[Task]:
    """Every run that is needed.

    A method that plans by its budget runs twice where a space is scored on fewer evaluations than
    the horizon: once for the score, once for the fractions.
    """
    tasks: dict[Task, None] = {}
    for method in wanted:
        for path, base in baselines.items():
            elsewhere = others(path, list(baselines)) if method.prior == "prior" else []
            if method.prior == "prior" and not elsewhere:
                continue
            for seed in range(method.seeds(seeds)):
                prior = elsewhere[seed % len(elsewhere)] if elsewhere else None
                for budget in {horizon, base.end if method.scheduled else horizon}:
                    tasks[Task(method, path, seed, budget, prior)] = None
    return list(tasks)


def scored(
    traces: Mapping[Task, Trace], baselines: Mapping[Path, Baseline], horizon: int
) -> dict[str, list[Run]]:
    """The runs of each method, by the name it was asked for."""
    runs: dict[str, list[Run]] = {}
    for task, trace in traces.items():
        if task.budget != horizon:
            continue
        base = baselines[task.path]
        matched = Task(task.method, task.path, task.seed, base.end, task.prior)
        rows = traces.get(matched, trace).rows if task.method.scheduled else trace.rows
        runs.setdefault(task.method.text, []).append(
            Run(
                read(task.path).name,
                task.seed,
                base.score(rows),
                base.fraction(trace.rows, horizon),
                trace.ask_ms,
                trace.memory_mb,
            )
        )
    return runs


def compare(options: argparse.Namespace) -> None:
    """Runs the comparison and prints it."""
    if options.spaces is None:
        raise TunerError("--spaces DIR: expected a folder of recorded spaces")
    wanted = methods(options.methods)
    paths = recordings_in(options.spaces)
    for method in wanted:
        check(method, paths[0])
    baselines = {path: baseline(read(path).time_us, options.horizon) for path in paths}
    tasks = tasks_of(wanted, baselines, options.seeds, options.horizon)
    runs = scored(run_all(tasks, options.jobs, options.traces), baselines, options.horizon)
    marks = [mark for mark in MARKS if mark <= options.horizon] or [options.horizon]
    figures = {name: summarise(found, marks) for name, found in runs.items()}
    if options.plot is not None:
        plot(figures, options.plot)
    if options.json:
        print(json.dumps({name: found.as_json() for name, found in figures.items()}, indent=1))
    else:
        tables(runs, figures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line; bad input ends with one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search_quality",
        description="Compares search methods on recorded search spaces; see docs/search.md.",
    )
    parser.add_argument("--spaces", type=Path, metavar="DIR", help="folder of recorded spaces")
    parser.add_argument(
        "--methods",
        metavar="A,B,...",
        help="what to compare (default: all that can run here); the first one is compared with the"
        " others",
    )
    parser.add_argument("--seeds", type=positive, default=20, help="runs per space (default 20)")
    parser.add_argument("--horizon", type=positive, default=200, help="evaluations a run")
    parser.add_argument("--jobs", type=positive, default=2, help="processes (default 2)")
    parser.add_argument("--traces", type=Path, metavar="DIR", help="keep finished runs here")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="write a plot")
    parser.add_argument(
        "--asks", action="store_true", help="time a proposal over 300 and 1000 trials instead"
    )
    options = parser.parse_args(arguments)
    try:
        if options.asks:
            asks.show(options.methods, options.spaces, options.json)
        else:
            compare(options)
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        kept = (
            f"finished runs are kept in {options.traces}" if options.traces else "nothing is kept"
        )
        print(f"\ninterrupted: {kept}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
