"""The costs of a model on a system as tables over rows and live requests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuner.papi.costs import Costs
from tuner.papi.systems import GPU

__all__ = ["Tables", "tables_of"]

Floats = npt.NDArray[np.float64]


class Tables(NamedTuple):
    """What an iteration takes, in nanoseconds, and its energy, in picojoules.

    Attributes:
        fc_ns: Of FC kernels, of shape [units, rows]: PIM, then GPU, where there are both.
        others_ns: Of the link and element-wise kernels, by rows.
        attention_ns: Of one query of each request, without the reads, by live requests.
        read_ns: Of each read of that, by live requests.
        tokens_per_read: Tokens of a request that a read covers.
        fc_pj: As `fc_ns`.
        others_pj: Of the link, by rows.
        attention_pj: Of one query of each request for one token of its cache, by live requests.
    """

    fc_ns: Floats
    others_ns: Floats
    attention_ns: Floats
    read_ns: Floats
    tokens_per_read: float
    fc_pj: Floats
    others_pj: Floats
    attention_pj: Floats

    def quickest_ns(self) -> Floats:
        """Returns what FC kernels take on the quicker unit, by rows."""
        least: Floats = self.fc_ns.min(axis=0)
        return least


def tables_of(costs: Costs, rows: int, requests: int) -> Tables:
    """Returns the tables up to so many rows and live requests."""
    n, live = np.arange(rows + 1), np.arange(requests + 1)
    units = tuple(sorted(costs.system.fc_runs_on, key=lambda unit: unit == GPU))
    empty = costs.attention_ns(live, 1, 0.0)
    return Tables(
        fc_ns=np.array([costs.fc_ns(unit, n) for unit in units]),
        others_ns=costs.communication_ns(n) + costs.elementwise_ns,
        attention_ns=empty,
        read_ns=costs.attention_ns(live, 1, 1e-9) - empty,
        tokens_per_read=costs.attention_tokens_per_read,
        fc_pj=np.array([costs.fc_pj(unit, n) for unit in units]),
        others_pj=costs.communication_pj(n),
        attention_pj=costs.attention_pj(live, 1, 1.0),
    )
