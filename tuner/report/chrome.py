"""Traces of simulated runs in the JSON format of Chrome's trace viewer, which Perfetto opens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.program import Engine
from tuner.neuroncore.stalls import rest_cause
from tuner.report.labels import Labels
from tuner.report.occupancy import (
    Steps,
    bank_holdings,
    banks_in_use,
    in_flight,
    sbuf_bytes,
)
from tuner.report.run import Run
from tuner.report.writing import replaced

__all__ = ["LIMIT", "Written", "trace_events", "write_trace"]

LIMIT = 200_000
"""Instructions in a trace, unless more are asked for."""

CORE, MEMORY = 1, 2
LAUNCH_ROW = 1

Event = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """What a trace file holds.

    Attributes:
        events: Entries of the file.
        instructions: Instructions shown, the first that started.
        left_out: Instructions not shown.
        until_us: Where the trace ends; the end of the run unless instructions are left out.
    """

    events: int
    instructions: int
    left_out: int
    until_us: float


def write_trace(run: Run, path: Path | str, limit: int = LIMIT) -> Written:
    """Writes a trace; compressed where the name ends in .gz.

    Args:
        run: The run to show.
        path: The file.
        limit: Instructions to show, at most: those that start first.

    Raises:
        TunerError: The file cannot be written.
    """
    cut = _Cut(run, limit)
    until_us = _ns(run, cut.until) / 1000
    left_out = len(run.program) - int(cut.shown.sum())
    facts = {**run.facts(), "instructions": len(run.program), "left_out": left_out}
    if left_out:
        facts["left_out_because"] = (
            f"limit of {limit} instructions: the trace ends at {until_us} us"
        )
    head = json.dumps({"displayTimeUnit": "ns", "otherData": facts}, separators=(",", ":"))
    encode = json.JSONEncoder(separators=(",", ":")).encode
    events = 0
    with replaced(Path(path)) as file:
        file.write(f'{head[:-1]},"traceEvents":[')
        for event in _events(run, cut):
            file.write(f"{',' if events else ''}\n{encode(event)}")
            events += 1
        file.write("\n]}\n")
    return Written(events, int(cut.shown.sum()), left_out, until_us)


def trace_events(run: Run, limit: int = LIMIT) -> Iterator[Event]:
    """Returns the events of a trace, one after another."""
    return _events(run, _Cut(run, limit))


@dataclass(frozen=True)
class _Cut:
    """The instructions that a trace shows."""

    run: Run
    limit: int

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """All instructions, in the order in which they started."""
        return np.argsort(self.run.timeline.start, kind="stable")

    @cached_property
    def shown(self) -> npt.NDArray[np.bool_]:
        """Shape (instructions,): whether each is shown."""
        shown = np.zeros(len(self.run.program), np.bool_)
        shown[self.order[: self.limit]] = True
        return shown

    @cached_property
    def until(self) -> int:
        """When the first instruction starts that is not shown, else the end; in picoseconds."""
        if len(self.order) <= self.limit:
            return self.run.timeline.makespan
        return int(self.run.timeline.start[self.order[self.limit]])


def _ns(run: Run, ps: int) -> int:
    """Returns a time of the timeline from the launch on, in whole nanoseconds.

    Times are cut, not rounded, before differences are taken: neighbours then never overlap.
    """
    return (round(run.prediction.launch_us * 1e6) + ps) // 1000


def _events(run: Run, cut: _Cut) -> Iterator[Event]:
    yield from _rows(run)
    launch = _ns(run, 0)
    yield _slice("launch", "launch", (CORE, LAUNCH_ROW), 0, launch, {"kind": "simulated"})
    labels = Labels(run)
    for i in cut.order[: cut.limit].tolist():
        yield from _instruction(run, labels, i)
    yield from _memory(run, labels, cut)


def _rows(run: Run) -> Iterator[Event]:
    """Names the processes and their rows, from top to bottom."""
    title = f"NeuronCore, simulated: {run.device.name}, policy {run.policy.name}"
    rows = [(LAUNCH_ROW, "launch")]
    for stream, name in enumerate(run.streams):
        rows += [(_row(stream), name), (_row(stream) + 1, f"{name} waits")]
    banks = [(b + 1, f"PSUM bank {b}") for b in range(run.device.psum.banks)]
    for pid, process, named in ((CORE, title, rows), (MEMORY, "memory, simulated", banks)):
        yield _metadata("process_name", pid, 0, {"name": process})
        yield _metadata("process_sort_index", pid, 0, {"sort_index": pid})
        for tid, name in named:
            yield _metadata("thread_name", pid, tid, {"name": name})
            yield _metadata("thread_sort_index", pid, tid, {"sort_index": tid})


def _row(stream: int) -> int:
    return LAUNCH_ROW + 1 + 2 * stream


def _metadata(kind: str, pid: int, tid: int, args: Event) -> Event:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": args}


def _slice(
    name: str, category: str, row: tuple[int, int], begin_ns: int, end_ns: int, args: Event
) -> Event:
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": begin_ns / 1000,
        "dur": (end_ns - begin_ns) / 1000,
        "pid": row[0],
        "tid": row[1],
        "args": args,
    }


def _instruction(run: Run, labels: Labels, i: int) -> Iterator[Event]:
    """Returns an instruction, and what its stream waited for before it."""
    timeline, waits = run.timeline, run.waits
    stream, blocker = int(timeline.stream[i]), int(timeline.blocker[i])
    begin, gap, waited = int(waits.begin[i]), int(waits.gap[i]), int(waits.waited[i])
    name, category, details = labels.work(i)
    args: Event = {"line": labels.line(i), **details, **labels.operands(i)}
    args["instruction"] = i
    args["issued_us"] = _ns(run, int(timeline.start[i])) / 1000
    args["done_us"] = _ns(run, int(timeline.done[i])) / 1000
    pieces = []
    if waited:
        cause = waits.causes[waits.cause[i]]
        args |= {"stall": cause, "stall_us": waited / 1e6, "waited_for": labels.short(blocker)}
        told = {"waited_for": labels.short(blocker), "instruction": blocker}
        pieces.append((cause, begin - gap, begin - gap + waited, told))
    if gap > waited:
        cause = rest_cause(stream)
        args.setdefault("stall", cause)
        args.setdefault("stall_us", (gap - waited) / 1e6)
        pieces.append((cause, begin - gap + waited, begin, {}))
    for cause, since, until, told in pieces:
        row = (CORE, _row(stream) + 1)
        why = {"before": labels.short(i), **told}
        yield _slice(cause, "wait", row, _ns(run, since), _ns(run, until), why)
    row = (CORE, _row(stream))
    yield _slice(name, category, row, _ns(run, begin), _ns(run, int(waits.end[i])), args)


def _memory(run: Run, labels: Labels, cut: _Cut) -> Iterator[Event]:
    """Returns who holds which bank, and the counters."""
    holdings = bank_holdings(run, cut.shown)
    for holding in holdings:
        args = {"filled by": labels.short(holding.writer), "instruction": holding.writer}
        span = _ns(run, holding.begin), _ns(run, holding.end)
        row = (MEMORY, holding.bank + 1)
        yield _slice(labels.tensor(holding.tensor), "bank", row, *span, args)
    counters = (
        ("SBUF bytes per partition", "occupied", sbuf_bytes(run)),
        ("PSUM banks in use", "banks", banks_in_use(holdings)),
        ("loads in flight", "transfers", in_flight(run, Engine.LOAD)),
        ("stores in flight", "transfers", in_flight(run, Engine.STORE)),
    )
    for name, unit, steps in counters:
        yield from _counter(run, name, unit, steps, cut.until)


def _counter(run: Run, name: str, unit: str, steps: Steps, until: int) -> Iterator[Event]:
    """Returns a counter, up to a time."""
    shown = steps.time <= until
    values = zip(steps.time[shown].tolist(), steps.value[shown].tolist(), strict=True)
    for time, value in ((0, 0), *values):
        ts = _ns(run, time) / 1000
        yield {"name": name, "ph": "C", "ts": ts, "pid": MEMORY, "args": {unit: value}}
