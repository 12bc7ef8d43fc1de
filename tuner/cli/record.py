"""nki-tuner record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import INTERRUPTED, device_option, recorded_time, simulator_options, table
from tuner.cli.tune import progress_shown

if TYPE_CHECKING:
    from tuner.job import Recorded


@click.command(
    epilog="Example: nki-tuner record matmul --shape M=256,K=512,N=1024 --device trn2 -o matmul.npz"
)
@click.argument("kernel")
@click.option("--shape", required=True, help="Sizes and variants, e.g. M=256,K=512,N=1024.")
@click.option("--dtype", help="Operands' dtype; default: the first of the search space.")
@device_option
@simulator_options
@click.option("-o", "--output", required=True, help="The file to write, .npz.")
@click.option(
    "--workers", type=click.IntRange(1), help="Ray workers.  [default: none, in this process]"
)
@click.option(
    "--timeout-s", default=60.0, show_default=True, help="Seconds that one config may take."
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Refuse a search space with more configs.  [default: 200,000]",
)
def record(kernel: str, shape: str, workers: int | None, **options: Any) -> int:
    """Times every config of a search space.

    KERNEL is a bundled search space (`nki-tuner spaces`) or the path of a search space file. What
    is done is kept beside the output until all is: after an interruption the same command goes on.
    Without --workers the kernel's code runs in this process.
    """
    from tuner.job import record as run

    chosen = {name: value for name, value in options.items() if value is not None}
    if workers is not None:
        chosen |= {"workers": workers, "ray": "local"}
    with progress_shown("recording") as report:
        done = run(kernel, shape, progress=report, **chosen)
    _print(done, options["output"])
    return 0 if done.recording is not None else INTERRUPTED


def _print(done: Recorded, output: str) -> None:
    rate = done.measured / done.elapsed_s if done.elapsed_s else 0.0
    rows = [["rate", f"{rate:.0f} configs/s ({done.measured:,} in {done.elapsed_s:.1f} s)"]]
    recording = done.recording
    if recording is None:
        rows.append(["kept", f"{done.done:,} of {done.configs:,} configs in {done.partial}"])
        rows.append(["next", "interrupted: the same command goes on"])
        table("not recorded yet", ["", ""], rows)
        return
    optimum = "no config ran"
    if recording.failed < done.configs:
        optimum = recorded_time(recording, int(recording.time_us.argmin()))
    rows[:0] = [
        ["configs", f"{done.configs:,}, {recording.failed:,} of them failed"],
        ["default", recorded_time(recording, recording.space.default)],
        ["optimum", optimum],
    ]
    rows.append(["file", f"{output}, {Path(output).stat().st_size / 1000:,.0f} kB"])
    rows.append(["next", f"nki-tuner replay {output}"])
    table(recording.name, ["", ""], rows)
