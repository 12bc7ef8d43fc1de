"""nki.isa: what the simulator does not have; calling it says so."""

from __future__ import annotations

from typing import Any

from tuner.nki.errors import NotSupportedError

__all__ = [
    "Refused",
    "VirtualRegister",
    "activate2",
    "core_barrier",
    "dropout",
    "get_nc_sub_version",
    "local_gather",
    "nc_find_index8",
    "nc_match_replace8",
    "nc_matmul_mx",
    "nc_n_gather",
    "nonzero_with_count",
    "quantize_mx",
    "rand2",
    "rand_get_state",
    "rand_set_state",
    "register_alloc",
    "register_load",
    "register_move",
    "register_store",
    "rng",
    "sendrecv",
    "sequence_bounds",
    "set_rng_seed",
    "tensor_partition_reduce",
    "topk",
]


class Refused:
    """A name of NKI that can be imported and not be called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raises NotSupportedError."""
        raise NotSupportedError(self.name)


VirtualRegister = Refused("nki.isa.VirtualRegister")
activate2 = Refused("nki.isa.activate2")
core_barrier = Refused("nki.isa.core_barrier")
dropout = Refused("nki.isa.dropout")
get_nc_sub_version = Refused("nki.isa.get_nc_sub_version")
local_gather = Refused("nki.isa.local_gather")
nc_find_index8 = Refused("nki.isa.nc_find_index8")
nc_match_replace8 = Refused("nki.isa.nc_match_replace8")
nc_matmul_mx = Refused("nki.isa.nc_matmul_mx")
nc_n_gather = Refused("nki.isa.nc_n_gather")
nonzero_with_count = Refused("nki.isa.nonzero_with_count")
quantize_mx = Refused("nki.isa.quantize_mx")
rand2 = Refused("nki.isa.rand2")
rand_get_state = Refused("nki.isa.rand_get_state")
rand_set_state = Refused("nki.isa.rand_set_state")
register_alloc = Refused("nki.isa.register_alloc")
register_load = Refused("nki.isa.register_load")
register_move = Refused("nki.isa.register_move")
register_store = Refused("nki.isa.register_store")
rng = Refused("nki.isa.rng")
sendrecv = Refused("nki.isa.sendrecv")
sequence_bounds = Refused("nki.isa.sequence_bounds")
set_rng_seed = Refused("nki.isa.set_rng_seed")
tensor_partition_reduce = Refused("nki.isa.tensor_partition_reduce")
topk = Refused("nki.isa.topk")
