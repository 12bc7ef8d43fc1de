"""The enumerations of nki.isa, with NKI's own names."""

from __future__ import annotations

from enum import Enum

__all__ = [
    "dge_mode",
    "dma_engine",
    "engine",
    "matmul_perf_mode",
    "nc_version",
    "oob_mode",
    "reduce_cmd",
]


class engine(Enum):  # noqa: N801 - NKI's name
    """Engines an instruction can be given to; `unknown` leaves it to the compiler."""

    tensor = 1
    vector = 5
    scalar = 2
    gpsimd = 3
    dma = 4
    sync = 6
    unknown = 0


class matmul_perf_mode(Enum):  # noqa: N801 - NKI's name
    """Matmul modes; double_row: two rows of float8 operands a cycle."""

    none = "none"
    double_row = "double_row"


class dge_mode(Enum):  # noqa: N801 - NKI's name
    """Who makes DMA descriptors; the policy's choice stands for `unknown`."""

    unknown = 0
    swdge = 1
    hwdge = 2
    none = 3


class oob_mode(Enum):  # noqa: N801 - NKI's name
    """What happens to addresses computed at run time that are out of bounds."""

    error = 0
    skip = 1


class reduce_cmd(Enum):  # noqa: N801 - NKI's name
    """What an instruction does with the reduction registers of its engine."""

    idle = 0
    reset = 1
    reduce = 2
    reset_reduce = 3
    load_reduce = 4


class nc_version(Enum):  # noqa: N801 - NKI's name
    """Generations of the core."""

    gen2 = 2
    gen3 = 3
    gen4 = 4


class dma_engine(Enum):  # noqa: N801 - NKI's name
    """DMA engines that sendrecv can use."""

    dma = 1
    gpsimd_dma = 2
