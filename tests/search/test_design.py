from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.search.studies import block_space
from tuner.search.design import design_row, prior_feature, prior_order
from tuner.search.history import History
from tuner.space import SearchSpace


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return block_space()


def history_of(rows: list[int]) -> History:
    return History(np.array(rows, np.int64), np.ones((len(rows), 1)), ())


def designed(
    space: SearchSpace, count: int, seed: int, prior: np.ndarray | None = None
) -> list[int]:
    """The rows of a design."""
    rows: list[int] = []
    taken = np.zeros(len(space), bool)
    for _ in range(count):
        order = None if prior is None else prior_order(prior)
        generator = np.random.default_rng([seed, len(rows)])
        rows.append(design_row(space, history_of(rows), taken, generator, order))
        assert not taken[rows[-1]]
        taken[rows[-1]] = True
    return rows


def nearest_pair(space: SearchSpace, rows: list[int]) -> float:
    points = space.rows[rows] / np.maximum(space.counts - 1, 1)
    apart = np.abs(points[:, None] - points[None]).sum(axis=2)
    return float(apart[np.triu_indices(len(rows), 1)].min())


def test_a_design_is_further_apart_than_chance(space: SearchSpace) -> None:
    ours = [nearest_pair(space, designed(space, 10, seed)) for seed in range(5)]
    chance = [
        nearest_pair(space, space.sample(np.random.default_rng(seed), 10).tolist())
        for seed in range(5)
    ]
    assert np.mean(ours) > 1.3 * np.mean(chance)


def test_every_other_config_is_the_best_left_of_the_prior(space: SearchSpace) -> None:
    prior = np.random.default_rng(0).permutation(len(space)).astype(float)
    rows = designed(space, 8, 0, prior)
    assert prior[rows[3::2]].tolist() == [0, 1, 2]
    assert prior[[*rows[:3], *rows[4::2]]].min() > 2


def test_a_prior_whose_favourites_come_out_worse_is_not_followed(space: SearchSpace) -> None:
    prior = np.random.default_rng(0).permutation(len(space)).astype(float)
    rows = [0, 1, 2, int(np.argmin(prior)), 4]
    assert not set(rows[:3]) & set(prior_order(prior)[:3])
    taken = np.isin(np.arange(len(space)), rows)
    order = prior_order(prior)
    for last, followed in ((0.5, True), (2.0, False)):
        values = np.array([[1.0], [1.0], [1.0], [last], [1.0]])
        history = History(np.array(rows), values, ())
        row = design_row(space, history, taken, np.random.default_rng(0), order)
        assert (row == order[1]) == followed


def test_a_prior_that_says_nothing_is_not_followed(space: SearchSpace) -> None:
    nothing = np.full(len(space), np.nan)
    assert designed(space, 8, 0, nothing) == designed(space, 8, 0)


def test_the_order_of_a_prior_leaves_out_what_fails_or_is_not_known() -> None:
    prior = np.array([3.0, np.inf, 1.0, np.nan, 2.0, 1.0])
    assert prior_order(prior).tolist() == [2, 5, 4, 0]


values = st.floats(1e-3, 1e6) | st.just(np.inf) | st.just(np.nan)


@given(st.lists(values, min_size=1, max_size=50))
def test_a_feature_is_standardised_and_keeps_the_order(prior: list[float]) -> None:
    given_prior = np.array(prior)
    feature = prior_feature(given_prior)
    assert np.isfinite(feature).all()
    assert (feature[np.isnan(given_prior)] == 0).all()
    told = ~np.isnan(given_prior)
    if np.isfinite(given_prior).any():
        order = np.argsort(given_prior[told], kind="stable")
        assert (np.diff(feature[told][order]) >= -1e-9).all()
        assert feature[told].mean() == pytest.approx(0, abs=1e-4)
        assert feature[told].std() < 1 + 1e-6


def test_a_prior_counts_in_any_unit() -> None:
    prior = np.random.default_rng(1).lognormal(size=30)
    np.testing.assert_allclose(prior_feature(prior), prior_feature(1e6 * prior), atol=1e-9)
    shifted = prior_feature(-prior)
    assert np.isfinite(shifted).all()
    assert np.argmax(shifted) == np.argmin(prior)


def test_a_prior_of_failures_alone_says_nothing() -> None:
    assert prior_feature(np.full(5, np.inf)).tolist() == [0.0] * 5
