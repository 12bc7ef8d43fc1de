"""Draws a simulated run as SVG: what every engine did and waited for, and the memory in use.

Time is cut into columns. A column shows how much of it went into each kind of work and each cause
of waiting, so that a picture of a million instructions is as true, and as large, as one of ten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.stalls import rest_cause
from tuner.report.labels import category
from tuner.report.occupancy import Steps, bank_holdings, banks_in_use, sbuf_bytes
from tuner.report.run import Run
from tuner.report.writing import replaced

__all__ = ["write_picture"]

Ints = npt.NDArray[np.int64]

COLUMNS, COLUMN, LEFT, RIGHT = 500, 2, 130, 70
HEAD, ROW, STRIP, SPACE, AXIS, LEGEND = 60, 26, 36, 6, 34, 50
WIDTH = LEFT + COLUMNS * COLUMN + RIGHT
ZOOM = 40
"""The second part shows one so many-th of the run."""

WORK = {
    "matmul": "#1f5fa8",
    "transpose": "#6aa9e0",
    "elementwise": "#2e8b57",
    "load": "#b8860b",
    "store": "#8b4a9c",
}
STALLS = ("#d62728", "#ff7f0e", "#17a2b8", "#7f7f7f", "#e377c2", "#8c564b", "#555500", "#000000")


class _View(NamedTuple):
    """A stretch of the run, in picoseconds of the timeline."""

    low: float
    high: float

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Where columns begin and end."""
        return np.linspace(self.low, self.high, COLUMNS + 1)


class _Layer(NamedTuple):
    """What fills part of a row: times from `begin` to `end` that do not overlap."""

    fill: str
    begin: Ints
    end: Ints


def write_picture(run: Run, path: Path | str) -> None:
    """Writes a picture of the whole run, and of a short part from its middle.

    Raises:
        TunerError: The file cannot be written.
    """
    launch, makespan = run.prediction.launch_us * 1e6, run.timeline.makespan
    whole = _View(-launch, max(makespan, 1))
    part = _View(makespan * (0.5 - 0.5 / ZOOM), max(makespan * (0.5 + 0.5 / ZOOM), 1))
    causes = [*run.waits.causes, *dict.fromkeys(map(rest_cause, range(len(run.streams))))]
    rows = _layers(run, causes)
    used = {layer.fill for layers in rows.values() for layer in layers}
    strips = _strips(run)
    panel = len(rows) * (ROW + SPACE) + len(strips) * (STRIP + SPACE) + AXIS
    height = HEAD + 2 * panel + LEGEND
    with replaced(Path(path)) as file:
        file.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        )
        file.writelines(_head(run, causes))
        for k, view in enumerate((whole, part)):
            file.writelines(_panel(run, rows, strips, view, HEAD + k * panel))
        file.writelines(_legend(causes, used, HEAD + 2 * panel + 14))
        file.write("</svg>\n")


def _layers(run: Run, causes: list[str]) -> dict[str, list[_Layer]]:
    """Returns what fills the row of every stream that did something."""
    waits, stream = run.waits, run.timeline.stream
    kinds = [category(work) for work in run.program.works]
    since = waits.begin - waits.gap
    rest = since + waits.waited
    rows = {}
    for number, name in enumerate(run.streams):
        mine = np.flatnonzero(stream == number)
        if not len(mine):
            continue
        mine = mine[np.argsort(waits.begin[mine], kind="stable")]
        kind = np.array(kinds, object)[run.program.work_of[mine]]
        layers = [
            _Layer(WORK[k], waits.begin[mine[kind == k]], waits.end[mine[kind == k]])
            for k in WORK
            if (kind == k).any()
        ]
        for c, cause in enumerate(causes):
            one = mine[(waits.cause[mine] == c) & (waits.waited[mine] > 0)]
            if len(one):
                layers.append(_Layer(f"url(#w{c})", since[one], rest[one]))
            one = mine[waits.gap[mine] > waits.waited[mine]]
            if cause == rest_cause(number) and len(one):
                layers.append(_Layer(f"url(#w{c})", rest[one], waits.begin[one]))
        rows[name] = layers
    return rows


def _strips(run: Run) -> list[tuple[str, Steps, int, str]]:
    """Returns name, quantity over time, most there is, and unit of the memories."""
    sbuf, banks = sbuf_bytes(run), banks_in_use(bank_holdings(run))
    kib = Steps(sbuf.time, sbuf.value // 1024)
    usable = run.device.sbuf.usable_bytes_per_partition // 1024
    found = [("SBUF", kib, usable, "KiB"), ("PSUM", banks, run.device.psum.banks, "banks")]
    return [strip for strip in found if len(strip[1].time)]


def _head(run: Run, causes: list[str]) -> Iterator[str]:
    for c in range(len(causes)):
        stroke = STALLS[c % len(STALLS)]
        yield (
            f'<pattern id="w{c}" width="5" height="5" patternUnits="userSpaceOnUse">'
            f'<path d="M0,5L5,0" stroke="{stroke}" stroke-width="1.2"/></pattern>\n'
        )
    latency, error = run.prediction.latency_us, run.prediction.error_percent
    title = (
        f"{run.name} on {run.device.name}, policy {run.policy.name}: {latency:,.1f} us "
        f"(simulated; such predictions are {error:g} % off)"
    )
    yield f'<text x="10" y="22" font-size="15">{escape(title)}</text>\n'
    yield f'<text x="10" y="42">{escape(run.bound_by)}</text>\n'


def _panel(
    run: Run,
    rows: dict[str, list[_Layer]],
    strips: list[tuple[str, Steps, int, str]],
    view: _View,
    top: int,
) -> Iterator[str]:
    for name, layers in rows.items():
        yield _label(name, top + ROW - 8)
        yield _frame(top, ROW)
        base = np.zeros(COLUMNS)
        for layer in layers:
            share = base + _share(layer, view.edges)
            lower, upper = np.rint(base * ROW), np.rint(np.minimum(share, 1) * ROW)
            yield _area(layer.fill, lower, upper, top + ROW)
            base = share
        top += ROW + SPACE
    for name, steps, most, unit in strips:
        peak = int(steps.value.max())
        yield _label(f"{name}, {most} {unit}", top + STRIP - 12)
        yield _frame(top, STRIP)
        upper = np.rint(np.minimum(_level(steps, view.edges) / most, 1) * STRIP)
        yield _area("#9aa5b1", np.zeros(COLUMNS), upper, top + STRIP)
        right = LEFT + COLUMNS * COLUMN + 4
        yield f'<text x="{right}" y="{top + 12}" font-size="10">peak {peak}</text>\n'
        top += STRIP + SPACE
    if view.low < 0:
        x, y = LEFT - view.low / (view.high - view.low) * COLUMNS * COLUMN / 2, top - SPACE - 10
        yield f'<text transform="translate({x + 4:.1f},{y})rotate(-90)" font-size="10">launch'
        yield "</text>\n"
    yield from _axis(view, run.prediction.launch_us, top)


def _share(layer: _Layer, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns how much of each column a layer covers, 0 to 1."""
    knots = np.stack((layer.begin, layer.end), 1).ravel()
    length = np.cumsum(layer.end - layer.begin)
    covered = np.stack((length - (layer.end - layer.begin), length), 1).ravel()
    found: npt.NDArray[np.float64] = np.diff(np.interp(edges, knots, covered)) / np.diff(edges)
    return found


def _level(steps: Steps, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the greatest value in each column."""
    before = np.searchsorted(steps.time, edges[:-1], side="right") - 1
    level = np.where(before >= 0, steps.value[np.maximum(before, 0)], 0).astype(np.float64)
    column = np.searchsorted(edges, steps.time, side="right") - 1
    inside = (column >= 0) & (column < COLUMNS)
    np.maximum.at(level, column[inside], steps.value[inside])
    return level


def _area(
    fill: str, lower: npt.NDArray[np.float64], upper: npt.NDArray[np.float64], bottom: int
) -> str:
    """Returns a path that fills the columns between two heights; equal neighbours are one."""
    change = np.flatnonzero((np.diff(lower) != 0) | (np.diff(upper) != 0)) + 1
    bounds = [0, *change.tolist(), COLUMNS]
    path = []
    for a, b in pairwise(bounds):
        low, high = int(lower[a]), int(upper[a])
        if high > low:
            width = (b - a) * COLUMN
            path.append(f"M{LEFT + a * COLUMN},{bottom - high}h{width}v{high - low}h-{width}z")
    return f'<path fill="{fill}" d="{"".join(path)}"/>\n' if path else ""


def _label(text: str, y: int) -> str:
    return f'<text x="{LEFT - 8}" y="{y}" text-anchor="end">{escape(text)}</text>\n'


def _frame(top: int, height: int) -> str:
    width = COLUMNS * COLUMN
    return f'<rect x="{LEFT}" y="{top}" width="{width}" height="{height}" fill="#f4f4f4"/>\n'


def _axis(view: _View, launch_us: float, y: int) -> Iterator[str]:
    """Draws round times, in microseconds from the launch on."""
    low, high = view.low / 1e6 + launch_us, view.high / 1e6 + launch_us
    step = 10.0 ** math.floor(math.log10((high - low) / 5))
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (f * step) <= 10)
    yield f'<path d="M{LEFT},{y}h{COLUMNS * COLUMN}" stroke="black"/>\n'
    for k in range(math.ceil(low / step), math.floor(high / step) + 1):
        x = LEFT + (k * step - low) / (high - low) * COLUMNS * COLUMN
        yield f'<path d="M{x:.1f},{y}v4" stroke="black"/>'
        yield f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle">{k * step:g}</text>\n'
    yield f'<text x="{LEFT + COLUMNS * COLUMN + 24}" y="{y + 16}">us</text>\n'


def _legend(causes: list[str], used: set[str], y: int) -> Iterator[str]:
    named = [(WORK[kind], kind) for kind in WORK]
    named += [(f"url(#w{c})", f"waits for {cause}") for c, cause in enumerate(causes)]
    x = 10
    for fill, name in named:
        if fill not in used:
            continue
        length = 30 + 7 * len(name)
        if x + length > WIDTH:
            x, y = 10, y + 20
        yield f'<rect x="{x}" y="{y - 10}" width="14" height="12" fill="{fill}"/>'
        yield f'<text x="{x + 19}" y="{y}">{escape(name)}</text>\n'
        x += length
