"""nki-tuner trace: what a kernel does when, as a trace or as a picture."""

from __future__ import annotations

import os
from typing import Any

import click

from tuner.cli.common import error_of, microseconds
from tuner.cli.measure import asked, kernel_options
from tuner.runtime.errors import TunerError

__all__ = ["trace"]

TRACES, PICTURES = (".json", ".json.gz"), (".svg",)


@click.command(
    epilog="Example: nki-tuner trace matmul --shape M=1024,K=4096,N=4096 --device trn2 "
    "-o matmul.json.gz"
)
@kernel_options
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Instructions in a trace, at most: those that start first.  [default: 200000]",
)
@click.option(
    "-o",
    "--output",
    required=True,
    help="FILE.json or FILE.json.gz: a trace; FILE.svg: a picture.",
)
def trace(
    kernel: str,
    shape: str | None,
    dtype: str | None,
    args: tuple[str, ...],
    params: tuple[str, ...],
    device: str,
    limit: int | None,
    output: str,
    **options: Any,
) -> None:
    """Writes what a kernel does when.

    Simulates KERNEL, as `measure` does, and writes a trace that https://ui.perfetto.dev and
    chrome://tracing open: every instruction, what each engine waited for, memory in use. The
    kernel's code runs in this process.
    """
    from tuner.report import LIMIT, observe, write_picture, write_trace

    if not output.endswith(TRACES + PICTURES):
        raise TunerError(f"{output}: expected a name that ends in .json, .json.gz or .svg")
    if limit is not None and output.endswith(PICTURES):
        raise TunerError("--limit goes with a trace; a picture shows everything")
    problem, config, _ = asked(kernel, shape, dtype, args, params, device, options)
    result, run = observe(problem, config)
    if run is None:
        raise TunerError(f"{kernel} on {problem.device}: {result.status}: {result.reason}")
    latency = microseconds(result.latency_us, result.kind, error_of(result.figures))
    if output.endswith(PICTURES):
        write_picture(run, output)
        shown = f"{len(run.program):,} instructions"
    else:
        written = write_trace(run, output, LIMIT if limit is None else limit)
        shown = f"{written.instructions:,} instructions, {written.events:,} events"
        if written.left_out:
            shown += (
                f"; left out {written.left_out:,} instructions, "
                f"those that start from {written.until_us:,.1f} us on"
            )
    click.echo(f"{kernel} on {problem.device}: {latency}; {run.bound_by}")
    click.echo(f"wrote {output}: {shown}, {os.path.getsize(output):,} bytes")
