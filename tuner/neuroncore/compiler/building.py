"""From a recorded program to what the core runs: what the compiler does before the schedule."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.neuroncore.compiler.memory import MemoryPlan, plan_memory
from tuner.neuroncore.compiler.rewriting import rewrite
from tuner.neuroncore.compiler.spilling import spill
from tuner.neuroncore.device import Device
from tuner.neuroncore.policy import Policy
from tuner.neuroncore.program import Program

__all__ = ["Built", "build"]


@dataclass(frozen=True)
class Built:
    """A program ready to run.

    Attributes:
        program: Renamed, hoisted and spilled, as far as the policy says so.
        memory: Where its tensors lie.
        spill_saved_bytes: Stored to HBM because tiles did not fit.
        spill_reloaded_bytes: Loaded again from there.
        reread_bytes: Read again from where they were loaded before.
    """

    program: Program
    memory: MemoryPlan
    spill_saved_bytes: int
    spill_reloaded_bytes: int
    reread_bytes: int


def build(program: Program, device: Device, policy: Policy) -> Built:
    """Does to a program what the compiler does, and gives its tensors their memory.

    Raises:
        CapacityError: Its tensors do not fit, and the policy does not spill, or not PSUM.
    """
    spilled = spill(rewrite(program, device, policy), device, policy)
    return Built(
        program=spilled.program,
        memory=plan_memory(spilled.program, device, policy),
        spill_saved_bytes=spilled.saved_bytes,
        spill_reloaded_bytes=spilled.reloaded_bytes,
        reread_bytes=spilled.reread_bytes,
    )
