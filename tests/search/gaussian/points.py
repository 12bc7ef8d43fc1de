"""Spaces and observations that the tests of the Gaussian process share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tuner.search.gaussian import Distances, Model, Points
from tuner.space import SearchSpace

Floats = npt.NDArray[np.float64]


def mixed_space() -> SearchSpace:
    """Every kind of parameter, one of which has no value at times."""
    return SearchSpace.of_values(
        {
            "block": (16, 32, 64, 128),
            "unroll": (1, 2, 3, 4, 5, 6, 7, 8),
            "scale": (0.25, 0.5, 2.0),
            "order": ("mnk", "nmk", "kmn"),
            "fast": (False, True),
            "stages": (1, 2, 3, 4),
            "single": (7,),
        },
        when={"stages": "order == 'mnk'"},
    )


def observed(space: SearchSpace, count: int, seed: int = 0) -> tuple[npt.NDArray[np.int64], Floats]:
    """Rows at random and targets of them."""
    generator = np.random.default_rng(seed)
    rows = space.sample(generator, count)
    indices = space.rows[rows].astype(float)
    targets = indices @ generator.normal(size=indices.shape[1]) + generator.normal(size=count)
    return rows, (targets - targets.mean()) / targets.std()


def prior_of(space: SearchSpace) -> Floats:
    """A standardised prior."""
    return np.random.default_rng(5).normal(size=len(space))


def model_of(distances: Distances, prior: float = 0.0) -> Model:
    """Hyper-parameters that differ from each other."""
    weights = np.exp(distances.log_weights) * np.linspace(0.5, 2, len(distances.log_weights))
    return Model(weights, signal=1.3, noise=0.02, prior=prior)


def distance_by_hand(distances: Distances, a: Points, b: Points, weights: Floats) -> Floats:
    """The weighted sum of components [a, b], component by component."""
    total = np.zeros((len(a), len(b)))
    for c, column in enumerate(distances.columns):
        size = int(distances.sizes[column])
        table = distances.tables[distances.starts[c] :][: size * size].reshape(size, size)
        total += weights[c] * table[np.ix_(a.states[:, column], b.states[:, column])]
    for f in range(a.joint.shape[1]):
        apart = np.abs(a.joint[:, f][:, None] - b.joint[:, f][None])
        total += weights[len(distances.columns) + f] * apart
    return total
