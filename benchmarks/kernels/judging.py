"""Speed-ups, what the kernels are held to, and the paper's claims beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.kernels.comparing import Found, Row
from benchmarks.kernels.runs import Run

__all__ = ["Bar", "Claim", "Summary", "bars", "claims", "ratio", "summaries", "traffic_ratio"]

LARGE = 2048
"""From this size on, every dim of a plain matmul counts for the roofline's bar."""
SOURCE = "arXiv 2510.25977"


@dataclass(frozen=True)
class Summary:
    """Tuned chain over AWS's product, over some sizes of the paper's chain.

    Attributes:
        over: Which sizes.
        rows: Their numbers of rows.
    """

    device: str
    over: str
    rows: tuple[int, ...]
    mean: float | None
    maximum: float | None


@dataclass(frozen=True)
class Bar:
    """What is asked: `value` at least `limit`, or above it; None where there is nothing to judge.

    Attributes:
        kind: "bar", or "goal" for what is aimed at.
        detail: What decides it.
    """

    kind: str
    name: str
    value: float | None
    limit: float
    above: bool = False
    detail: str = ""

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value > self.limit if self.above else self.value >= self.limit


@dataclass(frozen=True)
class Claim:
    """What the paper measured on a NeuronCore-v2 of trn1, and what we simulate."""

    what: str
    theirs: str
    device: str
    ours: float | None
    source: str = SOURCE


def ratio(slow: Run, fast: Run) -> float | None:
    """How many times faster one run is than another; None where one failed."""
    if slow.latency_us is None or fast.latency_us is None:
        return None
    return slow.latency_us / fast.latency_us


def traffic_ratio(more: Run, less: Run) -> float | None:
    """How many times as many bytes one run moves between HBM and the core."""
    return more.hbm_bytes / less.hbm_bytes if less.hbm_bytes and more.hbm_bytes else None


def speedup(row: Row) -> float | None:
    """Tuned chain over AWS's product."""
    return ratio(row.product, row.fused.best)


def paper_rows(found: Found) -> list[Row]:
    """The rows of the paper's kernel curve."""
    return [row for row in found.rows if row.of_paper]


def summaries(found: Found) -> list[Summary]:
    """Mean and maximum with and without the sizes where the baseline does not fit as it is."""
    every = paper_rows(found)
    return [
        _summary(found.device, "all sizes", every),
        _summary(
            found.device,
            "without those where AWS's kernel spills",
            [row for row in every if not row.product.spills],
        ),
        _summary(
            found.device,
            "without those where the published kernel stands for it, too",
            [row for row in every if not row.product.note],
        ),
    ]


def _summary(device: str, over: str, rows: Sequence[Row]) -> Summary:
    known = [(row.chain.M, value) for row in rows if (value := speedup(row)) is not None]
    values = [value for _, value in known]
    sizes = tuple(size for size, _ in known)
    return Summary(
        device, over, sizes, mean(values) if values else None, max(values) if values else None
    )


def bars(found: Sequence[Found]) -> list[Bar]:
    """What is asked of the kernels on the devices at hand."""
    asked = []
    for each in found:
        if each.device == "trn1":
            asked += _of_paper(each)
    asked.append(_never_slower(found))
    for each in found:
        shares = [(share, name) for name, share in _plain_shares(each) if share is not None]
        least, name = min(shares, default=(None, ""))
        what = f"{each.device}: tuned plain matmul, M, N, K >= {LARGE}: share of the roofline"
        asked += [
            Bar("bar", what, least, 0.90, detail=name),
            Bar("goal", what, least, 0.92, detail=name),
        ]
    return asked


def _of_paper(found: Found) -> list[Bar]:
    rows = paper_rows(found)
    gains = [(row.fused.gain, row.chain.M) for row in rows]
    known = [(gain, size) for gain, size in gains if gain is not None]
    least, size = min(known, default=(None, 0))
    every, unspilled, as_is = summaries(found)
    over = every.mean if every.rows == tuple(row.chain.M for row in rows) else None
    parts = {"where nothing spills": unspilled.mean, "where the default fits": as_is.mean}
    told = ", ".join(f"{value:.4f} {where}" for where, value in parts.items() if value is not None)
    return [
        Bar("bar", "trn1, paper's chain: tuned over AWS's XW, mean", over, 1.35, detail=told),
        Bar(
            "bar",
            "trn1, paper's chain: tuned over untuned, least",
            least if len(known) == len(rows) else None,
            1.0,
            above=True,
            detail=f"M={size}",
        ),
    ]


def _never_slower(found: Sequence[Found]) -> Bar:
    gains = []
    for each in found:
        tuned = [row.fused for row in each.rows] + [row.tuned_product for row in each.rows]
        tuned += [plain.tuned for plain in each.plain]
        gains += [one.gain for one in tuned if one.gain is not None]
        gains += each.recorded
    recorded = sum(len(each.recorded) for each in found)
    detail = f"{len(gains)} workloads, {recorded} of them records of shipped tables"
    least = min(gains, default=None)
    return Bar("bar", "tuned over default, everywhere, least", least, 1.0, detail=detail)


def _plain_shares(found: Found) -> Iterable[tuple[str, float | None]]:
    cases = [(plain.sizes, plain.tuned) for plain in found.plain]
    cases += [(row.chain.product, row.tuned_product) for row in found.rows]
    for sizes, tuned in cases:
        if min(sizes.values()) >= LARGE:
            yield "x".join(map(str, sizes.values())), tuned.best.roofline_share


def claims(found: Sequence[Found]) -> list[Claim]:
    """The paper's claims beside ours, per device."""
    return [claim for each in found for claim in _claims(each)]


def _claims(found: Found) -> list[Claim]:
    rows = paper_rows(found)
    largest = [row for row in rows if row.chain.M == 32768]
    every = summaries(found)[0]

    fitting = [row for row in rows if not row.product.spills and not row.unfused.spills]

    def averaged(value: Callable[[Row], float | None]) -> float | None:
        values = [one for row in fitting if (one := value(row)) is not None]
        return mean(values) if values else None

    traffic = [
        traffic_ratio(row.product, fused)
        for row in largest
        for fused in (row.fused.default, row.fused.best)
    ] or [None, None]
    asked = [
        ("fused XUV over AWS's XW, mean", "1.35x", every.mean),
        ("fused XUV over AWS's XW, maximum", "2.22x", every.maximum),
        ("HBM traffic of AWS's XW over fused XUV, untuned, M=32768", "4.8x", traffic[0]),
        ("HBM traffic of AWS's XW over fused XUV, tuned, M=32768", "4.8x", traffic[1]),
        (
            "time of naive fusion over unfused XUV, mean where nothing spills",
            "about 11x",
            averaged(lambda row: ratio(row.naive, row.unfused)),
        ),
        (
            "DMA time of unfused XUV over AWS's XW, mean where nothing spills",
            "1.65x (+65 %)",
            averaged(lambda row: _dma_ratio(row.unfused, row.product)),
        ),
        (
            "DMA time of unfused XUV over fused XUV, mean where nothing spills",
            "1.65x (+65 %)",
            averaged(lambda row: _dma_ratio(row.unfused, row.fused.best)),
        ),
    ]
    return [Claim(what, theirs, found.device, ours) for what, theirs, ours in asked]


def _dma_ratio(more: Run, less: Run) -> float | None:
    return more.dma_us / less.dma_us if more.dma_us and less.dma_us else None
