from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.search.gaussian.points import distance_by_hand, mixed_space, model_of
from tuner.search.gaussian import Distances
from tuner.space import INACTIVE, SearchSpace

numbers = st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True)
floats = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 3.0, 7.5]), min_size=1, unique=True)
words = st.lists(st.sampled_from("abcd"), min_size=1, unique=True)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Numbers, words and flags; the second number and the second word have no value at times."""
    return SearchSpace.of_values(
        {
            "flag": [False, True],
            "first": draw(numbers),
            "second": draw(numbers),
            "third": draw(numbers),
            "real": draw(floats),
            "word": draw(words),
            "other": draw(words),
        },
        when={"second": "flag", "other": "not flag"},
    )


@settings(max_examples=25)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_distances_are_metric_and_covariances_positive(space: SearchSpace, seed: int) -> None:
    distances = Distances(space)
    generator = np.random.default_rng(seed)
    points = distances.points(space.sample(generator, 30))
    weights = np.exp(distances.log_weights + generator.normal(size=len(distances.log_weights)))
    apart = distance_by_hand(distances, points, points, weights)
    np.testing.assert_allclose(apart, apart.T)
    np.testing.assert_array_equal(np.diag(apart), 0.0)
    assert (apart >= 0).all()
    through = (apart[:, :, None] + apart[None]).min(axis=1)  # the shortest way with one stop
    assert (apart <= through + 1e-9).all()
    alike = distances.correlations(points, points, weights)
    assert np.linalg.eigvalsh(alike).min() > -1e-9
    assert ((points.joint >= 0) & (points.joint <= 1 + 1e-9)).all()


@settings(max_examples=25)
@given(spaces())
def test_different_configs_are_apart(space: SearchSpace) -> None:
    distances = Distances(space)
    points = distances.points(np.arange(min(len(space), 40)))
    alike = distances.correlations(points, points, np.exp(distances.log_weights))
    np.fill_diagonal(alike, 0)
    assert alike.max(initial=0.0) < 1 - 1e-6


def table(space: SearchSpace, name: str, component: int = 0) -> np.ndarray[tuple[int, int]]:
    """A component's table over the values, without the state of no value."""
    distances = Distances(space)
    column = [parameter.name for parameter in space.parameters].index(name)
    c = np.flatnonzero(distances.columns == column)[component]
    size = int(distances.sizes[column])
    full = distances.tables[distances.starts[c] :][: size * size].reshape(size, size)
    return full[1:, 1:]


def components(space: SearchSpace, name: str) -> int:
    column = [parameter.name for parameter in space.parameters].index(name)
    return int((Distances(space).columns == column).sum())


def test_numbers_are_further_apart_the_more_steps_are_between() -> None:
    found = table(mixed_space(), "block")
    assert (np.diff(found[0]) > 0).all()
    assert found[0, 1] > found[0, 2] - found[0, 1]  # to differ at all counts too


@pytest.mark.parametrize("name", ["order", "fast"])
def test_words_and_flags_are_equal_or_not(name: str) -> None:
    found = table(mixed_space(), name)
    np.testing.assert_array_equal(found, 1 - np.eye(len(found)))
    assert components(mixed_space(), name) == 1


def test_how_often_two_divides_counts_where_it_is_not_the_order() -> None:
    space = mixed_space()
    assert components(space, "block") == 1  # powers of two
    assert components(space, "scale") == 1  # not whole
    assert components(space, "unroll") == 2
    found = table(space, "unroll", 1)
    assert found[0, 2] == found[1, 5] == 0  # 1 and 3, 2 and 6
    assert found[0, 7] == 1  # 1 and 8


def test_a_value_and_none_are_half_a_range_apart() -> None:
    space = mixed_space()
    distances = Distances(space)
    column = [parameter.name for parameter in space.parameters].index("stages")
    states = distances.points(np.arange(len(space))).states[:, column]
    np.testing.assert_array_equal(states == 0, space.rows[:, column] == INACTIVE)
    size = int(distances.sizes[column])
    c = int(np.flatnonzero(distances.columns == column)[0])
    full = distances.tables[distances.starts[c] :][: size * size].reshape(size, size)
    np.testing.assert_allclose(full[0, 1:], full.max() / 2)
    assert full[0, 0] == 0


def test_joint_features_are_the_shares_of_the_logarithms_of_products() -> None:
    space = SearchSpace.of_values({"a": (1, 2, 4), "b": (1, 8, 64), "c": (5, 6, 7)})
    points = Distances(space).points(np.arange(len(space)))
    configs = [space.config(row) for row in range(len(space))]
    product = np.array([float(c["a"]) * float(c["b"]) for c in configs])
    np.testing.assert_allclose(points.joint[:, 0], np.log(product) / np.log(4 * 64))
    assert points.joint.shape[1] == 4  # three pairs, and all of them


def test_joint_features_are_few_however_many_parameters_there_are() -> None:
    space = SearchSpace.of_rows(
        SearchSpace.of_values({f"p{i}": (1, 2, 3) for i in range(4)}).parameters * 5,
        np.random.default_rng(0).integers(0, 3, (50, 20)),
    )
    assert Distances(space).points(np.arange(5)).joint.shape == (5, 64)


def test_parameters_with_a_thousand_values() -> None:
    space = SearchSpace.of_values({"a": range(1, 1001), "b": (0, 1)})
    distances = Distances(space)
    model = model_of(distances)
    some = distances.points(np.array([0, 1, 2, 1000, 1999]))
    assert np.linalg.eigvalsh(distances.correlations(some, some, model.weights)).min() > 0
    assert some.states.max() == 1000
