"""nki-tuner replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import INTERRUPTED, error_of, microseconds, settings, table
from tuner.cli.tune import failures_told, progress_shown

if TYPE_CHECKING:
    from tuner.job import Replay

AFTER = (25, 50, 100, 200)
"""Numbers of trials after which the fraction of the optimum is told."""


@click.command(
    epilog="Example: nki-tuner replay benchmarks/recorded/matmul-2048x256x512.npz "
    "--sampler random --trials 200"
)
@click.argument("file")
@click.option("--sampler", help="As of `nki-tuner tune`, whose default it has.")
@click.option("--trials", default=200, show_default=True, help="Configs to try.")
@click.option("--seed", default=0, show_default=True, help="Same seed and settings: same trials.")
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
    _print(done, file, options["results"])
    return INTERRUPTED if done.outcome.interrupted else 0


def _print(done: Replay, file: str, results: str | None) -> None:
    recording, outcome = done.recording, done.outcome
    configs = len(recording.space)
    where = f" on {recording.device}" if recording.device else ""
    best_us = done.recorded_us(outcome.best)
    optimum = microseconds(recording.optimum_us, recording.kind)
    if recording.failed == configs:
        optimum = "no config ran"
    rows = [
        ["recording", f"{file}: {configs:,} configs, {recording.failed:,} of them failed"],
        ["optimum", optimum],
        [
            "trials",
            f"{outcome.trials:,}; failed: {failures_told(outcome.failures) or 'none'}",
        ],
        ["best found", _time(done, outcome.best)],
    ]
    if outcome.best is not None:
        rows.append(["its rank", f"{recording.rank(best_us):,} of {configs:,}"])
        rows.append(["best config", settings(outcome.best.config)])
    counts = sorted({n for n in AFTER if n < len(done.trials)} | {len(done.trials)})
    told = ", ".join(f"{done.fraction_after(n):.3f} after {n}" for n in counts)
    rows.append(["fraction of optimum", told])
    cost = f"{done.cost_s:,.1f} s" if done.cost_s else "not recorded"
    rows.append(["cost when recorded", cost])
    rows.append(["asking took", f"{outcome.ask_s:.2f} s"])
    if results is not None:
        rows.append(["results", f"{outcome.database}, study {outcome.study}"])
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
    table(None, ["", ""], rows)


def _time(done: Replay, trial: Any) -> str:
    if trial is None:
        return "no config ran"
    return microseconds(trial.latency_us, done.outcome.kind, error_of(trial.figures))
