"""Decoding of batches that begin together and end with their longest response.

All live requests of a batch advance by the same number of tokens at each iteration, so that how far
they are is one number, and which of them are live follows from it. What changes from iteration to
iteration is known before any time is: one simulation of the steps serves every system and policy
that tries as many tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tuner.papi.costs import PJ_PER_W_NS, Costs
from tuner.papi.policies import Policy
from tuner.papi.systems import GPU, PIM
from tuner.papi.traces import Batches
from tuner.runtime.errors import TunerError

__all__ = ["CERTAIN", "Decoded", "Speculation", "Steps", "decode", "steps_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
NS_PER_US, NS_PER_S = 1e3, 1e9
FINEST = 64
"""Expected tokens of an iteration are counted in so many parts of one."""


@dataclass(frozen=True)
class Speculation:
    """Speculative decoding: tokens that a draft model proposes and the model checks at once.

    Attributes:
        acceptance: Chance that a proposed token is right, given that those before it were; 1 where
            all are.
        draft_share: Time that the draft model takes to propose one, as a share of one pass of the
            model's FC kernels over the live requests on the quicker unit.
    """

    acceptance: float = 1.0
    draft_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.acceptance <= 1:
            raise TunerError(f"acceptance = {self.acceptance!r}: expected more than 0, up to 1")
        if not 0 <= self.draft_share <= 1:
            raise TunerError(f"draft_share = {self.draft_share!r}: expected 0 to 1")

    def parts(self, tlp: int) -> int:
        """Returns what a request advances at an iteration that tries so many tokens, as expected,
        in 1/64 of a token; at least one token, as the model gives the first itself.
        """
        beta = self.acceptance
        tokens = float(tlp) if beta == 1 else (1 - beta**tlp) / (1 - beta)
        return max(round(tokens * FINEST), FINEST)


CERTAIN = Speculation()
"""Every proposed token is right, and costs nothing to propose."""


@dataclass(frozen=True)
class Steps:
    """All iterations of some batches, one batch after the other.

    Attributes:
        rlp: Live requests.
        tlp: Tokens that each tries.
        length: Tokens in the cache of a live request, on average.
        first: Index of each batch's first iteration.
        prompts: Prompt tokens of each batch.
        tokens: Response tokens of each batch.
    """

    rlp: Ints
    tlp: Ints
    length: Floats
    first: Ints
    prompts: Ints
    tokens: Ints

    @cached_property
    def rows(self) -> Ints:
        """Rows that go through the FC kernels."""
        return self.rlp * self.tlp


def steps_of(
    batches: Batches, tlp: Callable[[int], int], speculation: Speculation = CERTAIN
) -> Steps:
    """Returns the iterations of batches.

    Args:
        batches: The requests.
        tlp: Tokens that each of so many live requests tries.
        speculation: What comes of them.
    """
    segments: list[tuple[int, int, int, int, int]] = []
    contexts, first = [], []
    for lin, lout in zip(batches.lin, batches.lout, strict=True):
        first.append(len(segments))
        ends = lout * FINEST
        left = np.cumsum(lin[::-1])[::-1]  # prompt tokens of a request and all longer ones
        done = at = 0
        while done < len(lout):
            live = len(lout) - done
            tried = tlp(live)
            step = speculation.parts(tried)
            count = -(-(int(ends[done]) - at) // step)
            segments.append((live, tried, count, at, step))
            contexts.append(left[done] / live)
            at += count * step
            done = int(np.searchsorted(ends, at, side="right"))
    lives, tries, repeats, begins, advances = np.array(segments).T
    starts = np.concatenate(([0], np.cumsum(repeats)))
    index = np.arange(starts[-1]) - np.repeat(starts[:-1], repeats)
    parts = np.repeat(begins, repeats) + index * np.repeat(advances, repeats)
    return Steps(
        rlp=np.repeat(lives, repeats),
        tlp=np.repeat(tries, repeats),
        length=np.repeat(np.array(contexts), repeats) + parts / FINEST,
        first=starts[np.array(first)],
        prompts=batches.lin.sum(axis=1),
        tokens=batches.lout.sum(axis=1),
    )


@dataclass(frozen=True)
class Decoded:
    """What decoding some batches takes, all together.

    Attributes:
        iteration_ns: Of each iteration, change of unit included.
        on_gpu: Whether the GPU ran its FC kernels.
        prefill_ns: Of all prompts.
        changes: Changes from one unit to the other.
        fc_ns: Of all FC kernels, without the prompts', as the next two.
        energy_pj: Of everything, prompts included.
        fc_pj: Of all FC kernels, without the prompts'.
        tokens: Of all responses.
    """

    iteration_ns: Floats
    on_gpu: npt.NDArray[np.bool_]
    prefill_ns: float
    changes: int
    fc_ns: float
    attention_ns: float
    communication_ns: float
    energy_pj: float
    fc_pj: float
    tokens: int

    @property
    def decode_ns(self) -> float:
        """Time of all iterations."""
        return float(self.iteration_ns.sum())

    @property
    def total_ns(self) -> float:
        """Time from the prompts to the last token."""
        return self.prefill_ns + self.decode_ns

    @property
    def tokens_per_s(self) -> float:
        """Response tokens a second."""
        return self.tokens / (self.total_ns / NS_PER_S)


def decode(
    costs: Costs, steps: Steps, policy: Policy, speculation: Speculation = CERTAIN
) -> Decoded:
    """Returns what decoding takes under a policy. The tokens that it tries are those of the steps;
    a system with one unit has no choice.
    """
    system = costs.system
    on_gpu = _on_gpu(costs, steps, policy)
    rows, most = steps.rows, int(steps.rows.max())
    every = np.arange(most + 1)
    fc = {unit: costs.fc_ns(unit, every) for unit in system.fc_runs_on}
    fc_ns = _chosen(fc, rows, on_gpu)
    attention_ns = costs.attention_ns(steps.rlp, steps.tlp, steps.length)
    communication_ns = costs.communication_ns(every)[rows]
    quickest = np.minimum.reduce(list(fc.values()))
    drafts = (steps.tlp - 1) * speculation.draft_share * quickest[steps.rlp]
    changed = np.diff(on_gpu, prepend=on_gpu[:1])
    changed[steps.first] = False
    taken_ns = (
        fc_ns
        + attention_ns
        + communication_ns
        + drafts
        + costs.elementwise_ns
        + changed * (system.reschedule_us * NS_PER_US)
    )
    prefill_ns = float(costs.prefill_ns(steps.prompts).sum())
    fc_pj = float(_chosen({u: costs.fc_pj(u, every) for u in fc}, rows, on_gpu).sum())
    others_pj = (
        costs.attention_pj(steps.rlp, steps.tlp, steps.length) + costs.communication_pj(rows)
    ).sum()
    prefill_pj = float(costs.prefill_pj(steps.prompts).sum())
    static_pj = costs.static_w * PJ_PER_W_NS * (prefill_ns + taken_ns.sum())
    return Decoded(
        iteration_ns=taken_ns,
        on_gpu=on_gpu,
        prefill_ns=prefill_ns,
        changes=int(changed.sum()),
        fc_ns=float(fc_ns.sum()),
        attention_ns=float(attention_ns.sum()),
        communication_ns=float(communication_ns.sum()),
        energy_pj=fc_pj + float(others_pj) + prefill_pj + float(static_pj),
        fc_pj=fc_pj,
        tokens=int(steps.tokens.sum()),
    )


def _on_gpu(costs: Costs, steps: Steps, policy: Policy) -> npt.NDArray[np.bool_]:
    units = costs.system.fc_runs_on
    if len(units) == 1:
        return np.full(len(steps.rlp), units[0] == GPU)
    return policy.on_gpu(steps.rows, steps.first)


def _chosen(tables: dict[str, Floats], rows: Ints, on_gpu: npt.NDArray[np.bool_]) -> Floats:
    if len(tables) == 1:
        (table,) = tables.values()
        return table[rows]
    return np.where(on_gpu, tables[GPU][rows], tables[PIM][rows])
