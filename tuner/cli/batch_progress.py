"""What `nki-tuner batch` says to standard error while it runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.common import time_of
from tuner.cli.tune import bars, fields_of

if TYPE_CHECKING:
    from tuner.database import Trial
    from tuner.job import BatchProgress, Done

__all__ = ["batch_shown", "told"]

CHECKED_EVERY_S = 10.0
LINE_EVERY_S = 60.0
NOTHING = {"best": "", "rate": "", "failures": "", "eta": ""}


class batch_shown:  # noqa: N801 - a context manager
    """A line for each job that ends; besides, on a terminal a bar for each job that runs and one
    for all, else a line once a minute.
    """

    def __enter__(self) -> batch_shown:
        self._bars: Any = None
        self._tasks: dict[int, Any] = {}
        self._running: dict[int, BatchProgress] = {}
        self._over = 0
        self._stopping = False
        self._said = time.monotonic()
        if sys.stderr.isatty():
            self._bars = bars(transient=True)
            self._bars.start()
            self._all = self._bars.add_task("", total=None, **NOTHING)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, state: BatchProgress) -> None:
        """Takes how far the batch is."""
        if state.checking:
            self._check(state)
            return
        if state.done is not None:
            self._over += 1
            self._running.pop(state.number, None)
            self._say(f"{_place(state)}: {state.name}: {_line(state.done)}{_left(state)}")
        elif state.tuning is None:
            self._begin(state)
        else:
            self._go_on(state)
        if self._bars is not None:
            self._draw(state)

    def _say(self, line: str) -> None:
        if self._bars is None:
            click.echo(line, err=True)
        else:
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _check(self, state: BatchProgress) -> None:
        if self._bars is not None:
            doing = f"checking job {state.number} of {state.jobs}"
            self._bars.update(
                self._all, description=doing, completed=state.number - 1, total=state.jobs
            )
        elif self._is_time(CHECKED_EVERY_S):
            self._say(f"checking job {state.number} of {state.jobs}")

    def _begin(self, state: BatchProgress) -> None:
        self._running[state.number] = state
        how = ": goes on" if state.resumed else ""
        how = f": anew, changed: {', '.join(state.changed)}" if state.changed else how
        if how:
            self._say(f"{_place(state)}: {state.name}{how}")

    def _go_on(self, state: BatchProgress) -> None:
        assert state.tuning is not None
        self._running[state.number] = state
        if state.tuning.stopping:
            if not self._stopping:
                self._say("stopping, Ctrl-C again to abort")
            self._stopping = True
        elif self._bars is None and self._is_time(LINE_EVERY_S):
            each = (_trials(number, self._running[number]) for number in sorted(self._running))
            running = f"{len(self._running)} running ({', '.join(each)})"
            self._say(f"{self._over} of {state.jobs} jobs done, {running}{_left(state)}")

    def _is_time(self, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._said < every_s:
            return False
        self._said = now
        return True

    def _draw(self, state: BatchProgress) -> None:
        """Draws the bar of a job, and that of all."""
        if state.number not in self._running:
            if state.number in self._tasks:
                self._bars.remove_task(self._tasks.pop(state.number))
        elif state.number not in self._tasks:
            starts = {**NOTHING, "best": "begins"}
            doing = f"job {state.number}: {state.name}"
            self._tasks[state.number] = self._bars.add_task(doing, total=None, **starts)
        elif state.tuning is not None:
            tuning = state.tuning
            fields = fields_of(tuning)
            if tuning.note:
                fields["best"] = tuning.note
            self._bars.update(
                self._tasks[state.number], completed=tuning.done, total=tuning.trials, **fields
            )
        self._bars.update(
            self._all,
            description="jobs done",
            completed=self._over,
            total=state.jobs,
            eta=_left(state).removeprefix("; "),
        )


def _place(state: BatchProgress) -> str:
    return f"job {state.number} of {state.jobs}"


def _trials(number: int, state: BatchProgress) -> str:
    if state.tuning is None:
        return f"job {number} begins"
    return f"job {number}: {state.tuning.done}/{state.tuning.trials} trials"


def _left(state: BatchProgress) -> str:
    if state.left_s is None or state.left_s < 1:
        return ""
    return f"; about {_duration(state.left_s)} left"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _line(done: Done) -> str:
    if done.failed:
        return f"failed: {done.failed}"
    faster = "" if done.speedup is None else f", {done.speedup:.3f}x the default"
    best = f"best {told(done.best, done)}{faster}"
    return f"finished before, {best}" if done.skipped else best


def told(trial: Trial | None, done: Done) -> str:
    """Writes the time of a trial of a job."""
    if trial is None:
        return "not tried"
    if trial.latency_us is None:
        return str(trial.status)
    return time_of(trial.latency_us, done.kind, trial.figures)
