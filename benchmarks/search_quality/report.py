"""The figures as tables and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.search_quality.summary import DECILE_AT, Run, Summary, difference
from tuner.cli.common import table
from tuner.runtime.errors import TunerError

__all__ = ["plot", "tables"]

BAND = 2.0
"""Half the height of a band in standard errors."""
DENSE, STEP = 40, 4
"""Every evaluation is drawn up to here, then each of so many: the picture stays small."""


def tables(runs: Mapping[str, Sequence[Run]], figures: Mapping[str, Summary]) -> None:
    """Prints all methods, best first, their spaces, and how far the first one named is ahead."""
    ranked = sorted(figures.items(), key=lambda item: -item[1].score)
    marks = list(next(iter(figures.values())).fraction)
    table(
        "score (0 random search, 1 the optimum at once) and fraction of the optimum",
        [
            *("method", "score", "stderr"),
            *(f"@{mark}" for mark in marks),
            *(f"worst decile @{DECILE_AT}", "ms per ask", "MB", "runs"),
        ],
        [
            [
                *(_short(name), f"{found.score:.3f}", f"{found.stderr:.3f}"),
                *(f"{found.fraction[mark]:.3f}" for mark in marks),
                _number(found.worst_decile),
                *(f"{found.ask_ms:.1f}", f"{found.memory_mb:.0f}", f"{found.runs}"),
            ]
            for name, found in ranked
        ],
    )
    spaces = list(dict.fromkeys(name for found in figures.values() for name in found.per_space))
    table(
        "score in each space",
        ["method", *spaces],
        [
            [_short(name), *(_number(found.per_space.get(space)) for space in spaces)]
            for name, found in ranked
        ],
    )
    first, *rest = runs
    compared = {name: difference(runs[first], runs[name]) for name in rest}
    if compared:
        table(
            f"score of {_short(first)} less another's, in the same spaces and with the same seeds",
            ["less", "difference", "stderr", "in standard errors", "pairs"],
            [
                [_short(name), "-", "-", "-", "0"]
                if found is None
                else [
                    _short(name),
                    f"{found[0]:+.3f}",
                    f"{found[1]:.3f}",
                    _ratio(*found),
                    f"{found[2]}",
                ]
                for name, found in compared.items()
            ],
        )


def _short(name: str) -> str:
    """A method's name without the folder of its file."""
    path, is_file, function = name.rpartition(".py:")
    return f"{Path(path).name}{is_file}{function}" if is_file else name


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ratio(value: float, stderr: float, _: int) -> str:
    return f"{value / stderr:+.1f}" if stderr else "-"


def plot(figures: Mapping[str, Summary], path: Path) -> None:
    """Writes the mean fraction of the optimum over the evaluations, with bands of two standard
    errors.

    Raises:
        TunerError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise TunerError("--plot needs the package matplotlib: pip install '.[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "search"}
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name, found in sorted(figures.items(), key=lambda item: -item[1].score):
        last = len(found.curve)
        evaluations = np.unique(np.r_[1 : min(last, DENSE), DENSE:last:STEP, last])
        mean, stderr = found.curve[evaluations - 1], found.curve_stderr[evaluations - 1]
        (line,) = axes.plot(evaluations, mean, label=f"{_short(name)} ({found.score:.2f})")
        low, high = (mean + side * BAND * stderr for side in (-1, 1))
        axes.fill_between(evaluations, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="evaluations", ylabel="optimum / best so far, mean", xlim=(1, None))
    axes.set_ylim(max(0.0, min(float(found.curve[9:].min()) for found in figures.values())), 1.0)
    axes.grid(alpha=0.3)
    axes.legend(title="method (score)", fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
