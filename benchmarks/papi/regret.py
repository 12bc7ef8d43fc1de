"""How far policies are from the oracle, on shipped traces with speculation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.papi.closed_form import crossing_alpha, tokens_to_try
from tuner.papi.costs import Costs
from tuner.papi.decode import Speculation, decode, steps_of
from tuner.papi.models import model
from tuner.papi.oracle import oracle_ns
from tuner.papi.policies import NEVER, Policy
from tuner.papi.systems import system
from tuner.papi.traces import Batches, trace

__all__ = ["POLICIES", "TRIES", "Case", "cases", "regrets", "summary"]

TRIES = (1, 2, 3, 4, 6, 8)
PAPER_TLP = 4
ACCEPTANCES, DRAFT_SHARE = (0.6, 0.7, 0.8, 0.9), 0.02
BATCHES, SEED = 8, 1
POLICIES = ("GPU alone", "PIM alone", "alpha, 4 tokens", "alpha, best number", "alpha and numbers")
"""The third is the paper's: one alpha, one speculation length."""


@dataclass(frozen=True)
class Case:
    """What is decoded."""

    costs: Costs
    batches: Batches
    speculation: Speculation
    name: str


def cases(models: Sequence[str] = ("llama-65b", "gpt-3-175b", "llama-3.1-70b")) -> list[Case]:
    """Returns all models, categories, batch sizes and acceptances."""
    return [
        Case(
            Costs(system("papi"), model(of)),
            trace(category).batches(size, BATCHES, SEED),
            Speculation(acceptance, DRAFT_SHARE),
            f"{of} {category} B={size} acceptance={acceptance:g}",
        )
        for of in models
        for category in ("creative_writing", "open_qa")
        for size in (4, 16, 64)
        for acceptance in ACCEPTANCES
    ]


def regrets(case: Case) -> Mapping[str, float]:
    """Returns by how much of the oracle's time each policy takes longer."""
    costs, batches, speculation = case.costs, case.batches, case.speculation
    alpha = crossing_alpha(costs)
    size = batches.lin.shape[1]
    length = float(batches.lin.mean() + batches.lout.mean() / 2)

    def taken(up: int, *numbers: tuple[int, int]) -> float:
        policy = Policy(up, up, tlp_by_rlp=numbers)
        return decode(
            costs, steps_of(batches, policy.tlp, speculation), policy, speculation
        ).decode_ns

    fixed = {tlp: taken(alpha, (NEVER, tlp)) for tlp in TRIES}
    best = min(fixed, key=lambda tlp: fixed[tlp])
    table = tokens_to_try(costs, speculation, TRIES, size, length)
    found = (
        taken(0, (NEVER, PAPER_TLP)),
        taken(NEVER, (NEVER, PAPER_TLP)),
        fixed[PAPER_TLP],
        fixed[best],
        taken(alpha, *table),
    )
    least = oracle_ns(costs, batches, TRIES, speculation)
    return {name: each / least - 1 for name, each in zip(POLICIES, found, strict=True)}


def summary(found: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Returns mean and largest regret of each policy, and its mean time over that of the last."""
    last = POLICIES[-1]
    return {
        name: (
            float(np.mean([each[name] for each in found])),
            max(each[name] for each in found),
            float(np.mean([(1 + each[name]) / (1 + each[last]) for each in found])),
        )
        for name in POLICIES
    }
