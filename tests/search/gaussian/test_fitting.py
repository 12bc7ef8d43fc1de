from __future__ import annotations

import numpy as np
import pytest

from tests.search.gaussian.points import mixed_space, observed, prior_of
from tuner.search.gaussian import Distances, fit
from tuner.search.gaussian.fitting import _Likelihood
from tuner.space import SearchSpace


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_finite_differences(with_prior: bool, seed: int) -> None:
    space = mixed_space()
    distances = Distances(space, prior_of(space) if with_prior else None)
    rows, targets = observed(space, 20, seed)
    assert (space.rows[rows] < 0).any()
    likelihood = _Likelihood(distances, distances.points(rows), targets)
    logs = likelihood.centre + np.random.default_rng(seed).normal(size=len(likelihood.centre)) * 0.3
    _, gradient = likelihood(logs)
    assert len(gradient) == len(distances.log_weights) + (3 if with_prior else 2)
    step = 1e-5
    for place in range(len(logs)):
        nudge = np.zeros(len(logs))
        nudge[place] = step
        slope = (likelihood(logs + nudge)[0] - likelihood(logs - nudge)[0]) / (2 * step)
        assert gradient[place] == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_a_fit_is_likelier_than_the_start() -> None:
    space = mixed_space()
    distances = Distances(space)
    rows, targets = observed(space, 40)
    points = distances.points(rows)
    likelihood = _Likelihood(distances, points, targets)
    model = fit(distances, points, targets)
    logs = np.log([*model.weights, model.signal, model.noise])
    assert likelihood(logs)[0] < likelihood(likelihood.centre)[0] - 0.5
    again = fit(distances, points, targets, model)
    assert np.abs(np.log(again.weights / model.weights)).max() < 0.2


def test_a_fit_weighs_what_matters() -> None:
    """Only one parameter decides; its weight rises and that of the others falls."""
    space = SearchSpace.of_values({name: range(8) for name in "abc"})
    distances = Distances(space)
    rows = space.sample(np.random.default_rng(0), 60)
    targets = np.sin(space.rows[rows, 1].astype(float) * 1.5)
    model = fit(distances, distances.points(rows), (targets - targets.mean()) / targets.std())
    moved = np.log(model.weights) - distances.log_weights
    by_parameter = [moved[: len(distances.columns)][distances.columns == c].sum() for c in range(3)]
    assert by_parameter[1] > 0.5
    assert max(by_parameter[0], by_parameter[2]) < -0.5


def test_a_prior_that_is_right_is_trusted_more_than_one_that_is_not() -> None:
    space = mixed_space()
    prior = prior_of(space)
    rows, noise = observed(space, 30)
    distances = Distances(space, prior)
    points = distances.points(rows)
    trusted = fit(distances, points, prior[rows] / prior[rows].std()).prior
    ignored = fit(distances, points, noise).prior
    assert trusted > 2 * ignored


def test_a_prior_that_is_silent_on_the_first_results_is_used_later() -> None:
    space = mixed_space()
    prior = prior_of(space)
    rows, targets = observed(space, 20)
    prior[rows[:8]] = 0.0
    distances = Distances(space, prior)
    first = fit(distances, distances.points(rows[:8]), targets[:8])
    later = fit(distances, distances.points(rows), targets, first)
    assert first.prior > 0
    assert later.prior > 0


@pytest.mark.parametrize("value", [0.0, 1e-12])
def test_equal_results_are_fitted_too(value: float) -> None:
    space = mixed_space()
    distances = Distances(space)
    model = fit(distances, distances.points(np.arange(6)), np.full(6, value))
    assert np.isfinite([*model.weights, model.signal, model.noise]).all()


def test_one_result_is_fitted_too() -> None:
    space = SearchSpace.of_values({"a": [1]})
    distances = Distances(space)
    model = fit(distances, distances.points(np.array([0])), np.zeros(1))
    assert model.signal > 0
