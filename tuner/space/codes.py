"""Rows of value indices as whole numbers that rise with them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Parameter

__all__ = ["INACTIVE", "Bools", "Codes", "Ints", "Radix", "Rows", "lookup"]

INACTIVE = -1
CHUNK = 1 << 16

Rows = npt.NDArray[np.signedinteger]
Codes = npt.NDArray[np.int64]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


class Radix:
    """The mixed-radix code of a row: one digit a parameter, the first parameter's counts most.

    A digit is the index of the value; where a parameter may be INACTIVE that is digit 0, and an
    index is one more. So codes rise as rows in lexicographic order do.

    Attributes:
        counts: Values of each parameter.
        optional: Whether it may be INACTIVE.
        bases: The digits' bases: `counts`, one more where optional.
        weights: What one unit of each digit counts.

    Raises:
        TunerError: The codes do not fit in 63 bits.
    """

    def __init__(self, parameters: Sequence[Parameter], optional: Bools) -> None:
        self.counts = np.array([len(p.values) for p in parameters], np.int64)
        self.optional = optional
        self.bases = self.counts + optional
        bases: list[int] = self.bases.tolist()
        if prod(bases) >= 1 << 63:
            largest = parameters[int(np.argmax(self.counts))]
            raise TunerError(
                f"{len(bases)} parameters have {prod(bases):.1e} combinations of values, at most "
                f"9.2e18 can be told apart: take away parameters or values "
                f"(most values: {largest.name!r}, {len(largest.values)})"
            )
        weights = [prod(bases[column + 1 :]) for column in range(len(bases))]
        self.weights = np.array(weights, np.int64)
        self.dtype = np.int8 if self.counts.max() <= np.iinfo(np.int8).max else np.int16

    def encode(self, indices: Ints) -> Codes:
        """Returns the codes [k] of rows [k, parameters]; -1 where an index is outside."""
        codes = np.zeros(len(indices), np.int64)
        fits = np.ones(len(indices), bool)
        for column, weight in enumerate(self.weights.tolist()):
            digits = indices[:, column] + self.optional[column].astype(np.int64)
            fits &= (digits >= 0) & (digits < self.bases[column])
            codes += digits * weight
        return np.where(fits, codes, -1)

    def decode(self, codes: Codes) -> Rows:
        """Returns the rows [n, parameters] of codes [n]."""
        rows: Rows = np.empty((len(codes), len(self.counts)), self.dtype)
        for start in range(0, len(codes), CHUNK):
            rest = codes[start : start + CHUNK]
            for column, weight in enumerate(self.weights.tolist()):
                digit = rest // weight
                rest = rest - digit * weight
                rows[start : start + CHUNK, column] = digit - self.optional[column]
        return rows


def lookup(codes: Codes, wanted: Codes) -> Codes:
    """Returns for each of `wanted` its place in the rising `codes`, -1 where it is none of them."""
    places = np.searchsorted(codes, wanted)
    found = codes[np.minimum(places, len(codes) - 1)] == wanted
    return np.where(found, places, -1)
