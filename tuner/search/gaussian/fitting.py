"""Fits the hyper-parameters of the Gaussian process to what was observed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack
from scipy.optimize import minimize

from tuner.search.gaussian.distances import Distances, Points
from tuner.search.gaussian.loops import correlations, weight_gradients

__all__ = ["JITTER", "Model", "fit"]

JITTER = 1e-6

# Log-normal beliefs about the hyper-parameters: (median, spread of the logarithm).
WEIGHT_SPREAD, JOINT_SPREAD = 0.5, 0.6
SIGNAL = (1.0, 0.5)
NOISE = (3e-3, 1.5)
PRIOR = (0.3, 1.0)
LOG_BOUNDS = {"weight": (-7.0, 4.0), "signal": (-4.0, 4.0), "noise": (-11.5, 0.0)}
STEPS_FIRST, STEPS = 60, 25
FAILED = 1e10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """Fitted hyper-parameters; targets are standardised.

    Attributes:
        weights: Of each component of the distance.
        signal: Variance of the targets over the space.
        noise: Variance of one observation.
        prior: Variance of the factor by which targets follow the prior; 0 without a prior.
    """

    weights: Floats
    signal: float
    noise: float
    prior: float

    def covariances(self, distances: Distances, a: Points, b: Points) -> Floats:
        """Returns the covariances [a, b] of the targets, without noise."""
        covariances = self.signal * distances.correlations(a, b, self.weights)
        if self.prior:
            covariances += self.prior * np.multiply.outer(a.prior, b.prior)
        return covariances

    def variances(self, points: Points) -> Floats:
        """Returns the variances [n] of the targets before anything is observed."""
        return self.signal + self.prior * points.prior**2


class _Likelihood:
    """The negative logarithm of likelihood times belief, with its gradient, over the logarithms of
    weights, signal, noise and, where there is a prior, its variance.
    """

    def __init__(self, distances: Distances, points: Points, targets: Floats) -> None:
        self._distances = distances
        self._points = points
        self._targets = targets
        self._follows = distances.has_prior
        tables, components = len(distances.columns), len(distances.log_weights)
        spread = np.full(components, JOINT_SPREAD)
        spread[:tables] = WEIGHT_SPREAD
        beliefs = [SIGNAL, NOISE, *([PRIOR] if self._follows else [])]
        self.centre = np.append(distances.log_weights, [np.log(m) for m, _ in beliefs])
        self._spread = np.append(spread, [s for _, s in beliefs])
        bounds = [LOG_BOUNDS["weight"]] * components + [LOG_BOUNDS["signal"], LOG_BOUNDS["noise"]]
        self.bounds = bounds + ([LOG_BOUNDS["signal"]] if self._follows else [])

    def model(self, logs: Floats) -> Model:
        components = len(self._distances.log_weights)
        values = np.exp(logs)
        prior = float(values[components + 2]) if self._follows else 0.0
        return Model(
            values[:components], float(values[components]), float(values[components + 1]), prior
        )

    def __call__(self, logs: Floats) -> tuple[float, Floats]:
        model, points, distances = self.model(logs), self._points, self._distances
        tables = len(distances.columns)
        alike = correlations(
            points.states,
            points.joint,
            points.states,
            points.joint,
            distances.combined(model.weights[:tables]),
            distances.offsets,
            distances.sizes,
            model.weights[tables:],
        )
        follows = np.multiply.outer(points.prior, points.prior) if self._follows else None
        covariances = model.signal * alike
        if follows is not None:
            covariances += model.prior * follows
        covariances[np.diag_indices(len(points))] += model.noise + JITTER
        factor, failed = lapack.dpotrf(covariances, lower=1, clean=1)
        if failed:
            return FAILED, np.zeros_like(logs)
        solved = lapack.dpotrs(factor, self._targets, lower=1)[0]
        inverse = lapack.dpotri(factor, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        value = 0.5 * self._targets @ solved + np.log(np.diag(factor)).sum()
        outer = 0.5 * (inverse - np.outer(solved, solved))
        moved = model.signal * alike * outer
        sums = weight_gradients(
            points.states,
            points.joint,
            moved,
            distances.columns,
            distances.tables,
            distances.starts,
            distances.sizes,
        )
        gradient = [*(-sums * model.weights), moved.sum(), np.trace(outer) * model.noise]
        if follows is not None:
            gradient.append(model.prior * (follows * outer).sum())
        off = (logs - self.centre) / self._spread
        return value + 0.5 * off @ off, np.array(gradient) + off / self._spread


def fit(distances: Distances, points: Points, targets: Floats, start: Model | None = None) -> Model:
    """Returns the most likely hyper-parameters.

    Args:
        distances: The components of the distance.
        points: What was observed [n].
        targets: What came out [n], with mean 0 and variance about 1.
        start: Where to begin: an earlier fit to some of the points.
    """
    likelihood = _Likelihood(distances, points, targets)
    begin = likelihood.centre if start is None else _logs(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = minimize(
            likelihood,
            begin,
            jac=True,
            method="L-BFGS-B",
            bounds=likelihood.bounds,
            options={"maxiter": STEPS_FIRST if start is None else STEPS},
        )
    return likelihood.model(found.x)


def _logs(model: Model) -> Floats:
    values = [*model.weights, model.signal, model.noise, *([model.prior] if model.prior else [])]
    return np.log(values)
