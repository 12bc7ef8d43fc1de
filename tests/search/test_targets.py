from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.search.targets import Scale, scalars

times = st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=40)
anything = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40)


@given(times | anything)
def test_targets_keep_the_order_with_mean_0_and_variance_1(values: list[float]) -> None:
    given_values = np.array(values)
    targets = Scale(given_values)(given_values)
    order = np.argsort(given_values, kind="stable")
    assert (np.diff(targets[order]) >= 0).all()
    assert targets.mean() == pytest.approx(0, abs=1e-3)
    assert targets.std() == pytest.approx(1, abs=1e-3) or targets.std() < 1


@given(times, st.integers(1, 5))
def test_what_failed_is_as_bad_as_the_worst(values: list[float], failed: int) -> None:
    given_values = np.array(values + [np.inf] * failed)
    targets = Scale(given_values)(given_values)
    assert (targets[len(values) :] == targets[: len(values)].max()).all()
    assert np.isfinite(targets).all()


@pytest.mark.parametrize("values", [[3.0], [5.0] * 7, [0.0] * 5, [-2.0] * 6, [7.0, np.inf]])
def test_equal_values_have_equal_targets(values: list[float]) -> None:
    targets = Scale(np.array(values))(np.array(values))
    np.testing.assert_allclose(targets, 0, atol=1e-3)


def test_times_are_compared_by_their_ratio() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0, 1e4, 1e5])
    targets = Scale(values)(values)
    np.testing.assert_allclose(np.diff(targets[:4]), targets[1] - targets[0])
    negative = np.array([-8.0, -7.0, -6.0, -5.0, 90.0, 100.0])
    targets = Scale(negative)(negative)
    np.testing.assert_allclose(np.diff(targets[:4]), targets[1] - targets[0])


def test_the_slowest_quarter_is_pressed_together() -> None:
    values = np.exp(np.arange(101.0))
    steps = np.diff(Scale(values)(values))
    np.testing.assert_allclose(steps[75:], 0.15 * steps[0])
    np.testing.assert_allclose(steps[:75], steps[0])


def test_a_scale_serves_other_values_than_its_own() -> None:
    values = np.array([10.0, 12.0, 15.0, 30.0, np.inf])
    scale = Scale(values)
    np.testing.assert_array_equal(scale(values)[1:3], scale(values[1:3]))
    assert scale(np.array([9.0]))[0] < scale(values)[0]


@given(
    st.lists(
        st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
        min_size=2,
        max_size=15,
    ),
    st.booleans(),
    st.integers(0, 99),
)
def test_what_is_dominated_never_scores_better(
    results: list[tuple[float, float, float]], positive: bool, seed: int
) -> None:
    values = np.array(results)
    values = np.exp(values / 100) if positive else values
    found = scalars(values, np.random.default_rng(seed))
    assert np.isfinite(found).all()
    dominates = (values[:, None] <= values[None]).all(axis=2)
    better, worse = np.nonzero(dominates)
    assert (found[better] <= found[worse] + 1e-12).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_results_with_an_infinite_objective_stay_infinite(sign: float) -> None:
    values = np.array([[sign, 2.0], [np.inf, -1.0], [2 * sign, 1.0], [np.inf, np.inf]])
    found = scalars(values, np.random.default_rng(0))
    assert list(np.isinf(found)) == [False, True, False, True]
    nothing = scalars(values[[1, 3]], np.random.default_rng(0))
    assert np.isposinf(nothing).all()


def test_one_objective_is_left_as_it_is() -> None:
    values = np.array([[3.0], [np.inf], [-1.0]])
    np.testing.assert_array_equal(scalars(values, np.random.default_rng(0)), values[:, 0])


def test_other_weights_favour_other_results() -> None:
    values = np.array([[1.0, 9.0], [5.0, 5.0], [9.0, 1.0]])
    best = {int(np.argmin(scalars(values, np.random.default_rng(s)))) for s in range(40)}
    assert best == {0, 1, 2}
