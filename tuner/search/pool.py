"""Which rows a model is scored on and which results it is fitted to, where there are too many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tuner.space import SearchSpace

__all__ = ["candidates", "thinned"]

MAX_ROWS = 100_000
POOL, BEST, LIKELY = 20_000, 20, 2_000
MAX_RESULTS = 400

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def candidates(
    space: SearchSpace, rows: Ints, values: Floats, seed: int, likely: Ints | None = None
) -> Ints:
    """Returns the rows to score, rising: all, or of a large space the neighbours of the best
    results and their neighbours, the likely ones, and others at random.

    Args:
        space: The valid configs.
        rows: Those with a result [n].
        values: The results [n], less is better.
        seed: Together with `n` it decides what is drawn.
        likely: Rows that are good by a prior, best first.
    """
    if len(space) <= MAX_ROWS:
        return np.arange(len(space))
    best = rows[np.argsort(values, kind="stable")[:BEST]]
    near = np.unique(np.concatenate([space.neighbours(int(row)) for row in best]))
    generator = np.random.default_rng([seed, len(rows)])
    stems = near if len(near) <= 10 * BEST else generator.choice(near, 10 * BEST, replace=False)
    further = [space.neighbours(int(row)) for row in stems]
    drawn = space.sample(generator, POOL)
    known = np.empty(0, np.int64) if likely is None else likely[:LIKELY]
    return np.unique(np.concatenate([near, *further, known, drawn]))


def thinned(values: Floats) -> Ints:
    """Returns the places, rising, of at most `MAX_RESULTS` results: the better half of them are the
    best, the others stand for the rest evenly.
    """
    if len(values) <= MAX_RESULTS:
        return np.arange(len(values))
    order = np.argsort(values, kind="stable")
    half = MAX_RESULTS // 2
    rest = np.sort(order[half:])
    spread = rest[np.linspace(0, len(rest) - 1, MAX_RESULTS - half).astype(int)]
    return np.sort(np.concatenate([order[:half], spread]))
