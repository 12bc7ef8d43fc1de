"""nki-tuner batch: many tuning jobs of one file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import INTERRUPTED, note_of, table, time_of
from tuner.cli.tune import progress_shown

if TYPE_CHECKING:
    from tuner.database import Trial
    from tuner.job import Batch, BatchProgress, Done, Progress

FAILED = 1


@click.command(epilog="Example: nki-tuner batch jobs --device trn2 --export trn2.json")
@click.argument("jobs")
@click.option("--export", help="Writes the best configs of these jobs as a table, at the end.")
@click.option("--device", help="Instead of the file's.")
@click.option("--trials", type=int, help="Instead of the file's.")
@click.option("--timeout-s", type=float, help="Seconds that one config may take.")
@click.option("--workers", type=int, help="Ray workers; default: the file's, else 2.")
@click.option(
    "--ray", help="local, the address of a cluster, or serial; default: the file's, else local."
)
@click.option("--results", help="Results folder; default: the file's, else results.")
def batch(jobs: str, export: str | None, **options: Any) -> int:
    """Runs many tuning jobs, one after the other.

    JOBS is a TOML file, or `jobs` for the one of the shipped tables: options of `nki-tuner tune` in
    [defaults], and for each group of jobs a [[jobs]] with its kernel and sizes. The same command
    goes on after an interruption and leaves out what is finished. Exit code 1 says that a job
    failed.
    """
    from tuner.job import batch as run

    stated = {name: value for name, value in options.items() if value is not None}
    with _Shown() as report:
        found = run(jobs, export=export, progress=report, **stated)
    _print(found, export)
    if found.interrupted:
        return INTERRUPTED
    return FAILED if found.failed else 0


class _Shown:
    """A line for each job to standard error; on a terminal also the progress of the running one."""

    def __enter__(self) -> _Shown:
        self._job: progress_shown | None = None
        self._tell: Callable[[Progress], None] = lambda _: None
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._job is not None:
            self._job.__exit__(None)
            self._job, self._tell = None, lambda _: None

    def __call__(self, state: BatchProgress) -> None:
        place = f"job {state.number} of {state.jobs}"
        if state.tuning is not None:
            self._tell(state.tuning)
            return
        self._end()
        left = (
            ""
            if state.left_s is None or state.left_s < 1
            else f"; about {_duration(state.left_s)} left"
        )
        if state.done is not None:
            click.echo(f"{place}: {state.name}: {_line(state.done)}{left}", err=True)
            return
        how = ": goes on" if state.resumed else ""
        how = f": anew, changed: {', '.join(state.changed)}" if state.changed else how
        if how or sys.stderr.isatty():
            click.echo(f"{place}: {state.name}{how}", err=True)
        if sys.stderr.isatty():
            self._job = progress_shown(place, transient=True)
            self._tell = self._job.__enter__()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _line(done: Done) -> str:
    if done.failed:
        return f"failed: {done.failed}"
    faster = "" if done.speedup is None else f", {done.speedup:.3f}x the default"
    told = f"best {_time(done.best, done)}{faster}"
    return f"finished before, {told}" if done.skipped else told


def _time(trial: Trial | None, done: Done) -> str:
    if trial is None:
        return "not tried"
    if trial.latency_us is None:
        return str(trial.status)
    return time_of(trial.latency_us, done.kind, trial.figures)


def _print(found: Batch, export: str | None) -> None:
    rows = []
    for done in found.done:
        share, faster = done.roofline_share, done.speedup
        rows.append(
            [
                done.name,
                _time(done.default, done) if done.study else "-",
                _time(done.best, done) if done.best else f"failed: {done.failed}",
                "-" if faster is None else f"{faster:.3f}x ({done.kind})",
                "-" if share is None else f"{share:.1%} ({done.kind})",
            ]
        )
    if rows:
        table(None, ["workload", "default", "best", "speed-up", "share of roofline"], rows)
    skipped = sum(done.skipped for done in found.done)
    failed = f", {len(found.failed)} failed" if found.failed else ""
    click.echo(f"{len(found.done)} of {found.jobs} jobs done, {skipped} of them before{failed}")
    for device in found.devices:
        if note := note_of(device):
            click.echo(f"note: {note}")
    if found.interrupted:
        click.echo("interrupted: the same command goes on")
    elif found.exported is not None:
        click.echo(f"wrote {len(found.exported.written)} record(s) to {export}")
    elif any(done.best for done in found.done):
        click.echo(f"next: nki-tuner export {shlex.quote(found.results)} -o TABLE.json")
