"""What is tried before there is a model: configs far from each other, and the best of a prior."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tuner.search.history import History
from tuner.space import SearchSpace

__all__ = ["design_row", "prior_feature", "prior_order"]

DRAWN = 200
FREE = 3
SLOW_SLOPE = 0.15

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def design_row(
    space: SearchSpace,
    history: History,
    taken: npt.NDArray[np.bool_],
    generator: np.random.Generator,
    prior_order: Ints | None = None,
) -> int:
    """Returns the next config to try without a model.

    Of some drawn configs it is the one furthest from all that were proposed. After the first three,
    every other time, with a prior, it is the best of that which was not proposed, as long as these
    come out best.

    Args:
        space: The valid configs.
        history: What was proposed.
        taken: Which rows were [rows].
        generator: For drawing.
        prior_order: The rows with a prior, best first.
    """
    favoured = history.started >= FREE and history.started % 2 == 1
    if prior_order is not None and favoured:
        left = prior_order[~taken[prior_order]]
        if len(left) and _holds_good(history, prior_order):
            return int(left[0])
    drawn = space.sample(generator, DRAWN, taken)
    proposed = np.array([*history.rows, *history.pending], np.int64)
    if not len(proposed):
        return int(drawn[0])
    span = np.maximum(space.counts - 1, 1)
    ours, theirs = space.rows[drawn] / span, space.rows[proposed] / span
    # Squares favour the corners of the space: what differs a lot in a few parameters.
    apart = ((ours[:, None] - theirs[None]) ** 2).sum(axis=2).min(axis=1)
    return int(drawn[np.argmax(apart)])


def _holds_good(history: History, prior_order: Ints) -> bool:
    """Whether the prior's favourites came out at least as well as the best of all others did."""
    favourites = np.isin(history.rows, prior_order[: max(history.started // 2, 1)])
    if not favourites.any() or favourites.all():
        return True
    return bool(history.merits[favourites].min() <= history.merits[~favourites].min())


def prior_order(prior: Floats) -> Ints:
    """Returns the rows with a finite prior, best first."""
    order = np.argsort(prior, kind="stable")
    return order[np.isfinite(prior[order])]


def prior_feature(prior: Floats) -> Floats:
    """Returns what a prior says of each row [n], with mean 0 and variance 1 where it says
    something, else 0.

    It is the logarithm of the time, with the slower half pressed together; failing is the worst.
    """
    feature = np.zeros(len(prior))
    finite = np.isfinite(prior)
    if not finite.any():
        return feature
    positive = bool((prior[finite] > 0).all())
    raw = np.log(prior[finite]) if positive else prior[finite]
    slow = np.quantile(raw, 0.5)
    pressed = np.where(raw > slow, slow + SLOW_SLOPE * (raw - slow), raw)
    feature[finite] = pressed
    feature[np.isposinf(prior)] = pressed.max()
    told = ~np.isnan(prior)
    feature[told] -= feature[told].mean()
    feature[told] /= feature[told].std() + 1e-9
    feature[~told] = 0.0
    return feature
