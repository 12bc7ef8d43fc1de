from __future__ import annotations

import numpy as np
import pytest

from tests.search.gaussian.points import distance_by_hand, mixed_space, model_of
from tuner.search.gaussian import Distances
from tuner.search.gaussian.loops import correlations, weight_gradients


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (9, 5)])
def test_correlations_are_the_exponential_of_the_summed_distance(shape: tuple[int, int]) -> None:
    space = mixed_space()
    distances = Distances(space)
    rows = space.sample(np.random.default_rng(1), sum(shape))
    a, b = distances.points(rows[: shape[0]]), distances.points(rows[shape[0] :])
    weights = model_of(distances).weights
    tables = len(distances.columns)
    found = correlations(
        a.states,
        a.joint,
        b.states,
        b.joint,
        distances.combined(weights[:tables]),
        distances.offsets,
        distances.sizes,
        weights[tables:],
    )
    np.testing.assert_allclose(found, np.exp(-distance_by_hand(distances, a, b, weights)))
    np.testing.assert_array_equal(found, distances.correlations(a, b, weights))


def test_weight_gradients_are_the_sums_of_each_component() -> None:
    space = mixed_space()
    distances = Distances(space)
    generator = np.random.default_rng(2)
    points = distances.points(space.sample(generator, 12))
    outer = generator.normal(size=(12, 12))
    outer += outer.T
    found = weight_gradients(
        points.states,
        points.joint,
        outer,
        distances.columns,
        distances.tables,
        distances.starts,
        distances.sizes,
    )
    one_at_a_time = np.eye(len(distances.log_weights))
    expected = [
        (outer * distance_by_hand(distances, points, points, weights)).sum()
        for weights in one_at_a_time
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)
