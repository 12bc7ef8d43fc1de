"""nki.collectives: the simulator has one core and none of them; calling one says so."""

from __future__ import annotations

from tuner.nki.isa.unsupported import Refused

__all__ = [
    "ReplicaGroup",
    "all_gather",
    "all_gather_v",
    "all_reduce",
    "all_to_all",
    "all_to_all_v",
    "collective_permute",
    "collective_permute_implicit",
    "collective_permute_implicit_current_processing_rank_id",
    "collective_permute_implicit_reduce",
    "rank_id",
    "reduce_scatter",
]

ReplicaGroup = Refused("nki.collectives.ReplicaGroup")
all_gather = Refused("nki.collectives.all_gather")
all_gather_v = Refused("nki.collectives.all_gather_v")
all_reduce = Refused("nki.collectives.all_reduce")
all_to_all = Refused("nki.collectives.all_to_all")
all_to_all_v = Refused("nki.collectives.all_to_all_v")
collective_permute = Refused("nki.collectives.collective_permute")
collective_permute_implicit = Refused("nki.collectives.collective_permute_implicit")
collective_permute_implicit_current_processing_rank_id = Refused(
    "nki.collectives.collective_permute_implicit_current_processing_rank_id"
)
collective_permute_implicit_reduce = Refused("nki.collectives.collective_permute_implicit_reduce")
rank_id = Refused("nki.collectives.rank_id")
reduce_scatter = Refused("nki.collectives.reduce_scatter")
