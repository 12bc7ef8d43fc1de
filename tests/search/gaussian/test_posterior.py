from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.search.gaussian.points import Floats, mixed_space, model_of, observed, prior_of
from tuner.search.gaussian import Distances, Posterior
from tuner.search.gaussian.fitting import JITTER
from tuner.search.gaussian.posterior import CHUNK, SPARE

CLOSE = 2e-4
"""Single precision."""


@dataclass
class Case:
    """A posterior and what the textbook says in double precision."""

    distances: Distances
    posterior: Posterior
    rows: np.ndarray[tuple[int]]
    candidates: np.ndarray[tuple[int]]
    targets: Floats

    def textbook(self, rows: np.ndarray[tuple[int]]) -> tuple[Floats, Floats]:
        """Means and covariances of the candidates."""
        model, d = self.posterior.model, self.distances
        seen, asked = d.points(rows), d.points(self.candidates)
        own = model.covariances(d, seen, seen) + (model.noise + JITTER) * np.eye(len(rows))
        across = np.linalg.solve(own, model.covariances(d, seen, asked))
        means: Floats = across.T @ self.targets[: len(rows)]
        between = model.covariances(d, asked, seen)
        return means, model.covariances(d, asked, asked) - between @ across


def case(with_prior: bool, count: int = 25) -> Case:
    space = mixed_space()
    distances = Distances(space, prior_of(space) if with_prior else None)
    model = model_of(distances, 0.4 if with_prior else 0.0)
    rows, targets = observed(space, 80)
    candidates = np.arange(0, len(space), 17)
    posterior = Posterior(
        distances, model, distances.points(candidates), distances.points(rows[:count])
    )
    return Case(distances, posterior, rows, candidates, targets)


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("added", [0, 1, SPARE + 8])
def test_means_and_deviations_are_those_of_the_textbook(with_prior: bool, added: int) -> None:
    it = case(with_prior)
    for row in it.rows[25 : 25 + added]:
        it.posterior.add(it.distances.points(np.array([row])))
    rows = it.rows[: 25 + added]
    assert len(it.posterior) == len(rows)
    means, covariances = it.textbook(rows)
    found, smooth = it.posterior.means(it.targets[: len(rows)])
    np.testing.assert_allclose(found, means, atol=CLOSE)
    variances = np.diag(covariances)
    np.testing.assert_allclose(it.posterior.deviations() ** 2, variances, atol=CLOSE)
    there = Posterior(
        it.distances, it.posterior.model, it.distances.points(rows), it.distances.points(rows)
    )
    at_observed, _ = there.means(it.targets[: len(rows)])
    np.testing.assert_allclose(smooth, at_observed, atol=CLOSE)


def test_several_observations_are_added_like_one_after_the_other() -> None:
    one, all_ = case(True), case(True)
    for row in one.rows[25:35]:
        one.posterior.add(one.distances.points(np.array([row])))
    all_.posterior.add(all_.distances.points(all_.rows[25:35]))
    for a, b in zip(
        one.posterior.means(one.targets[:35]), all_.posterior.means(one.targets[:35]), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=CLOSE)
    np.testing.assert_allclose(one.posterior.deviations(), all_.posterior.deviations(), atol=CLOSE)


@pytest.mark.parametrize("with_prior", [False, True])
def test_pending_points_narrow_the_deviations_as_if_they_were_observed(with_prior: bool) -> None:
    it = case(with_prior)
    before = it.posterior.deviations()
    pending = it.distances.points(it.rows[25:33])
    narrowed = it.posterior.deviations(pending)
    np.testing.assert_array_equal(it.posterior.deviations(), before)
    assert (narrowed <= before + 1e-6).all()
    _, covariances = it.textbook(it.rows[:33])
    np.testing.assert_allclose(narrowed**2, np.diag(covariances), atol=CLOSE)
    nothing = it.distances.points(np.empty(0, np.int64))
    np.testing.assert_array_equal(it.posterior.deviations(nothing), before)


def test_joint_covariances_are_those_of_the_textbook() -> None:
    it = case(True)
    places = np.array([3, 0, 11])
    _, covariances = it.textbook(it.rows[:25])
    np.testing.assert_allclose(
        it.posterior.joint(places), covariances[np.ix_(places, places)], atol=CLOSE
    )


def test_candidates_in_several_chunks() -> None:
    it = case(False)
    many = np.resize(it.candidates, CHUNK + 50)
    posterior = Posterior(
        it.distances, it.posterior.model, it.distances.points(many), it.distances.points(it.rows)
    )
    deviations = posterior.deviations()
    np.testing.assert_allclose(deviations, np.resize(deviations[: len(it.candidates)], len(many)))


def test_what_was_observed_is_certain_up_to_noise() -> None:
    it = case(False)
    observed = it.distances.points(it.rows[:25])
    there = Posterior(it.distances, it.posterior.model, observed, observed)
    assert (there.deviations() ** 2 < it.posterior.model.noise).all()
