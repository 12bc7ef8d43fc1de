"""nki.isa: what the kernel is traced for, and short names of the engines."""

from __future__ import annotations

from tuner.nki.enums import engine, nc_version
from tuner.nki.limits import generation
from tuner.nki.record.recorder import active

__all__ = [
    "get_nc_version",
    "gpsimd_engine",
    "scalar_engine",
    "tensor_engine",
    "unknown_engine",
    "vector_engine",
]

tensor_engine = engine.tensor
vector_engine = engine.vector
scalar_engine = engine.scalar
gpsimd_engine = engine.gpsimd
unknown_engine = engine.unknown


def get_nc_version() -> nc_version:
    """Returns the generation of the core that the kernel is traced for."""
    return nc_version(generation(active().device))
