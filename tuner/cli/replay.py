"""nki-tuner replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import INTERRUPTED, recorded_time, settings, table, time_of
from tuner.cli.tune import failures_told, progress_shown, search_rows, tune

if TYPE_CHECKING:
    from tuner.job import Replay

SEARCH = (
    "seed",
    "sampler",
    "max_s",
    "target_us",
    "patience",
    "prior",
    "noise",
    "repeats",
    "remeasure",
)
"""Options that are those of `nki-tuner tune`."""

AFTER = (25, 50, 100, 200)
"""Numbers of trials after which the fraction of the optimum is told."""


@click.command(
    epilog="Example: nki-tuner replay benchmarks/recorded/matmul-2048x256x512.npz "
    "--sampler random --trials 200"
)
@click.argument("file")
@click.option("--trials", default=200, show_default=True, help="Configs to try.")
@click.option(
    "--workers", type=click.IntRange(1), help="Ray workers.  [default: none, in this process]"
)
@click.option("--results", help="Results folder to keep the study in.  [default: it is not kept]")
@click.option("--resume", is_flag=True, help="Go on with the newest study, with --results.")
def replay(file: str, workers: int | None, **options: Any) -> int:
    """Runs a tuning job on recorded times.

    FILE holds every config of a search space with its time: an .npz of `nki-tuner record`, or
    Kernel Tuner's T4 results or cache file (.json or .json.gz).
    """
    from tuner.job import replay as run

    chosen = {name: value for name, value in options.items() if value is not None}
    if workers is not None:
        chosen |= {"workers": workers, "ray": "local"}
    with progress_shown("replaying") as report:
        done = run(file, progress=report, **chosen)
    _print(done, file, options)
    return INTERRUPTED if done.outcome.interrupted else 0


replay.params += [option for option in tune.params if option.name in SEARCH]


def _print(done: Replay, file: str, options: Mapping[str, Any]) -> None:
    recording, outcome = done.recording, done.outcome
    where = f" on {recording.device}" if recording.device else ""
    steps = [
        [
            str(place),
            _time(done, trial),
            f"{done.fraction_after(place):.3f}",
            settings(trial.config),
        ]
        for place, trial in done.improvements
    ]
    table(f"{recording.name}{where}", ["trial", "best so far", "of optimum", "config"], steps)
    configs = f"{len(recording.space):,} configs, {recording.failed:,} of them failed"
    failed = failures_told(outcome.failures) or "none"
    rows = [
        ["recording", f"{file}: {configs}"],
        ["trials", f"{outcome.trials:,}; failed: {failed}"],
        *search_rows(outcome, options),
        *_found(done, options["noise"] > 0),
        ["cost when recorded", f"{done.cost_s:,.1f} s" if done.cost_s else "not recorded"],
        ["asking took", f"{outcome.ask_s:.2f} s"],
    ]
    if outcome.doubt:
        rows.append(["still to find", outcome.doubt])
    if options["results"] is not None:
        rows.append(["results", f"{outcome.database}, study {outcome.study}"])
    table(None, ["", ""], rows)


def _found(done: Replay, noisy: bool) -> list[list[str]]:
    """Says what was found beside what there was to find."""
    recording, best = done.recording, done.outcome.best
    if recording.failed == len(recording.space):
        return [["optimum", "no config ran"]]
    rows = [
        ["optimum", recorded_time(recording, int(recording.time_us.argmin()))],
        ["best found", _time(done, best)],
    ]
    if best is not None:
        recorded_us = done.recorded_us(best)
        if noisy:
            row = recording.space.row(best.config)
            rows.append(["without noise", recorded_time(recording, row)])
        rows.append(["its rank", f"{recording.rank(recorded_us):,} of {len(recording.space):,}"])
        rows.append(["best config", settings(best.config)])
    counts = sorted({n for n in AFTER if n < len(done.trials)} | {len(done.trials)})
    told = ", ".join(f"{done.fraction_after(n):.3f} after {n}" for n in counts)
    return [*rows, ["fraction of optimum", told]]


def _time(done: Replay, trial: Any) -> str:
    if trial is None:
        return "no config ran"
    return time_of(trial.latency_us, done.outcome.kind, trial.figures)
