"""Scheduling policies: which unit runs the fully-connected kernels, and how many tokens to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tuner.papi.systems import GPU, PIM
from tuner.runtime.errors import TunerError

__all__ = ["NEVER", "Policy", "always"]

Ints = npt.NDArray[np.int64]
NEVER = 1 << 30
"""More rows than there ever are."""
MAX_TLP = 1024


@dataclass(frozen=True)
class Policy:
    """When to use which unit.

    Attributes:
        alpha_up: From PIM to the GPU where there are more rows than that.
        alpha_down: Back to PIM where there are as many or fewer; not above `alpha_up`.
        dwell: Iterations that a unit keeps the kernels at least.
        tlp_by_rlp: (most live requests, tokens that each tries), rising; the last one holds for all
            that are more.
    """

    alpha_up: int
    alpha_down: int
    dwell: int = 0
    tlp_by_rlp: tuple[tuple[int, int], ...] = ((NEVER, 1),)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha_down <= self.alpha_up:
            raise TunerError(
                f"alpha_down = {self.alpha_down}: expected 0 to alpha_up = {self.alpha_up}"
            )
        if self.dwell < 0:
            raise TunerError(f"dwell = {self.dwell}: expected 0 or more iterations")
        mosts = [most for most, _ in self.tlp_by_rlp]
        if not mosts or mosts != sorted(set(mosts)) or mosts[0] < 1:
            raise TunerError(f"tlp_by_rlp = {self.tlp_by_rlp}: expected rising live requests")
        for _, tlp in self.tlp_by_rlp:
            if not 1 <= tlp <= MAX_TLP:
                raise TunerError(f"tlp_by_rlp: {tlp} tokens: expected 1 to {MAX_TLP}")

    def tlp(self, rlp: int) -> int:
        """Returns how many tokens each of so many live requests tries."""
        for most, tlp in self.tlp_by_rlp:
            if rlp <= most:
                return tlp
        return self.tlp_by_rlp[-1][1]

    def on_gpu(self, rows: Ints, first: Sequence[int] | Ints = (0,)) -> npt.NDArray[np.bool_]:
        """Returns whether the GPU runs each of a row of iterations.

        Args:
            rows: Rows of each iteration.
            first: Where batches begin: each starts afresh, above or not above `alpha_up`.
        """
        above = rows > self.alpha_up
        if self.alpha_up == self.alpha_down and self.dwell == 0:
            return above
        below = rows <= self.alpha_down
        ends = [*first[1:], len(rows)]
        found = np.empty(len(rows), dtype=bool)
        for begin, end in zip(first, ends, strict=True):
            gpu, since = bool(above[begin]), 0
            for i in range(begin, end):
                leaves = below[i] if gpu else above[i]
                if leaves and since >= self.dwell:
                    gpu, since = not gpu, 0
                found[i] = gpu
                since += 1
        return found


def always(unit: str) -> Policy:
    """Returns the policy that never leaves a unit."""
    alpha = {GPU: 0, PIM: NEVER}[unit]
    return Policy(alpha, alpha)
