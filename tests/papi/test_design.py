"""The stacks that can be built, against what the paper says of them."""

from __future__ import annotations

import pytest

from tuner.papi.design import bank_groups, banks_that_fit, built, die, power_w
from tuner.papi.hardware import Pim, hardware


def pim(name: str) -> Pim:
    found = hardware(name)
    assert isinstance(found, Pim)
    return found


def test_four_fpus_a_bank_leave_room_for_97_banks_and_three_groups_of_them() -> None:
    assert banks_that_fit(die(), 4) == 97
    assert bank_groups(die(), 4) == 3
    assert bank_groups(die(), 1) == die().groups == 4


@pytest.mark.parametrize(
    ("fpus", "banks", "groups"),
    [(0.5, 137, 4), (1, 129, 4), (2, 116, 3), (3, 106, 3), (6, 83, 2), (8, 73, 2)],
)
def test_more_fpus_leave_fewer_banks(fpus: float, banks: int, groups: int) -> None:
    assert (banks_that_fit(die(), fpus), bank_groups(die(), fpus)) == (banks, groups)


def test_the_paper_s_stack_is_what_is_built() -> None:
    made, fc_pim = built(die(), pim("attacc"), 4, 3), pim("fc_pim")
    assert (made.banks, made.stack_gib, made.fpus_per_bank) == (
        fc_pim.banks,
        fc_pim.stack_gib,
        fc_pim.fpus_per_bank,
    )


def test_what_keeps_to_the_power_budget_is_what_the_paper_says() -> None:
    budget_w = die().budget_w
    assert (
        power_w(die(), pim("fc_pim"), reuse=4) < budget_w < power_w(die(), pim("fc_pim"), reuse=1)
    )
    assert (
        power_w(die(), pim("attn_pim"), reuse=1) < budget_w < power_w(die(), pim("attacc"), reuse=1)
    )
