"""nki-tuner batch: many tuning jobs of one file."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.batch_progress import batch_shown, told
from tuner.cli.common import INTERRUPTED, note_of, table

if TYPE_CHECKING:
    from tuner.job import Batch

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
@click.option("--memory-gb", type=float, help="GiB that a worker may have; default: the file's.")
@click.option(
    "--at-once", type=int, help="Jobs that run at the same time; default: the file's, else 2."
)
@click.option("--results", help="Results folder; default: the file's, else results.")
def batch(jobs: str, export: str | None, **options: Any) -> int:
    """Runs many tuning jobs, several at the same time over one pool of workers.

    JOBS is a TOML file, or `jobs` for the one of the shipped tables: options of `nki-tuner tune` in
    [defaults], and for each group of jobs a [[jobs]] with its kernel and sizes. The same command
    goes on after an interruption and leaves out what is finished. Exit code 1 says that a job
    failed.
    """
    from tuner.job import batch as run

    stated = {name: value for name, value in options.items() if value is not None}
    with batch_shown() as report:
        found = run(jobs, export=export, progress=report, **stated)
    _print(found, export)
    if found.interrupted:
        return INTERRUPTED
    return FAILED if found.failed else 0


def _print(found: Batch, export: str | None) -> None:
    rows = []
    for done in found.done:
        share, faster = done.roofline_share, done.speedup
        rows.append(
            [
                done.name,
                told(done.default, done) if done.study else "-",
                told(done.best, done) if done.best else f"failed: {done.failed}",
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
