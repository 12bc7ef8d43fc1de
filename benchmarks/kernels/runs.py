"""One kernel with one config on one simulated device, and what it says of time and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.kernels.workloads import DTYPE, Chain
from tuner.backends import Candidate, Problem, Status, evaluate, make_backend
from tuner.job import Job, Prepared, prepare
from tuner.kernel import read_kernel
from tuner.runtime.rules import Config
from tuner.space import parse_argument

__all__ = ["Run", "in_turn", "prepared", "published", "run", "textbook", "untuned", "xuv_by_two"]

LADDER = Path(__file__).resolve().parents[1] / "measurements" / "matmul_ladder.py"
SPILLING = {"trn1": "beta1"}
SPILLING_ELSEWHERE = "nki:guide"


@dataclass(frozen=True)
class Run:
    """What the simulator says; of several kernels one after the other, together.

    Attributes:
        policy: The compiler that built it.
        note: What is special about it.
        latency_us: None where it failed.
        reason: Why.
        roofline_us: What no kernel for the same product or chain can beat.
        sbuf_peak_bytes: Per partition.
        dma_us: Time in which DMA was busy.
    """

    policy: str
    roofline_us: float
    latency_us: float | None = None
    reason: str = ""
    note: str = ""
    error_percent: float = 0.0
    hbm_read_bytes: int = 0
    hbm_written_bytes: int = 0
    spill_saved_bytes: int = 0
    spill_reloaded_bytes: int = 0
    sbuf_peak_bytes: int = 0
    dma_us: float = 0.0

    @property
    def overflows(self) -> bool:
        """Whether it failed because its tiles do not fit."""
        return self.latency_us is None and "out of memory in SBUF" in self.reason

    @property
    def hbm_bytes(self) -> int:
        """Bytes read and written."""
        return self.hbm_read_bytes + self.hbm_written_bytes

    @property
    def spills(self) -> bool:
        """Whether tiles were sent to HBM and back."""
        return self.spill_saved_bytes + self.spill_reloaded_bytes > 0

    @property
    def roofline_share(self) -> float | None:
        """How much of what the device sustains is used."""
        return None if self.latency_us is None else self.roofline_us / self.latency_us


def prepared(kernel: str, sizes: Mapping[str, int], device: str) -> Prepared:
    """Looks up a bundled kernel for a workload."""
    return prepare(Job(kernel, dict(sizes), dtype=DTYPE, device=device))


def run(job: Prepared, config: Config, note: str = "") -> Run:
    """Simulates a config of a bundled kernel."""
    return _run(job.problem, config, job.info.roofline_us, "nki", note)


def untuned(job: Prepared, **parameters: Any) -> Run:
    """Simulates the default config, with some parameters changed."""
    config = {**job.info.default, **parameters}
    return run(job, job.space.rules.complete(config, job.space.scope))


def textbook(device: str, M: int, K: int, N: int) -> Run:
    """AWS's fully optimised matmul, out[M,N] = lhsT[K,M]^T @ rhs[K,N], as it is published.

    That is the default config of `matmul`, even where another one nearby would fit. Where it
    overflows SBUF, the published kernel tile by tile stands for it, built by the compiler of its
    time, which spills single tiles: sums that are one tensor, as in ours, could only go as a whole.
    """
    job = prepared("matmul", {"M": M, "K": K, "N": N}, device)
    found = run(job, job.space.rules.complete({}, job.space.scope))
    return published(device, M, K, N, job.info.roofline_us) if found.overflows else found


def published(device: str, M: int, K: int, N: int, roofline_us: float) -> Run:
    """AWS's fully optimised matmul with a tensor for each tile, by the compiler that spills."""
    policy = SPILLING.get(device, SPILLING_ELSEWHERE)
    tensors = [f"lhsT={DTYPE}[{K},{M}]", f"rhs={DTYPE}[{K},{N}]"]
    problem = Problem(
        read_kernel(LADDER, "fully_optimized"),
        tuple(parse_argument(text) for text in tensors),
        device,
        options={"policy": policy, "on_overflow": "spill"},
    )
    config: Config = {"tiles_m": min(16, -(-M // 128)), "tiles_n": 2, "tiles_k": 8}
    return _run(problem, config, roofline_us, policy, "published kernel")


def xuv_by_two(device: str, chain: Chain, roofline_us: float) -> Run:
    """The chain as AWS's matmul run twice, with the intermediate in HBM.

    The second product wants the intermediate as h[R,M], r on partitions. The first writes it so:
    its operands change places, h = u^T @ x^T of u[K,R] and x[K,M]. Nothing is transposed, which is
    the best case of an unfused chain.
    """
    first = textbook(device, chain.R, chain.K, chain.M)
    second = textbook(device, chain.M, chain.R, chain.N)
    return in_turn(first, second, roofline_us)


def in_turn(first: Run, second: Run, roofline_us: float) -> Run:
    """Two kernels one after the other: times and bytes add up, both launches with them."""
    if first.latency_us is None or second.latency_us is None:
        failed = first if first.latency_us is None else second
        return Run(failed.policy, roofline_us, reason=failed.reason, note=failed.note)
    both = (first, second)
    return Run(
        policy=" + ".join(dict.fromkeys(each.policy for each in both)),
        roofline_us=roofline_us,
        latency_us=first.latency_us + second.latency_us,
        note=" + ".join(dict.fromkeys(each.note for each in both if each.note)),
        error_percent=max(each.error_percent for each in both),
        hbm_read_bytes=sum(each.hbm_read_bytes for each in both),
        hbm_written_bytes=sum(each.hbm_written_bytes for each in both),
        spill_saved_bytes=sum(each.spill_saved_bytes for each in both),
        spill_reloaded_bytes=sum(each.spill_reloaded_bytes for each in both),
        sbuf_peak_bytes=max(each.sbuf_peak_bytes for each in both),
        dma_us=sum(each.dma_us for each in both),
    )


def _run(problem: Problem, config: Config, roofline_us: float, policy: str, note: str) -> Run:
    found = evaluate(make_backend(problem), Candidate(0, config))
    if found.status != Status.CORRECT:
        return Run(policy, roofline_us, reason=found.reason, note=note)
    figures = found.figures
    return Run(
        policy=policy,
        roofline_us=roofline_us,
        latency_us=found.latency_us,
        note=note,
        error_percent=figures["error_percent"],
        hbm_read_bytes=figures["hbm_read_bytes"],
        hbm_written_bytes=figures["hbm_written_bytes"],
        spill_saved_bytes=figures["spill_saved_bytes"],
        spill_reloaded_bytes=figures["spill_reloaded_bytes"],
        sbuf_peak_bytes=figures["sbuf_peak_bytes_per_partition"],
        dma_us=figures["busy_us"]["DMA"],
    )
