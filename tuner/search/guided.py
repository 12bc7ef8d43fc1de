"""The default sampler: a Gaussian process over all valid configs decides what to try next."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from optuna import Study
from optuna.trial import FrozenTrial
from scipy.special import ndtr

from tuner.search.design import design_row, prior_feature, prior_order
from tuner.search.gaussian import Distances, Model, Posterior, fit
from tuner.search.history import History
from tuner.search.pool import candidates, thinned
from tuner.search.sampler import RowSampler
from tuner.search.targets import Scale, scalars
from tuner.space import SearchSpace

__all__ = ["GaussianSampler"]

LEAST_DESIGN, BEYOND_PARAMETERS = 8, 2
REFIT = 1.15
# What a proposal has to promise beyond the best, in standard deviations of the targets: more, the
# longer there was no improvement; nothing every fourth time.
MARGIN, STALLED_MARGIN, STALLED_AFTER = 0.1, 1.0, 6
MARGINLESS_EVERY = 4
DRAWS, DRAWN_OVER = 512, 300

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class GaussianSampler(RowSampler):
    """Proposes the row with the most expected improvement under a Gaussian process.

    It starts with configs far from each other, and some of the prior's best where there is one.
    Then a Gaussian process is fitted to the finished trials, anew whenever there are 15 % more, and
    scored on every untried row (in large spaces on a pool of them); trials that run count as if
    they came out as predicted. What counts as an improvement grows while there is none, so that the
    search leaves a plateau. Several objectives become one by random weights, drawn anew for each
    proposal.

    Args:
        space: See `RowSampler`.
        seed: See `RowSampler`.
        seeds: See `RowSampler`.
        default: See `RowSampler`.
        prior: Shape [rows]: a cheap time of every row, in any unit; infinite where it is predicted
            to fail, NaN where nothing is known. How far it is trusted is fitted.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        *,
        seeds: Sequence[int] = (),
        default: bool = True,
        prior: Floats | None = None,
    ) -> None:
        super().__init__(space, seed, seeds=seeds, default=default)
        if prior is not None and prior.shape != (len(space),):
            raise ValueError(
                f"prior of shape {prior.shape}: expected one time for each of {len(space)} rows"
            )
        self._design = max(LEAST_DESIGN, len(space.parameters) + BEYOND_PARAMETERS)
        feature = None if prior is None else prior_feature(prior)
        self._prior_order = None if prior is None else prior_order(prior)
        self._distances = Distances(space, feature)
        self._fits = _Fits(self._distances, seed, max(4, self._design // 2))
        self._posterior: Posterior | None = None
        self._posterior_of: tuple[int, Ints, Ints] = (0, np.empty(0, np.int64), np.empty(0, int))
        self._candidates: Ints = np.empty(0, np.int64)

    def _propose(
        self, study: Study, trial: FrozenTrial, history: History, taken: npt.NDArray[np.bool_]
    ) -> int:
        generator = self._generator(history)
        too_early = len(history.rows) < self._fits.first or not len(history.incumbents)
        if history.started < self._design or too_early:
            return design_row(self.space, history, taken, generator, self._prior_order)
        values = scalars(history.values, generator)
        posterior, kept = self._conditioned(history, values)
        scale = Scale(values)
        targets = scale(values)[kept]
        means, smooth = posterior.means(targets)
        pending = self._distances.points(np.array(history.pending, np.int64))
        deviations = posterior.deviations(pending)
        marginless = history.started % MARGINLESS_EVERY == MARGINLESS_EVERY - 1
        margin = 0.0 if marginless else _margin(values, self._design)
        scores = _expected_improvement(float(smooth.min()) - margin, means, deviations)
        scores[taken[self._candidates]] = -np.inf
        best = int(np.argmax(scores))
        if scores[best] == -np.inf:  # the pool is used up
            return int(self.space.sample(generator, 1, taken)[0])
        return int(self._candidates[best])

    def chance_of_better(self, study: Study, margin: float) -> float | None:
        """Returns the probability, under the model, that an untried row is better than the best by
        more than `margin` as a share; None with several objectives or before there is a model.
        """
        history = self._book.read(study)
        if len(history.rows) == len(self.space):
            return 0.0
        ready = len(history.rows) >= self._fits.first and len(history.incumbents)
        if not ready or history.values.shape[1] > 1:
            return None
        values = history.values[:, 0]
        posterior, kept = self._conditioned(history, values)
        scale = Scale(values)
        means, _ = posterior.means(scale(values)[kept])
        best = values.min()
        goal = float(scale(np.array([best - margin * abs(best)]))[0])
        untried = np.ones(len(self.space), bool)
        untried[history.rows] = False
        places = np.flatnonzero(untried[self._candidates])
        if not len(places):
            return 0.0
        likely = ndtr((goal - means[places]) / posterior.deviations()[places])
        places = places[np.argsort(-likely, kind="stable")[:DRAWN_OVER]]
        return _chance_below(goal, means[places], posterior.joint(places), self.seed)

    def _conditioned(self, history: History, values: Floats) -> tuple[Posterior, Ints]:
        """Returns the posterior of the finished trials, and the places in the history of those that
        it holds.

        Between two fits trials are only added to it.
        """
        count = len(history.rows)
        fitted, model = self._fits.at(history, values)
        kept = np.append(thinned(history.merits[:fitted]), np.arange(fitted, count))
        before_fitted, before_rows, before_kept = self._posterior_of
        grows = (
            self._posterior is not None
            and before_fitted == fitted
            and len(before_rows) <= count
            and np.array_equal(before_rows, history.rows[: len(before_rows)])
            and np.array_equal(before_kept, kept[: len(before_kept)])
            and self._posterior.model is model
        )
        if not grows:
            self._candidates = candidates(
                self.space,
                history.rows[:fitted],
                history.merits[:fitted],
                self.seed,
                self._prior_order,
            )
            self._posterior = Posterior(
                self._distances,
                model,
                self._distances.points(self._candidates),
                self._distances.points(history.rows[kept[: len(kept) - (count - fitted)]]),
            )
        assert self._posterior is not None
        new = history.rows[kept[len(self._posterior) :]]
        for row in new:
            self._posterior.add(self._distances.points(np.array([row])))
        self._posterior_of = (fitted, history.rows.copy(), kept)
        return self._posterior, kept


class _Fits:
    """The models fitted so far: at certain numbers of finished trials, to those alone, each from
    the one before. So they depend on the trials only, not on who asked when.
    """

    def __init__(self, distances: Distances, seed: int, first: int) -> None:
        self.first = first
        self._distances = distances
        self._seed = seed
        self._models: list[tuple[int, Model]] = []
        self._rows: Ints = np.empty(0, np.int64)
        self._values: Floats = np.empty((0, 1))

    def at(self, history: History, values: Floats) -> tuple[int, Model]:
        """Returns the newest model for a history, and how many trials it was fitted to."""
        same = min(len(self._rows), len(history.rows))
        if not (
            np.array_equal(self._rows[:same], history.rows[:same])
            and np.array_equal(self._values[:same], history.values[:same])
        ):
            self._models = []  # those of another study, say
        self._rows, self._values = history.rows, history.values
        while self._models and self._models[-1][0] > len(history.rows):
            self._models.pop()
        while (count := self._next()) <= len(history.rows):
            start = self._models[-1][1] if self._models else None
            seen = values[:count]
            if history.values.shape[1] > 1:
                generator = np.random.default_rng([self._seed, count])
                seen = scalars(history.values[:count], generator)
            kept = thinned(history.merits[:count])
            self._models.append((count, self._fit(history.rows[kept], seen[kept], start)))
        return self._models[-1]

    def _next(self) -> int:
        if not self._models:
            return self.first
        count = self._models[-1][0]
        return max(count + 2, math.ceil(count * REFIT))

    def _fit(self, rows: Ints, values: Floats, start: Model | None) -> Model:
        targets = Scale(values)(values) if np.isfinite(values).any() else np.zeros(len(values))
        return fit(self._distances, self._distances.points(rows), targets, start)


def _margin(values: Floats, design: int) -> float:
    since = len(values) - 1 - max(int(np.argmin(values)), design)
    return MARGIN + STALLED_MARGIN * min(max(since, 0) / STALLED_AFTER, 1.0)


def _expected_improvement(goal: float, means: Floats, deviations: Floats) -> Floats:
    z = (goal - means) / deviations
    found: Floats = deviations * (z * ndtr(z) + np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
    return found


def _chance_below(goal: float, means: Floats, covariances: Floats, seed: int) -> float:
    """Returns the probability that the least of normal variables is below a goal, by drawing."""
    values, vectors = np.linalg.eigh(covariances)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = np.random.default_rng(seed).standard_normal((len(means), DRAWS))
    drawn = means[:, None] + root @ normal
    return float((drawn.min(axis=0) < goal).mean())
