"""The comparison as tables for a terminal, as Markdown, and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.kernels.comparing import Found, Row
from benchmarks.kernels.judging import bars, claims, ratio, speedup, summaries, traffic_ratio
from benchmarks.kernels.runs import Run
from benchmarks.kernels.tuned import Tuned
from tuner.cli.common import microseconds, note_of, table

__all__ = ["Section", "as_data", "as_markdown", "sections", "show"]

SIMULATED = "simulated"
WAYS = ("chain", "M", "way", "time", "HBM", "spilled, reloaded", "SBUF", "roofline", "note")
RATIOS = (
    "chain",
    "M",
    "over AWS's XW",
    "over tuned XW",
    "over unfused",
    "over untuned",
    "unfused over naive",
    "flop ratio",
    "HBM bytes of XW / its",
    "tuned from",
)
PLAIN = ("M x K x N", "default", "tuned", "speed-up", "roofline", "tuned from")
NOTES = """\
All times are simulated: one NeuronCore, bfloat16, launches included; +- is the simulator's error on
published kernels.

XW, AWS: the default config of `matmul`, which has the structure of the fully optimised kernel of
AWS's tutorial, under policy nki. Where it overflows SBUF, "published kernel" stands for it: the
tutorial's own, with a tensor for each tile, under the policy that is named, of a compiler that
gives up double buffers and spills. What that compiler spilled on hardware is not known: these rows
say more of spilling than of the chain.

XUV unfused: that kernel twice. The first product exchanges its operands and so writes (XU)^T to
HBM as the second wants it; nothing is transposed, which is the best case. Two launches.

XUV naive fusion: `xuv` with intermediate=recompute. Untuned: the default of `xuv`, the structure
that NeuronMM published.

Roofline: what TensorE sustains or HBM brings; of XW for XW, of the chain for the chain.

Tuned from "search": found now, for time alone; that its numbers are right is what tests and shipped
tables check."""


@dataclass(frozen=True)
class Section:
    """A table with its title."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]


def sections(found: Sequence[Found]) -> list[Section]:
    """Returns every table, those of bars and claims last."""
    tables = [section for each in found for section in _of_device(each)]
    return [*tables, _bars(found), _claims(found)]


def notes(found: Sequence[Found]) -> str:
    """Returns what to know of the figures."""
    of_devices = [f"{each.device}: {note}." for each in found if (note := note_of(each.device))]
    return "\n\n".join([NOTES, *of_devices])


def show(found: Sequence[Found]) -> None:
    """Prints the tables to a terminal."""
    print(notes(found) + "\n")
    for section in sections(found):
        table(section.title, list(section.columns), section.rows)


def as_markdown(found: Sequence[Found]) -> str:
    """Returns the tables in Markdown."""
    parts = [notes(found)]
    for section in sections(found):
        lines = [section.columns, ["---"] * len(section.columns), *section.rows]
        grid = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"### {section.title}\n\n{grid}")
    return "\n\n".join(parts)


def as_data(found: Sequence[Found]) -> dict[str, Any]:
    """Returns the same as plain data."""
    return {
        "kind": SIMULATED,
        "notes": notes(found),
        "devices": {
            each.device: {
                "chains": [_row_data(row) for row in each.rows],
                "matmuls": [
                    {"sizes": plain.sizes, **_tuned_data(plain.tuned)} for plain in each.plain
                ],
                "summaries": [asdict(summary) for summary in summaries(each)],
                "seconds": each.seconds,
            }
            for each in found
        },
        "bars": [{**asdict(bar), "met": bar.met} for bar in bars(found)],
        "claims": [asdict(claim) for claim in claims(found)],
    }


def _row_data(row: Row) -> dict[str, Any]:
    return {
        **asdict(row.chain),
        "flop_ratio": row.chain.flop_ratio,
        "ways": {name: _run_data(run) for name, run in row.ways},
        "tuned": _tuned_data(row.fused),
        "tuned_product": _tuned_data(row.tuned_product),
        "speedup": speedup(row),
    }


def _run_data(run: Run) -> dict[str, Any]:
    return {**asdict(run), "roofline_share": run.roofline_share, "hbm_bytes": run.hbm_bytes}


def _tuned_data(tuned: Tuned) -> dict[str, Any]:
    return {
        "default": _run_data(tuned.default),
        "best": _run_data(tuned.best),
        "config": dict(tuned.config),
        "source": tuned.source,
        "gain": tuned.gain,
    }


def _of_device(found: Found) -> list[Section]:
    ways = [_way_cells(row, name, run) for row in found.rows for name, run in row.ways]
    tables = [Section(f"{found.device}: every way to compute a layer", WAYS, ways)]
    ratios = [_ratio_cells(row) for row in found.rows]
    tables.append(Section(f"{found.device}: tuned chain, speed-ups (simulated)", RATIOS, ratios))
    lines = [
        [one.over, ", ".join(map(str, one.rows)) or "none", _times(one.mean), _times(one.maximum)]
        for one in summaries(found)
    ]
    title = f"{found.device}: tuned chain over AWS's XW, paper's sizes (simulated)"
    tables.append(Section(title, ("over", "M", "mean", "maximum"), lines))
    if found.plain:
        lines = [_plain_cells(plain.sizes, plain.tuned) for plain in found.plain]
        lines += [_plain_cells(r.chain.product, r.tuned_product) for r in found.rows if r.of_paper]
        tables.append(Section(f"{found.device}: plain matmul", PLAIN, lines))
    return tables


def _way_cells(row: Row, name: str, run: Run) -> list[str]:
    marks = [run.policy if run.policy != "nki" else "", run.note, "spills" if run.spills else ""]
    note = ", ".join(mark for mark in marks if mark)
    start = [row.chain.name, str(row.chain.M), name]
    if run.latency_us is None:
        return [*start, "failed", "-", "-", "-", "-", "; ".join(filter(None, (note, run.reason)))]
    spilled = [f"{b / 1e9:.2f} GB" for b in (run.spill_saved_bytes, run.spill_reloaded_bytes)]
    return [
        *start,
        microseconds(run.latency_us, SIMULATED, run.error_percent),
        f"{run.hbm_bytes / 1e9:.2f} GB",
        ", ".join(spilled) if run.spills else "0",
        f"{run.sbuf_peak_bytes / 1024:.0f} KiB",
        _percent(run.roofline_share),
        note,
    ]


def _ratio_cells(row: Row) -> list[str]:
    best = row.fused.best
    return [
        row.chain.name,
        str(row.chain.M),
        _times(speedup(row)) + (" (spills)" if row.product.spills else ""),
        _times(ratio(row.tuned_product.best, best)),
        _times(ratio(row.unfused, best)),
        _times(row.fused.gain, 4),
        _times(ratio(row.naive, row.unfused)),
        _times(row.chain.flop_ratio),
        _times(traffic_ratio(row.product, best)),
        row.fused.source,
    ]


def _plain_cells(sizes: dict[str, int], tuned: Tuned) -> list[str]:
    default, best = tuned.default, tuned.best
    return [
        " x ".join(map(str, sizes.values())),
        microseconds(default.latency_us, SIMULATED, default.error_percent),
        microseconds(best.latency_us, SIMULATED, best.error_percent),
        _times(tuned.gain, 4),
        _percent(best.roofline_share),
        tuned.source,
    ]


def _bars(found: Sequence[Found]) -> Section:
    lines = []
    for bar in bars(found):
        value = "-" if bar.value is None else f"{bar.value:.4f}"
        limit = f"{'>' if bar.above else '>='} {bar.limit:g}"
        met = "met" if bar.met else "not met"
        lines.append([bar.kind, bar.name, value, limit, met, bar.detail])
    return Section("Bars (simulated)", ("kind", "what", "value", "asked", "", "decided by"), lines)


def _claims(found: Sequence[Found]) -> Section:
    lines = [
        [claim.what, claim.theirs, f"{_times(claim.ours)} ({claim.device})", claim.source]
        for claim in claims(found)
    ]
    columns = ("what", "paper (measured, trn1)", "ours (simulated)", "source")
    return Section("The paper's claims", columns, lines)


def _times(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}x"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
