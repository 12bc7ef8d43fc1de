"""What the Gaussian process says of candidates, given what was observed so far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from tuner.search.gaussian.distances import Distances, Points
from tuner.search.gaussian.fitting import JITTER, Model

__all__ = ["Posterior"]

CHUNK = 8192
SPARE = 32
LEAST_VARIANCE = 1e-9

Floats = npt.NDArray[np.float64]


class Posterior:
    """Means and deviations of candidates [c]; observations may be added one at a time.

    Args:
        distances: The components of the distance.
        model: The hyper-parameters.
        candidates: Where to predict.
        observed: What was observed [n].
    """

    def __init__(
        self, distances: Distances, model: Model, candidates: Points, observed: Points
    ) -> None:
        self.model = model
        self._distances = distances
        self._candidates = candidates
        self._observed = observed
        n, c = len(observed), len(candidates)
        covariances = model.covariances(distances, observed, observed)
        covariances[np.diag_indices(n)] += model.noise + JITTER
        self._factor = cholesky(covariances, lower=True, check_finite=False)
        # Single precision halves the memory traffic, which is what an ask mostly takes.
        self._solved = np.empty((n + SPARE, c), np.float32)
        self._variance = model.variances(candidates)
        for start in range(0, c, CHUNK):
            part = slice(start, min(start + CHUNK, c))
            across = model.covariances(distances, observed, candidates.part(part))
            solved = self._solve(across)
            self._solved[:n, part] = solved
            self._variance[part] -= np.einsum("nc,nc->c", solved, solved)

    def __len__(self) -> int:
        return len(self._observed)

    def add(self, more: Points) -> None:
        """Takes more observations."""
        n, k = len(self), len(more)
        factor, rows = self._extended(more)
        if n + k > len(self._solved):
            grown = np.empty((n + k + SPARE, self._solved.shape[1]), np.float32)
            grown[:n] = self._solved[:n]
            self._solved = grown
        self._solved[n : n + k] = rows
        self._variance -= np.einsum("kc,kc->c", rows, rows)
        self._factor = factor
        self._observed = _joined(self._observed, more)

    def means(self, targets: Floats) -> tuple[Floats, Floats]:
        """Returns the means of the candidates [c] and of the observations [n] for targets [n]."""
        weights = self._solve(targets)
        means = weights.astype(np.float32) @ self._solved[: len(self)]
        solved = solve_triangular(self._factor, weights, lower=True, trans=1, check_finite=False)
        return means.astype(np.float64), targets - (self.model.noise + JITTER) * solved

    def deviations(self, pending: Points | None = None) -> Floats:
        """Returns the deviations of the candidates [c], as they will be once `pending` points are
        observed too.
        """
        variance = self._variance
        if pending is not None and len(pending):
            _, rows = self._extended(pending)
            variance = variance - np.einsum("kc,kc->c", rows, rows)
        deviations: Floats = np.sqrt(np.maximum(variance, LEAST_VARIANCE))
        return deviations

    def joint(self, places: npt.NDArray[np.integer]) -> Floats:
        """Returns the covariances [k, k] of some candidates."""
        some = Points(
            self._candidates.states[places],
            self._candidates.joint[places],
            self._candidates.prior[places],
        )
        solved = self._solved[: len(self), places].astype(np.float64)
        return self.model.covariances(self._distances, some, some) - solved.T @ solved

    def _solve(self, right: Floats) -> Floats:
        solved: Floats = solve_triangular(self._factor, right, lower=True, check_finite=False)
        return solved

    def _extended(self, more: Points) -> tuple[Floats, npt.NDArray[np.float32]]:
        """Returns the factor with `more` points, and their rows of what is solved."""
        n, k, model = len(self), len(more), self.model
        left = self._solve(model.covariances(self._distances, self._observed, more))
        own = model.covariances(self._distances, more, more) - left.T @ left
        own[np.diag_indices(k)] += model.noise + JITTER
        corner = cholesky(own, lower=True, check_finite=False)
        factor = np.zeros((n + k, n + k))
        factor[:n, :n], factor[n:, :n], factor[n:, n:] = self._factor, left.T, corner
        across = model.covariances(self._distances, more, self._candidates).astype(np.float32)
        across -= left.T.astype(np.float32) @ self._solved[:n]
        rows = solve_triangular(
            corner.astype(np.float32), across, lower=True, check_finite=False, overwrite_b=True
        )
        return factor, np.asarray(rows, np.float32)


def _joined(a: Points, b: Points) -> Points:
    return Points(
        np.concatenate([a.states, b.states]),
        np.concatenate([a.joint, b.joint]),
        np.concatenate([a.prior, b.prior]),
    )
