"""What a kernel runs on: a size for each dim, and a word for each variant of what it computes.

Both are one mapping, as in `{"M": 1024, "N": 512, "epilogue": "bias"}`: the dims in the kernel's
order, then the variants, but for those at their default. So equal workloads are equal mappings, and
those of a kernel that gains a variant stay what they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.runtime.errors import TunerError, unknown

TYPE_CHECKING = False  # as in typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "MAX_SIZE",
    "Sizes",
    "Variants",
    "checked_sizes",
    "dims_of",
    "variant_values",
    "without_defaults",
    "words_of",
    "workload_key",
]

MAX_SIZE = 1 << 31

Sizes = Mapping[str, int | str]
"""Sizes by dim, then words by variant; those at their default are left out."""
Variants = Mapping[str, Sequence[str]]
"""The words that each variant may be, its default first."""


def checked_sizes(
    kernel: str, dims: Sequence[str], variants: Variants, given: Mapping[str, Any]
) -> dict[str, int | str]:
    """Returns what was given in the one way to write it.

    Raises:
        TunerError: An unknown or missing dim, a size outside 1..2**31, an unknown variant or a
            word that is none of its.
    """
    for name, value in given.items():
        if name in variants:
            if value not in variants[name]:
                raise unknown(f"value of {kernel}'s variant {name}:", value, variants[name])
        elif name not in dims:
            what = "dim or variant" if variants else "dim"
            raise unknown(f"{what} of {kernel}:", name, [*dims, *variants])
        elif not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
            raise TunerError(
                f"{kernel}: {name}={value!r}: expected a whole number from 1 to {MAX_SIZE}"
            )
    missing = [dim for dim in dims if dim not in given]
    if missing:
        raise TunerError(
            f"{kernel} needs a size for {', '.join(missing)} (its dims: {', '.join(dims)})"
        )
    ordered = {name: given[name] for name in (*dims, *variants) if name in given}
    return without_defaults(variants, ordered)


def without_defaults(variants: Variants, sizes: Sizes) -> dict[str, int | str]:
    """Returns sizes without the variants that are at their default."""
    return {
        name: value
        for name, value in sizes.items()
        if name not in variants or value != variants[name][0]
    }


def variant_values(variants: Variants, sizes: Sizes) -> dict[str, str]:
    """Returns the word of every variant, the default where `sizes` has none."""
    return {name: str(sizes.get(name, words[0])) for name, words in variants.items()}


def dims_of(sizes: Sizes) -> dict[str, int]:
    """Returns the sizes by dim."""
    return {name: value for name, value in sizes.items() if isinstance(value, int)}


def words_of(sizes: Sizes) -> dict[str, str]:
    """Returns the variants that are not at their default."""
    return {name: value for name, value in sizes.items() if isinstance(value, str)}


def workload_key(sizes: Sizes) -> str:
    """The usual way to write a workload's sizes: `M=1024,K=4096,N=4096,epilogue=bias`."""
    return ",".join(f"{name}={value}" for name, value in sizes.items())
