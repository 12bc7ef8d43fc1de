"""The best that any policy could do: dynamic programming over unit, speculation length and step.

A batch's state is how far its requests are and which unit ran last. The oracle knows when each
response ends and picks, at every iteration, the unit and the tokens to try that make the rest
cheapest. It is a bound for policies that see live requests only, not one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.papi.costs import Costs
from tuner.papi.decode import CERTAIN, FINEST, NS_PER_US, Speculation
from tuner.papi.tables import tables_of
from tuner.papi.traces import Batches

__all__ = ["oracle_ns"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def oracle_ns(
    costs: Costs,
    batches: Batches,
    tries: Sequence[int],
    speculation: Speculation = CERTAIN,
) -> float:
    """Returns the least time in which all iterations of the batches can be done.

    Args:
        costs: Of the model on the system.
        batches: The requests.
        tries: The numbers of tokens that may be tried at an iteration.
        speculation: What comes of them.
    """
    most = batches.lin.shape[1]
    tables = tables_of(costs, most * max(tries), most)
    live, tried = np.arange(most + 1), np.array(tries)
    drafts = np.outer(tried - 1, speculation.draft_share * tables.quickest_ns()[live])
    rows = np.outer(tried, live)
    fixed = tables.fc_ns[:, rows] + tables.others_ns[rows] + drafts
    advances = np.array([speculation.parts(tlp) for tlp in tries])
    stride = int(np.gcd.reduce(advances))
    switch_ns = costs.system.reschedule_us * NS_PER_US
    total = 0.0
    for lin, lout in zip(batches.lin, batches.lout, strict=True):
        contexts = np.cumsum(lin[::-1])[::-1] / np.arange(len(lin), 0, -1)
        total += _least(
            lout * FINEST,
            contexts,
            advances,
            stride,
            FINEST,
            switch_ns,
            fixed,
            tables.attention_ns,
            tables.read_ns,
            tables.tokens_per_read,
            tried.astype(float),
        )
    return total


@compiled
def _least(
    ends: Ints,
    contexts: Floats,
    advances: Ints,
    stride: int,
    finest: int,
    switch_ns: float,
    fixed: Any,
    empty: Floats,
    each_read: Floats,
    tokens_per_read: float,
    tries: Floats,
) -> float:
    """Returns the least time of a batch; goes from its end to its begin."""
    requests = len(ends)
    units = fixed.shape[0]
    states = -(-ends[-1] // stride)
    cost = np.zeros((states + 1, units))
    done = requests
    for state in range(states - 1, -1, -1):
        at = state * stride
        while done > 0 and ends[done - 1] > at:
            done -= 1
        live = requests - done
        reads = np.ceil((contexts[done] + at / finest) / tokens_per_read)
        attention = empty[live] + each_read[live] * reads
        for unit in range(units):
            cost[state, unit] = np.inf
        for i in range(len(advances)):
            after = min(state + advances[i] // stride, states)
            for unit in range(units):
                taken = fixed[unit, i, live] + attention * tries[i]
                taken += cost[after, unit]
                for before in range(units):
                    whole = taken + (switch_ns if before != unit else 0.0)
                    if whole < cost[state, before]:
                        cost[state, before] = whole
    least = cost[0, 0]
    for unit in range(units):
        least = min(least, cost[0, unit])
    return float(least)
