"""A time that no schedule of a kernel can beat, from what it does and how often alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.costs import COMPUTE, DMA, QUARTERS, Cost, cost, picoseconds
from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import DmaWork, Engine, MatmulWork, Work
from tuner.neuroncore.schedule.queues import engine_of, trigger_of
from tuner.neuroncore.simulation import start_us

__all__ = ["lower_bound_us"]


def lower_bound_us(
    works: Sequence[Work],
    counts: Sequence[int] | npt.NDArray[np.int64],
    device: Device,
    policy: Policy,
    cores_busy: int = 1,
) -> float:
    """Returns the start and the work of the busiest engine or queue, in microseconds.

    Never above what `predict` says of a program with these works. Where the compiler hoists, only
    what it has to leave in its loop counts: stores, and matmuls that are no transposes.

    Args:
        works: The distinct pieces of work.
        counts: How often each occurs.
        device: The core.
        policy: The compiler's decisions.
        cores_busy: Cores of the chip that move as many bytes at the same time, this one included.
    """
    occupied: dict[str, float] = defaultdict(float)
    transfers: dict[str, int] = defaultdict(int)
    for work, count in zip(works, counts, strict=True):
        if policy.hoists and not _stays(work):
            continue
        one = cost(work, device, policy, cores_busy)
        for where, ps in _occupation(work, one, device, policy).items():
            occupied[where] += ps * int(count)
        if isinstance(work, DmaWork):
            transfers[_ring(work)] += int(count)
    for ring, number in transfers.items():
        occupied[ring] = _queued_ps(ring, number, device, policy)
    return start_us(device, policy) + max(occupied.values(), default=0.0) / 1e6


def _stays(work: Work) -> bool:
    if isinstance(work, MatmulWork):
        return not work.transpose
    return isinstance(work, DmaWork) and work.engine == Engine.STORE


def _occupation(work: Work, one: Cost, device: Device, policy: Policy) -> dict[str, float]:
    """How long a piece of work takes what it runs on, in picoseconds."""
    if one.kind == COMPUTE:
        return {engine_of(work, policy).name: float(min(one.issue_ps, one.latency_ps))}
    if one.kind == DMA:
        shared = {"DMA": one.issue_ps * one.parts / device.dma.engines}
        trigger = trigger_of(work)
        if trigger is not None:
            shared[trigger.name] = float(one.hold_ps)
        return shared
    share = one.parts * one.tile.bit_count() / QUARTERS
    return {"TENSOR": one.latency_ps * share, "stationary": one.issue_ps * share}


def _ring(work: DmaWork) -> str:
    trigger = trigger_of(work)
    return f"{'queues' if trigger is None else 'ring'} {(trigger or work.engine).name}"


def _queued_ps(ring: str, number: int, device: Device, policy: Policy) -> float:
    """When the last transfer of the longest queue can be done: they are issued one by one."""
    queues = {"queues LOAD": policy.load_queues, "queues STORE": policy.store_queues}.get(ring, 1)
    if number == 0:
        return 0.0
    dma = device.dma
    waits = (-(-number // queues) - 1) * picoseconds(dma.issue_interval_ns)
    return waits + picoseconds(dma.start_ns) + picoseconds(dma.done_ns)
