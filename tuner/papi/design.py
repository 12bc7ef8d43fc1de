"""Which memory that computes can be built: area, power and capacity (PAPI Eq 3, Fig 7)."""

from __future__ import annotations

import math
from functools import cache

import msgspec

from tuner.neuroncore.device_files import Constant
from tuner.papi.files import Count, Positive, facts_of, to_struct
from tuner.papi.hardware import Pim

__all__ = ["Die", "bank_groups", "banks_that_fit", "built", "die", "power_w"]

FOLDER = "dies"


class Die(msgspec.Struct, frozen=True, kw_only=True):
    """A die of a stack.

    Attributes:
        bank_mm2: Area of a bank without FPUs.
        budget_w: Power that a stack may take.
        groups: Bank groups of an unchanged die.
    """

    name: str
    die_mm2: Positive
    bank_mm2: Positive
    fpu_mm2: Positive
    budget_w: Positive
    dies: Count
    banks_of_a_group: Count
    groups: Count
    gib_of_a_group: Positive
    constants: tuple[Constant, ...] = ()


@cache
def die(name: str = "hbm3") -> Die:
    """Returns a die by the name of its file."""
    return to_struct(facts_of("die", name, FOLDER), Die)


def banks_that_fit(of: Die, fpus_per_bank: float) -> int:
    """Returns the banks of a die that its area has room for (PAPI Eq 3)."""
    return math.floor(of.die_mm2 / (fpus_per_bank * of.fpu_mm2 + of.bank_mm2))


def bank_groups(of: Die, fpus_per_bank: float) -> int:
    """Returns the whole bank groups of a die that its area has room for."""
    return min(banks_that_fit(of, fpus_per_bank) // of.banks_of_a_group, of.groups)


def power_w(of: Die, pim: Pim, reuse: float) -> float:
    """Returns the power of a stack whose commands come as fast as they can.

    Args:
        of: The die.
        pim: What is on it.
        reuse: Rows that are multiplied with what was read once.
    """
    share = pim.banks / (of.dies * of.groups * of.banks_of_a_group)
    energy = (1 / reuse + pim.compute_energy_share) / (1 + pim.compute_energy_share)
    return pim.full_power_w * share * pim.fpus_per_bank * energy


def built(of: Die, pim: Pim, fpus_per_bank: float, groups: int) -> Pim:
    """Returns a stack with other FPUs and so many bank groups a die."""
    return msgspec.structs.replace(
        pim,
        name=f"{fpus_per_bank:g}P1B x {groups}",
        fpus_per_bank=fpus_per_bank,
        banks=groups * of.banks_of_a_group * of.dies,
        stack_gib=groups * of.gib_of_a_group,
    )
