"""Prints what the runs said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.scaling.figures import Model
from benchmarks.scaling.runs import Real, Sleeping
from tuner.cli.common import table

__all__ = ["Bar", "Found", "as_data", "bars", "show"]

SHARE, SHARE_WORKERS, SHARE_SECONDS = 0.95, 64, 1.0
DRIVER_MS, DRIVER_TRIALS = 5.0, 1000
REAL_PER_S = 250.0


@dataclass(frozen=True)
class Found:
    """All that was measured in one run of the benchmark.

    Attributes:
        runs: Of trials that sleep: one for each number of workers, then one of the default sampler.
        saturated: Of trials that take no time; empty where it was left out, as the next.
        real: The job of simulated kernels.
        skipped: What was left out, and why.
    """

    runs: Sequence[Sleeping]
    saturated: Sequence[Sleeping]
    real: Sequence[Real]
    model: Model
    skipped: Sequence[str]


@dataclass(frozen=True)
class Bar:
    """A bar, and what was measured; `share` is how often it is reached over, from 1 on enough."""

    what: str
    wanted: str
    got: str
    share: float

    @property
    def word(self) -> str:
        """Whether it is reached."""
        return "PASS" if self.share >= 1 else "missed"


def bars(found: Found) -> list[Bar]:
    """Returns the bars of what was run."""
    reached = []
    for run in found.runs:
        if run.sampler != "random":
            continue
        if (run.workers, run.seconds) == (SHARE_WORKERS, SHARE_SECONDS):
            what = f"{run.workers} workers busy, {run.seconds:g} s a trial, {run.sampler}"
            got = f"{100 * run.busy.share:.1f} %"
            reached.append(Bar(what, f"{100 * SHARE:.0f} %", got, run.busy.share / SHARE))
        if run.cost.trials == DRIVER_TRIALS:
            ms = 1000 * run.cost.driver_s
            what = f"driver CPU a trial at {DRIVER_TRIALS} trials, {run.workers} workers"
            reached.append(Bar(what, f"{DRIVER_MS:g} ms", f"{ms:.2f} ms", DRIVER_MS / ms))
    for job in found.real:
        per_s = job.per_s
        what = f"simulated trials a second, {job.workers} workers"
        got = f"{per_s:.0f}"
        reached.append(Bar(what, f"{REAL_PER_S:.0f}", got, per_s / REAL_PER_S))
    heavy = sorted({name for run in found.runs for name in run.heavy})
    what = "heavy modules in the workers that sleep"
    reached.append(Bar(what, "none", ", ".join(heavy) or "none", 0.0 if heavy else 1.0))
    return reached


def as_data(found: Found) -> dict[str, Any]:
    """Returns everything as plain data."""
    model = found.model
    return {
        **asdict(found),
        "model": {
            **asdict(model),
            "driver_per_s": model.driver_per_s,
        },
        "bars": [{**asdict(bar), "word": bar.word} for bar in bars(found)],
    }


def show(found: Found) -> None:
    """Prints tables."""
    table(
        "trials that sleep, through sampler, Ray, isolated children and a durable database",
        [
            "workers",
            "a trial",
            "sampler",
            "trials",
            "busy",
            "with ramp and tail",
            "start-up",
            "tail",
            "driver CPU a trial",
            "others' CPU",
            "memory a worker",
        ],
        [_row(run) for run in [*found.runs, *found.saturated]],
    )
    for reason in found.skipped:
        print(f"left out: {reason}")
    print(
        "busy: seconds slept over workers times wall, from when every worker has a trial until the "
        "last trial begins;\ndriver CPU: all threads of its process; others': Ray and the workers\n"
    )
    _show_model(found)
    table(
        None,
        ["bar", "wanted", "measured", "times as good", ""],
        [[bar.what, bar.wanted, bar.got, f"{bar.share:.2f}", bar.word] for bar in bars(found)],
    )


def _row(run: Sleeping) -> list[str]:
    return [
        str(run.workers),
        f"{run.seconds:g} s",
        run.sampler,
        f"{run.trials:,}",
        f"{100 * run.busy.share:.1f} %",
        f"{100 * run.busy.whole:.1f} %",
        f"{run.start_s:.1f} s",
        f"{run.busy.tail_s:.2f} s",
        f"{1000 * run.cost.driver_s:.2f} ms at {run.cost.trials:,}",
        f"{1000 * run.cost.others_s:.2f} ms",
        f"{run.worker_mb:.0f} MB",
    ]


def _show_model(found: Found) -> None:
    model = found.model
    print(
        f"model: trials/s = min(workers / (seconds + {1000 * model.gap_s:.1f} ms), "
        f"1 / {1000 * model.driver_s:.2f} ms, "
        f"({model.cores} cores - {1000 * model.idle:.1f} ms/s * workers) "
        f"/ {1000 * (model.driver_s + model.others_s):.2f} ms)\n"
        f"the driver alone: at most {model.driver_per_s:.0f} trials/s, so it keeps "
        + ", ".join(f"{model.workers(s):,.0f} workers at {s:g} s" for s in (0.1, 1.0, 10.0))
        + " a trial busy\n(with the workers on machines of their own); "
        f"64 workers on these {model.cores} cores: at most {model.machine_per_s(64):.0f} trials/s"
    )
    runs = [*(run for run in found.runs if run.sampler == "random"), *found.saturated]
    table(
        None,
        ["workers", "a trial", "trials/s by the model", "measured", "measured / model"],
        [
            [
                str(run.workers),
                f"{run.seconds:g} s",
                f"{model.per_s(run.workers, run.seconds):.1f}",
                f"{run.busy.per_s:.1f}",
                f"{run.busy.per_s / model.per_s(run.workers, run.seconds):.2f}",
            ]
            for run in runs
        ],
    )
