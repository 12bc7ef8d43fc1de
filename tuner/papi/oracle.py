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
    tables = _tables(costs, batches.lin.shape[1], tries, speculation)
    advances = np.array([speculation.parts(tlp) for tlp in tries])
    stride = int(np.gcd.reduce(advances))
    switch_ns = costs.system.reschedule_us * NS_PER_US
    total = 0.0
    for lin, lout in zip(batches.lin, batches.lout, strict=True):
        contexts = np.cumsum(lin[::-1])[::-1] / np.arange(len(lin), 0, -1)
        total += _least(lout * FINEST, contexts, advances, stride, FINEST, switch_ns, *tables)
    return total


def _tables(
    costs: Costs, requests: int, tries: Sequence[int], speculation: Speculation
) -> tuple[Any, ...]:
    """Returns what an iteration takes without attention, by unit, index of tries and live requests;
    and what attention takes: for each live request and query, and the tokens that a read covers.
    """
    units = costs.system.fc_runs_on
    rlp = np.arange(requests + 1)
    fc = {unit: costs.fc_ns(unit, np.arange(requests * max(*tries, 1) + 1)) for unit in units}
    quickest = np.minimum.reduce(list(fc.values()))
    fixed = np.empty((len(units), len(tries), requests + 1))
    for u, unit in enumerate(units):
        for i, tlp in enumerate(tries):
            drafts = (tlp - 1) * speculation.draft_share * quickest[rlp]
            others = costs.communication_ns(rlp * tlp) + costs.elementwise_ns + drafts
            fixed[u, i] = fc[unit][rlp * tlp] + others
    one = costs.attention_ns(rlp, 1, 0.0)
    per_read = costs.attention_ns(rlp, 1, 1e-9) - one
    return fixed, one, per_read, costs.attention_tokens_per_read, np.array(tries, dtype=float)


@compiled
def _least(
    ends: Ints,
    contexts: Floats,
    advances: Ints,
    stride: int,
    finest: int,
    switch_ns: float,
    fixed: Any,
    one: Floats,
    per_read: Floats,
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
        attention = one[live] + per_read[live] * reads
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
