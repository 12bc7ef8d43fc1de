"""Compiler policies: what the compiler decides and a kernel's source does not say."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.runtime.errors import unknown

__all__ = ["POLICIES", "Policy", "policy"]


@dataclass(frozen=True)
class Policy:
    """One set of compiler decisions; part of every fingerprint.

    Attributes:
        load_queues: DMA queues for transfers into SBUF, taken in turn.
        store_queues: DMA queues for transfers into HBM, taken in turn; never shared with loads.
        rotation_depth: How many times over the buffers of an allocation inside a loop exist, memory
            permitting. An allocation outside all loops is one buffer.
    """

    name: str
    load_queues: int
    store_queues: int
    rotation_depth: int


POLICIES = {"nki": Policy("nki", load_queues=2, store_queues=1, rotation_depth=2)}


def policy(name: str) -> Policy:
    """Returns a policy by name.

    Raises:
        TunerError: There is no such policy.
    """
    if name not in POLICIES:
        raise unknown("compiler policy", name, POLICIES)
    return POLICIES[name]
