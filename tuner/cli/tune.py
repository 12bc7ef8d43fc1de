"""nki-tuner tune."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import (
    INTERRUPTED,
    Sectioned,
    device_option,
    microseconds,
    neuron_options,
    note_of,
    results_option,
    settings,
    simulator_options,
    table,
    time_of,
)

if TYPE_CHECKING:
    from tuner.job import Outcome, Progress

LINE_EVERY = 0.1


@click.command(
    cls=Sectioned,
    epilog="Example: nki-tuner tune matmul --shape M=1024,K=4096,N=4096 --device trn2 --trials 100",
)
@click.argument("kernel")
@click.option("--shape", required=True, help="Sizes and variants, e.g. M=1024,K=4096,N=4096.")
@click.option("--dtype", help="Operands' dtype; default: the first of the search space.")
@device_option
@click.option(
    "--trials", default=100, show_default=True, help="Configs to try, the default's among them."
)
@click.option("--max-s", type=float, help="Seconds of search: no config is begun later.")
@click.option(
    "--target-us", type=float, help="Stops at a correct config that takes at most so long."
)
@click.option(
    "--patience", type=int, help="Stops after so many trials without one more than 0.1 % faster."
)
@click.option("--seed", default=0, show_default=True, help="Same seed and settings: same trials.")
@click.option(
    "--sampler",
    default="gp",
    show_default=True,
    help="gp, anneal, random, exhaustive, or one of Optuna's, e.g. tpe or NSGAIISampler.",
)
@click.option(
    "--warm-start/--no-warm-start",
    default=True,
    show_default=True,
    help="Tries the best configs of nearby workloads first, those of the same results folder.",
)
@click.option(
    "--prior",
    help="Cheap times that guide the sampler: none, simulator or the file of a recording; "
    "default: the simulator's where times are measured.",
)
@click.option("--workers", default=2, show_default=True, help="Ray workers.")
@click.option(
    "--ray",
    default="local",
    show_default=True,
    help="local, auto or the address of a cluster (which then runs the kernel's code), or serial: "
    "no Ray and no isolation, the kernel's code runs in this process.",
)
@click.option("--backend", default="simulator", show_default=True, help="simulator or neuron.")
@simulator_options
@neuron_options
@click.option(
    "--verify",
    default="best",
    show_default=True,
    help="Configs checked against the reference: none, best, all.",
)
@click.option(
    "--timeout-s",
    default=60.0,
    show_default=True,
    help="Seconds that each phase of a config may take: compiling, checking, timing; of backend "
    "neuron each program that runs or times it.",
)
@click.option(
    "--compile-timeout-s",
    type=float,
    help="Seconds that compiling alone may take; default: as --timeout-s, of backend neuron 600.",
)
@click.option(
    "--memory-gb", type=float, help="GiB that a worker may have; default: half of its machine's."
)
@click.option(
    "--noise",
    default=0.0,
    show_default=True,
    help="Adds noise to exact times, as a share of them, e.g. 0.03.",
)
@click.option(
    "--repeats",
    default=20,
    show_default=True,
    help="Samples of one config at most, where times vary.",
)
@click.option(
    "--remeasure",
    default=5,
    show_default=True,
    help="Fastest configs measured again in turns at the end, where times vary.",
)
@click.option(
    "--storage",
    metavar="URL",
    help="Shares the study with drivers on other machines, through a PostgreSQL database: "
    "postgresql://user@host/database.",
)
@results_option
@click.option("--resume", is_flag=True, help="Go on with the newest study of this workload.")
def tune(kernel: str, shape: str, **options: Any) -> int:
    """Searches the best config for one workload.

    KERNEL is a bundled search space (`nki-tuner spaces`) or the path of a search space file.
    """
    from tuner.job import tune as run

    with progress_shown() as report:
        outcome = run(kernel, shape, progress=report, **options)
    _print(outcome, options)
    return INTERRUPTED if outcome.interrupted else 0


class progress_shown:  # noqa: N801 - a context manager
    """A progress bar on a terminal, else a line now and then; both to standard error."""

    def __init__(self, doing: str = "tuning") -> None:
        self._doing = doing

    def __enter__(self) -> Callable[[Progress], None]:
        self._bar: Any = None
        self._last: Progress | None = None
        self._printed = float("-inf")
        self._note = ""
        if sys.stderr.isatty():
            self._bar = bars()
            self._bar.start()
            self._task = self._bar.add_task(
                self._doing, total=None, best="starting workers", rate="", failures="", eta=""
            )
        return self._show

    def __exit__(self, error: object, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif error is None and self._last is not None and self._last.done > self._printed:
            self._say(_line(self._doing, self._last))

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line)
        else:
            click.echo(line, err=True)

    def _show(self, state: Progress) -> None:
        if state.note:
            if state.note != self._note:
                self._say(state.note)
            self._note = state.note
            return
        self._last = state
        if self._bar is not None:
            fields = fields_of(state)
            self._bar.update(self._task, completed=state.done, total=state.trials, **fields)
            return
        step = LINE_EVERY * state.trials
        if state.done - self._printed >= step or state.done >= state.trials or state.stopping:
            self._printed = state.done
            self._say(_line(self._doing, state))


def _line(doing: str, state: Progress) -> str:
    told = " ".join(value for value in fields_of(state).values() if value)
    return f"{doing} {state.done}/{state.trials} {told}"


def bars(transient: bool = False) -> Any:
    """Returns the bars of a terminal; a task has a description and what `fields_of` returns."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[best]}"),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TextColumn("{task.fields[failures]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[eta]}"),
        console=Console(stderr=True),
        transient=transient,
    )


def fields_of(state: Progress) -> dict[str, str]:
    """Returns what a progress bar shows besides the number of trials."""
    left = max(state.trials - state.done, 0)
    eta = f"eta {left / state.per_s:.0f} s" if state.per_s and left else ""
    if state.stopping:
        eta = "stopping, Ctrl-C again to abort"
    failed = failures_told(state.failures)
    return {
        "best": f"best {microseconds(state.best_us, state.kind, state.error_percent)}"
        if state.best_us
        else "no time yet",
        "rate": f"{state.per_s:.1f} trials/s",
        "failures": f"failed: {failed}" if failed else "",
        "eta": eta,
    }


def failures_told(failures: Mapping[str, int]) -> str:
    """Writes how many configs failed in which way; empty for none."""
    return ", ".join(f"{count} {status}" for status, count in sorted(failures.items()))


_STOPPED = {
    "trials": "all trials were used",
    "exhausted": "every valid config was tried",
    "time": "the time was over (--max-s {max_s})",
    "target": "a config reaches {target_us:,.1f} us (target)",
    "patience": "no config was more than 0.1 % faster in {patience} trials",
    "interrupted": "Ctrl-C",
}


def search_rows(outcome: Outcome, options: Mapping[str, Any]) -> list[list[str]]:
    """Says how the search was guided and what ended it."""
    rows = []
    if outcome.seeds:
        shapes = "; ".join(seed.shape for seed in outcome.seeds)
        count = len(outcome.seeds)
        what = "config of a nearby workload" if count == 1 else "configs of nearby workloads"
        rows.append(["warm start", f"{count} {what} ({shapes})"])
    if outcome.prior:
        rows.append(["prior", outcome.prior])
    if outcome.shared:
        rows.append(["shared study", outcome.shared])
    rows.append(["stopped by", _STOPPED[outcome.stopped_by].format(**options)])
    return rows


def _print(outcome: Outcome, options: Mapping[str, Any]) -> None:
    from tuner.database import REMEASURED

    def told(trial: Any) -> str:
        if trial is None:
            return "not tried"
        if trial.latency_us is None:
            return f"{trial.status}: {trial.reason}"
        return time_of(trial.latency_us, outcome.kind, trial.figures)

    failed, folder = failures_told(outcome.failures), shlex.quote(options["results"])
    rate = outcome.measured / outcome.elapsed_s if outcome.elapsed_s else 0.0
    default, best = outcome.default, outcome.best
    rows = [
        ["search space", str(outcome.space_file)],
        ["kernel file", str(outcome.kernel_file)],
        [
            "trials",
            f"{outcome.trials} of {outcome.valid_configs:,} configs; failed: {failed or 'none'}",
        ],
        ["rate", f"{rate:.1f} trials/s ({outcome.measured} in {outcome.elapsed_s:.1f} s)"],
        *search_rows(outcome, options),
        ["default config", settings(default.config) if default else "-"],
        ["default time", told(default)],
        ["best config", settings(best.config) if best else "-"],
        ["best time", told(best) if best else "-"],
    ]
    if best is not None:
        searched = best.figures.get(REMEASURED)
        if searched is not None:
            then = {**best.figures, **searched}
            before = time_of(searched["latency_us"], outcome.kind, then)
            rows.append(["best re-measured", f"yes, in turns with its rivals; before: {before}"])
        checked = "yes" if best.verified else f"no, {outcome.unverified or 'not checked'}"
        rows.append(["best verified", checked])
    if outcome.speedup is not None:
        rows.append(["speed-up", f"{outcome.speedup:.3f}x ({outcome.kind})"])
    if outcome.roofline_share is not None:
        bound = microseconds(outcome.roofline_us, "bound")
        share = f"{outcome.roofline_share:.1%} of what the device could do: {bound}"
        rows.append(["roofline share", share])
    if outcome.doubt:
        rows.append(["still to find", outcome.doubt])
    if outcome.exhausting_s is not None:
        count = outcome.valid_configs
        seconds = max(outcome.exhausting_s, 1.0)
        offer = f"all {count:,} configs would take about {seconds:.0f} s"
        rows.append(["exhausting", f"{offer}: --sampler exhaustive --trials {count}"])
    if note := note_of(options["device"]):
        rows.append(["note", note])
    rows.append(["results", f"{outcome.database}, study {outcome.study}"])
    if outcome.interrupted:
        rows.append(["next", "interrupted: the same command with --resume goes on"])
    elif best is None:
        rows.append(["next", f"no config ran: nki-tuner show {folder} --study {outcome.study}"])
    elif not options["noise"]:  # made noise is not exported
        rows.append(["next", f"nki-tuner export {folder} -o {outcome.device}.json"])
    table(f"{outcome.workload} on {outcome.device}", ["", ""], rows)
