"""The enumerations of nki.isa, with NKI's own names."""

from __future__ import annotations

from enum import Enum

__all__ = ["dge_mode", "engine", "matmul_perf_mode", "oob_mode", "reduce_cmd"]


class engine(Enum):  # noqa: N801 - NKI's name
    """Engines an instruction can be given to."""

    unknown = 0
    tensor = 1
    scalar = 2
    gpsimd = 3
    dma = 4
    vector = 5
    sync = 6


class matmul_perf_mode(Enum):  # noqa: N801 - NKI's name
    """Matmul modes; only `none` is simulated."""

    none = "none"
    double_row = "double_row"


class dge_mode(Enum):  # noqa: N801 - NKI's name
    """How DMA descriptors are made; the policy's choice stands for `unknown`."""

    unknown = 0
    swdge = 1
    hwdge = 2
    none = 3


class oob_mode(Enum):  # noqa: N801 - NKI's name
    """What happens out of bounds; only `error` is simulated."""

    error = 0
    skip = 1


class reduce_cmd(Enum):  # noqa: N801 - NKI's name
    """Commands of the reduction registers; only `idle` is simulated."""

    idle = 0
    reset = 1
    reduce = 2
    reset_reduce = 3
    load_reduce = 4
