from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.search.studies import run
from tuner.runtime.rules import Config
from tuner.search import Search
from tuner.search.pool import MAX_RESULTS, candidates, thinned
from tuner.space import SearchSpace


@pytest.fixture(scope="module")
def large() -> SearchSpace:
    """262,144 configs."""
    return SearchSpace.of_values({name: range(8) for name in "abcdef"})


def away(config: Config) -> float:
    return 1.0 + sum((float(value) - 5) ** 2 for value in config.values())


def test_all_rows_of_a_small_space_are_candidates() -> None:
    space = SearchSpace.of_values({"a": range(8), "b": range(5)})
    found = candidates(space, np.array([3]), np.array([1.0]), 0)
    np.testing.assert_array_equal(found, np.arange(40))


def test_candidates_of_a_large_space_are_near_the_best_and_everywhere(large: SearchSpace) -> None:
    rows = large.sample(np.random.default_rng(0), 60)
    values = np.arange(60.0)
    found = candidates(large, rows, values, 0)
    assert (np.diff(found) > 0).all()
    assert 20_000 <= len(found) < 40_000
    assert set(large.neighbours(int(rows[0]))) <= set(found.tolist())
    counts, _ = np.histogram(found, 8, (0, len(large)))
    assert counts.min() > 1_500
    np.testing.assert_array_equal(found, candidates(large, rows, values, 0))
    assert not np.array_equal(found, candidates(large, rows, values, 1))


def test_the_best_of_a_prior_are_candidates(large: SearchSpace) -> None:
    likely = large.sample(np.random.default_rng(3), 5_000)
    found = candidates(large, np.array([9]), np.array([1.0]), 0, likely)
    assert set(likely[:1_000].tolist()) <= set(found.tolist())
    assert len(found) < 30_000


def test_a_prior_is_followed_in_a_large_space(large: SearchSpace) -> None:
    times = 1.0 + ((large.rows.astype(float) - 5) ** 2).sum(axis=1)
    prior = times * np.random.default_rng(0).lognormal(0, 0.3, len(times))
    best = []
    for given_prior in (prior, None):
        search = Search(large, "gp", 1, prior=given_prior)
        run(search, 20, away)
        best.append(search.best_us or np.inf)
    assert best[0] < best[1]


def test_a_large_space_is_searched_quickly_in_little_memory(large: SearchSpace) -> None:
    search = Search(large, "gp", 1)
    run(search, 12, away)  # compiles the loops
    tracemalloc.start()
    started = time.process_time()
    rows = [large.row(config) for config in run(search, 40, away, pending=4)]
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(rows)) == 40
    assert peak < 200e6
    assert seconds < 40  # a scan of all rows by the model at each ask would take far longer
    best = search.best_us
    assert best is not None
    random = Search(large, "random", 1)
    run(random, 52, away)
    assert best < (random.best_us or 0)


def test_a_pool_that_is_used_up_is_no_end(large: SearchSpace, monkeypatch: object) -> None:
    import tuner.search.guided as guided

    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    monkeypatch.setattr(guided, "candidates", lambda space, rows, *others: rows)
    rows = [large.row(config) for config in run(Search(large), 20, away)]
    assert len(set(rows)) == 20


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=3 * MAX_RESULTS), st.sampled_from([1, np.inf])
)
def test_thinned_results(steps: list[int], worst: float) -> None:
    values = np.array(steps, float)
    values[values == 50] *= worst
    kept = thinned(values)
    assert len(kept) == min(len(values), MAX_RESULTS)
    assert (np.diff(kept) > 0).all()
    assert (kept >= 0).all()
    assert kept.max() < len(values)
    best = np.sort(values)[: min(len(values), MAX_RESULTS // 2)]
    np.testing.assert_array_equal(np.sort(values[kept])[: len(best)], best)


def test_thinned_results_stand_for_all_times() -> None:
    values = np.concatenate([np.arange(500.0), np.full(1500, 1e3)])
    kept = thinned(values)
    counts, _ = np.histogram(kept[kept >= 500], 3, (500, 2000))
    assert counts.min() > 40
