from __future__ import annotations

from benchmarks.noise import METHODS, exact_times, run


def test_each_method_names_a_clear_winner() -> None:
    times_us = [200.0, 150.0, 100.0, 180.0, 160.0, 300.0]
    found = {method.name: run(method, times_us, 0.03, seed=1) for method in METHODS}
    assert {figures["named"] for figures in found.values()} == {1.0}
    assert found["1 sample"]["samples_per_trial"] == 1
    assert found["20 samples"]["samples_per_trial"] == 20
    assert found["rule"]["samples_per_trial"] < 12
    assert {figures["samples_of_finals"] for figures in found.values()} == {0}


def test_what_is_not_clear_goes_to_the_finals() -> None:
    found = {method.name: run(method, [100.0, 100.5, 300.0], 0.03, seed=1) for method in METHODS}
    assert found["rule"]["samples_of_finals"] == 0 < found["rule + finals"]["samples_of_finals"]


def test_a_slower_config_named_the_best_is_a_loss() -> None:
    times_us = [100.0 + number / 100 for number in range(60)]
    found = [run(METHODS[0], times_us, 0.1, seed) for seed in range(5)]
    assert any(figures["named"] == 0 for figures in found)
    for figures in found:
        assert (figures["named"] == 1) == (figures["loss_percent"] == 0)
        assert figures["told_error_percent"] < 0  # the lowest of sixty noisy times


def test_exact_times_are_sorted_and_positive() -> None:
    times_us = exact_times(5)
    assert len(times_us) == 5
    assert times_us == sorted(times_us)
    assert times_us[0] > 0
