"""Policies without a search: where the units' costs cross, and how many tokens are worth trying."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuner.papi.costs import Costs
from tuner.papi.decode import Speculation
from tuner.papi.systems import GPU, PIM, System
from tuner.papi.tables import tables_of
from tuner.runtime.errors import TunerError

__all__ = ["closed_form_alpha", "crossing_alpha", "tokens_to_try"]

MOST_ROWS = 1 << 14


def closed_form_alpha(system: System) -> int:
    """Returns the threshold of a GPU that its memory bounds, which depends on no model: the rows
    that PIM gets through while the GPU reads the weights once.

    Raises:
        TunerError: The system does not have both units.
    """
    _check_both(system)
    gpu, pim = system.gpu, system.fc_pim
    assert gpu is not None
    assert pim is not None
    weights_ns = 1 / (system.gpus * gpu.bytes_per_ns * gpu.bandwidth_share)
    pass_ns = pim.command_ns * pim.fc_scale * pim.commands_per_read
    pass_ns /= pim.command_bytes * pim.banks * system.fc_stacks
    return math.floor(weights_ns / pass_ns + 1e-9) * int(pim.rows_per_read)


def crossing_alpha(costs: Costs, most: int = MOST_ROWS) -> int:
    """Returns the most rows for which PIM is not slower than the GPU, found by bisection.

    It is 0 where PIM always is slower, and `most` where it never is.

    PIM's time rises with every row that needs another pass, the GPU's stays while memory bounds it
    and then rises by less: they cross once.

    Raises:
        TunerError: The system does not have both units.
    """
    _check_both(costs.system)

    def slower(rows: int) -> bool:
        return bool(costs.fc_ns(PIM, np.array(rows)) > costs.fc_ns(GPU, np.array(rows)))

    low, high = 0, most
    if not slower(most):
        return most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if slower(middle) else (middle, high)
    return low


def tokens_to_try(
    costs: Costs,
    speculation: Speculation,
    tries: Sequence[int],
    requests: int,
    length: float,
) -> tuple[tuple[int, int], ...]:
    """Returns the tokens to try by live requests, as `Policy.tlp_by_rlp`: for each number of them
    those whose iteration takes the least time for each token that comes of it.

    It looks at one iteration only, not at how many requests are left after it, and takes whichever
    unit is the quicker.

    Args:
        costs: Of the model on the system.
        speculation: What comes of the tokens.
        tries: The numbers that may be tried.
        requests: Live requests at most.
        length: Tokens in the cache of a request.
    """
    tables = tables_of(costs, requests * max(tries), requests)
    live, quickest = np.arange(1, requests + 1), tables.quickest_ns()
    reads = math.ceil(length / tables.tokens_per_read)
    attention = tables.attention_ns[live] + tables.read_ns[live] * reads
    per_token = []
    for tlp in tries:
        rows = live * tlp
        taken = quickest[rows] + tables.others_ns[rows] + attention * tlp
        taken += (tlp - 1) * speculation.draft_share * quickest[live]
        per_token.append(taken / speculation.parts(tlp))
    best = np.array(tries)[np.argmin(per_token, axis=0)]
    last = np.flatnonzero(np.append(np.diff(best) != 0, True))
    return tuple((int(live[i]), int(best[i])) for i in last)


def _check_both(system: System) -> None:
    if len(system.fc_runs_on) != 2:
        raise TunerError(
            f"system {system.name} runs fully-connected kernels on {system.fc_runs_on[0]} alone: "
            "there is nothing to choose"
        )
