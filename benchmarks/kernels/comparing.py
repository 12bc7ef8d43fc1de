"""Everything that is compared on one device."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from tempfile import TemporaryDirectory

from benchmarks.kernels.runs import Run, prepared, textbook, untuned, xuv_by_two
from benchmarks.kernels.tuned import Searching, Tuned, find_tuned, shipped
from benchmarks.kernels.workloads import MODELS, PAPER, PLAIN, Chain, paper_chain

__all__ = ["Asked", "Found", "Plain", "Row", "compare", "compare_all"]

JOBS = 2


@dataclass(frozen=True)
class Asked:
    """What to compare: the paper's chain with these rows; with the models and plain matmuls or
    without.
    """

    rows: tuple[int, ...]
    trials: int
    tables: bool = True
    others: bool = True


@dataclass(frozen=True)
class Row:
    """The ways to compute one layer.

    Attributes:
        product: x @ w by AWS's kernel.
        tuned_product: x @ w by the tuned one.
        unfused: The chain by AWS's kernel, twice.
        naive: The chain fused so that the intermediate is computed again for each block of columns.
        fused: The chain by `xuv`: its default is the structure of NeuronMM.
    """

    device: str
    chain: Chain
    product: Run
    tuned_product: Tuned
    unfused: Run
    naive: Run
    fused: Tuned

    @property
    def of_paper(self) -> bool:
        """Whether it belongs to the paper's kernel curve."""
        return self.chain.name == PAPER

    @property
    def ways(self) -> list[tuple[str, Run]]:
        """All of them by name."""
        return [
            ("XW, AWS", self.product),
            ("XW, tuned", self.tuned_product.best),
            ("XUV unfused, AWS twice", self.unfused),
            ("XUV naive fusion", self.naive),
            ("XUV fused, untuned", self.fused.default),
            ("XUV fused, tuned", self.fused.best),
        ]


@dataclass(frozen=True)
class Plain:
    """A plain matmul."""

    device: str
    sizes: dict[str, int]
    tuned: Tuned


@dataclass(frozen=True)
class Found:
    """What was found on one device.

    Attributes:
        recorded: Of each record of the shipped table, how many times faster than the default.
        seconds: How long it took.
    """

    device: str
    rows: tuple[Row, ...]
    plain: tuple[Plain, ...]
    recorded: tuple[float, ...]
    seconds: float


def compare_all(devices: Sequence[str], asked: Asked) -> list[Found]:
    """Compares on each device, on several at the same time."""
    if len(devices) == 1:
        return [compare(devices[0], asked)]
    with ProcessPoolExecutor(JOBS, mp_context=get_context("spawn")) as pool:
        return list(pool.map(compare, devices, [asked] * len(devices)))


def compare(device: str, asked: Asked) -> Found:
    """Compares on one device; says on stderr where it is."""
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        searching = Searching(folder, asked.trials, asked.tables)
        chains = [paper_chain(rows) for rows in asked.rows] + list(MODELS if asked.others else ())
        rows = []
        for chain in chains:
            rows.append(row_of(device, chain, searching))
            _say(device, f"{chain.name} M={chain.M}", start)
        plain = []
        for sizes in PLAIN if asked.others else ():
            plain.append(Plain(device, sizes, find_tuned("matmul", sizes, device, searching)))
            _say(device, "matmul " + "x".join(map(str, sizes.values())), start)
    gains = [r.default_latency_us / r.latency_us for r in shipped(device) if r.default_latency_us]
    seconds = time.perf_counter() - start
    return Found(device, tuple(rows), tuple(plain), tuple(gains), seconds)


def row_of(device: str, chain: Chain, searching: Searching) -> Row:
    """Simulates every way to compute one layer."""
    job = prepared("xuv", chain.sizes, device)
    return Row(
        device,
        chain,
        product=textbook(device, **chain.product),
        tuned_product=find_tuned("matmul", chain.product, device, searching),
        unfused=xuv_by_two(device, chain, job.info.roofline_us),
        naive=untuned(job, intermediate="recompute"),
        fused=find_tuned("xuv", chain.sizes, device, searching),
    )


def _say(device: str, what: str, start: float) -> None:
    print(f"{device} {what}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
