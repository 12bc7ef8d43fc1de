"""What a model is told of results: one standardised number each, least for the best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Scale", "scalars"]

SLOW_SHARE, SLOW_SLOPE = 0.25, 0.15
AUGMENTATION = 0.05
TINY = 1e-9

Floats = npt.NDArray[np.float64]


class Scale:
    """Turns values into targets: logarithms where all are positive, the slowest quarter pressed
    together so that the model spends itself on the fast ones, mean 0 and variance 1.

    What failed (infinite) counts as the worst seen.

    Args:
        values: Shape [n], one at least finite.
    """

    def __init__(self, values: Floats) -> None:
        finite = values[np.isfinite(values)]
        self._logarithmic = bool((finite > 0).all())
        fine = self._raw(finite)
        self._slow = float(np.quantile(fine, 1 - SLOW_SHARE) if len(fine) > 3 else fine.max())
        self._worst = float(self._pressed(fine.max()))
        pressed = np.where(np.isfinite(values), self._pressed(self._raw(values)), self._worst)
        self._mean, self._spread = float(pressed.mean()), float(pressed.std()) + TINY
        if not np.ptp(pressed):  # the mean of equal numbers is not always their value
            self._mean, self._spread = float(pressed[0]), 1.0

    def __call__(self, values: Floats) -> Floats:
        """Returns the targets [n] of values [n]."""
        pressed = np.where(np.isfinite(values), self._pressed(self._raw(values)), self._worst)
        return np.asarray((pressed - self._mean) / self._spread)

    def _raw(self, values: Floats) -> Floats:
        if not self._logarithmic:
            return np.asarray(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.log(values))

    def _pressed(self, raw: Floats | float) -> Floats:
        return np.asarray(
            np.where(raw > self._slow, self._slow + SLOW_SLOPE * (raw - self._slow), raw)
        )


def scalars(values: Floats, generator: np.random.Generator) -> Floats:
    """Returns one number [n] for each result of several objectives [n, objectives], all to be
    minimised: the augmented Chebyshev distance from the best of each, under random weights.

    So proposals with other weights go for other parts of the Pareto front (ParEGO, Knowles 2006).
    A result with an objective that is not finite stays infinite.
    """
    if values.shape[1] == 1:
        return values[:, 0]
    weights = generator.dirichlet(np.ones(values.shape[1]))
    fine = np.asarray(np.isfinite(values).all(axis=1))
    if not fine.any():
        return np.full(len(values), np.inf)
    raw = np.where(fine[:, None], values, 1.0)
    raw = np.log(raw) if (raw > 0).all() else raw
    least, most = raw[fine].min(axis=0), raw[fine].max(axis=0)
    shares = np.where(fine[:, None], (raw - least) / (most - least + TINY), np.inf)
    weighted = np.where(fine[:, None], weights * shares, np.inf)
    found: Floats = weighted.max(axis=1) + AUGMENTATION * weighted.sum(axis=1)
    # Not logarithms again: no number here is positive throughout once the least is taken off.
    return np.asarray(found - found[fine].max())
