from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.backends.repeats import (
    Repeats,
    half_width_percent,
    median_interval,
    order_interval,
    summarize,
)

Times = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Times]


def log_normal(generator: np.random.Generator, count: int) -> Times:
    return np.exp(0.03 * generator.standard_normal(count))


def with_outliers(generator: np.random.Generator, count: int) -> Times:
    slow = np.where(generator.random(count) < 0.05, generator.standard_exponential(count), 0)
    return log_normal(generator, count) * (1 + 0.3 * slow)


def exponential(generator: np.random.Generator, count: int) -> Times:
    """Never faster than a floor, as times of a busy machine."""
    return 1 + 0.1 * generator.standard_exponential(count)


def pareto(generator: np.random.Generator, count: int) -> Times:
    """So heavy a tail that there is no variance."""
    return 1 + 0.03 * generator.pareto(1.5, count)


NOISES = [log_normal, with_outliers, exponential, pareto]


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("count", [2, 3, 5, 6, 10, 20])
def test_the_interval_encloses_the_median_as_often_as_it_says(noise: Noise, count: int) -> None:
    generator = np.random.default_rng(count)
    median = float(np.median(noise(generator, 200_000)))
    runs, hits = 1500, 0
    for _ in range(runs):
        low, high = median_interval(noise(generator, count).tolist())
        hits += low <= median <= high
    # Only below six samples, and only for noise that is far from log-normal, a little less often.
    assert hits / runs >= (0.935 if noise is log_normal or count >= 6 else 0.91)


def test_the_order_interval_leaves_out_what_the_coin_allows() -> None:
    samples = [float(value) for value in range(20)]
    assert order_interval(samples[:5], 0.95) == (-math.inf, math.inf)  # 1 - 2/32 is less
    assert order_interval(samples[:6], 0.95) == (0, 5)  # 1 - 2/64
    assert order_interval(samples[:8], 0.95) == (0, 7)  # without 0 and 7: 1 - 18/256
    assert order_interval(samples[:9], 0.95) == (1, 7)  # 1 - 20/512
    assert order_interval(samples, 0.95) == (5, 14)
    assert order_interval(samples[:7], 0.99) == (-math.inf, math.inf)
    assert order_interval(samples[:8], 0.99) == (0, 7)


samples_us = st.lists(st.floats(0.1, 1e6), min_size=2, max_size=40)


@given(samples_us)
def test_the_interval_encloses_the_median_of_the_samples_or_of_their_logarithms(
    samples: list[float],
) -> None:
    low, high = median_interval(samples)
    median = statistics.median(samples) if len(samples) > 5 else statistics.geometric_mean(samples)
    assert low <= median * (1 + 1e-9)
    assert high >= median * (1 - 1e-9)


@given(samples_us, st.floats(0.01, 100))
def test_the_unit_does_not_matter(samples: list[float], unit: float) -> None:
    scaled = median_interval([sample * unit for sample in samples])
    assert scaled == pytest.approx([bound * unit for bound in median_interval(samples)])


def test_one_sample_says_nothing_of_the_spread() -> None:
    assert median_interval([5.0]) == (0, math.inf)
    assert summarize([5.0]).figures() == {"samples": 1, "spread_us": 0, "ci_us": None}
    assert half_width_percent(5.0, summarize([5.0]).figures()) is None
    assert half_width_percent(5.0, {}) is None


def test_a_summary_is_not_moved_by_an_outlier() -> None:
    calm = summarize([100, 101, 102, 103, 104, 105, 106, 107, 108])
    wild = summarize([100, 101, 102, 103, 104, 105, 106, 107, 9e9])
    assert calm == wild
    assert (calm.median_us, calm.samples, calm.ci_us) == (104, 9, (101, 107))
    assert calm.spread_us == pytest.approx(1.4826 * 2)
    assert json.loads(json.dumps(calm.figures())) == calm.figures()
    assert half_width_percent(calm.median_us, calm.figures()) == pytest.approx(100 * 3 / 104)


def test_the_spread_of_normal_noise_is_its_standard_deviation() -> None:
    samples = 50 + 2 * np.random.default_rng(0).standard_normal(20_000)
    assert summarize(samples.tolist()).spread_us == pytest.approx(2, rel=0.03)


def taken(rule: Repeats, times: Times) -> list[float]:
    """The samples that a rule takes of those to come."""
    samples: list[float] = []
    while not samples or not rule.enough(samples):
        samples.append(float(times[len(samples)]))
    return samples


@pytest.mark.parametrize("most", [1, 2, 7])
def test_the_cap_holds(most: int) -> None:
    wild = np.tile([1.0, 9.0], 10)
    assert len(taken(Repeats(most), wild)) == most
    assert len(taken(Repeats(most, least=9), wild)) == most


def test_a_clearly_slower_config_is_given_up_at_once() -> None:
    generator = np.random.default_rng(1)
    rule = Repeats(20, incumbent_us=(0.98, 1.02))
    spent = [len(taken(rule, 2 * with_outliers(generator, 20))) for _ in range(500)]
    assert statistics.median(spent) == 2
    assert statistics.fmean(spent) < 3


def test_a_fast_config_is_sampled_until_its_interval_counts() -> None:
    generator = np.random.default_rng(2)
    rule = Repeats(20, incumbent_us=(0.98, 1.02))
    spent = [len(taken(rule, 0.5 * log_normal(generator, 20))) for _ in range(100)]
    assert set(spent) == {6}


def test_a_config_as_good_as_the_incumbent_is_sampled_to_the_cap() -> None:
    generator = np.random.default_rng(3)
    rule = Repeats(20, incumbent_us=(0.985, 1.015))
    spent = [len(taken(rule, log_normal(generator, 20))) for _ in range(400)]
    assert statistics.median(spent) == 20


@pytest.mark.parametrize("noise", NOISES[:3])
def test_few_equals_are_taken_for_slower(noise: Noise) -> None:
    """Also with a look after every sample, and an incumbent known as well as twenty samples tell
    it.
    """
    generator = np.random.default_rng(4)
    runs, wrong = 600, 0
    for _ in range(runs):
        rule = Repeats(20, incumbent_us=median_interval(noise(generator, 20).tolist()))
        wrong += len(taken(rule, noise(generator, 20))) < 20
    assert wrong / runs < 0.1


def test_steady_times_are_sampled_no_further_than_needed() -> None:
    assert len(taken(Repeats(20), np.ones(20))) == 6
    assert len(taken(Repeats(20), 1 + 0.001 * np.tile([1.0, -1.0], 10))) == 6
    assert len(taken(Repeats(20), 1 + 0.05 * np.tile([1.0, -1.0], 10))) == 20


def test_two_times_that_agree_by_luck_settle_nothing() -> None:
    lucky = np.concatenate([np.ones(2), 1 + 0.1 * np.tile([1.0, -1.0], 10)])
    assert len(taken(Repeats(20), lucky)) == 20
    assert len(taken(Repeats(20, incumbent_us=(1.05, 1.1)), lucky)) == 20
