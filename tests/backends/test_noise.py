from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.backends.conformance import CONFIG, BackendConformance
from tests.backends.small_kernel import problem as small_problem
from tuner.backends import Candidate, Problem, Repeats, evaluate, load_backend, make_backend
from tuner.backends.noise import Noisy, noise_factor
from tuner.backends.simulator import SimulatorBackend
from tuner.runtime.rules import Config


def noisy(kernel_file: Path, noise: float = 0.03, seed: int = 0) -> Problem:
    return small_problem(kernel_file, options={"noise": noise, "noise_seed": seed})


class TestConformance(BackendConformance):
    @pytest.fixture
    def problem(self, kernel_file: Path) -> Problem:
        return noisy(kernel_file)


def samples(problem: Problem, count: int, first: int = 0, **config: int) -> Sequence[float]:
    backend = load_backend(problem)
    candidate = Candidate(0, {**CONFIG, **config}, repeats=Repeats(count, first=first))
    artifact = backend.compile(candidate)
    found = [backend.measure(artifact)[0] for _ in range(count)]
    return [time for time in found if time is not None]


def test_noise_depends_on_seed_config_and_repeat_alone(kernel_file: Path) -> None:
    problem = noisy(kernel_file)
    together = samples(problem, 6)
    assert len(set(together)) == 6
    assert samples(problem, 6) == together
    assert samples(problem, 4, first=2) == together[2:]
    assert samples(noisy(kernel_file, seed=1), 6) != together
    apart = [factor / together[0] for factor in samples(problem, 1, columns=256)]
    assert apart != [1.0]


def test_the_order_of_the_parameters_does_not_matter() -> None:
    one: Config = {"a": 1, "b": 2}
    other: Config = {"b": 2, "a": 1}
    assert noise_factor(0.03, 0, one, 5) == noise_factor(0.03, 0, other, 5)
    assert noise_factor(0.03, 0, one, 5) != noise_factor(0.03, 0, {"a": 2, "b": 1}, 5)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_noise_has_the_form_that_is_documented(share: float) -> None:
    factors = np.array([noise_factor(share, 0, {}, repeat) for repeat in range(8000)])
    logs = np.log(factors) / share
    assert np.median(logs) == pytest.approx(0, abs=0.12)
    low, high = np.quantile(logs, [0.1587, 0.8413])
    assert high - low == pytest.approx(2, rel=0.1)
    assert 0.02 < np.mean(logs > 4) < 0.06  # what is disturbed is slower, never faster
    assert np.mean(logs < -4) < 0.001


def test_the_median_of_many_samples_is_the_exact_time(kernel_file: Path) -> None:
    exact = evaluate(load_backend(small_problem(kernel_file)), Candidate(0, CONFIG))
    rule = Repeats(400)
    found = evaluate(load_backend(noisy(kernel_file)), Candidate(0, CONFIG, repeats=rule))
    assert exact.latency_us is not None
    assert found.latency_us == pytest.approx(exact.latency_us, rel=0.01)
    assert found.figures["spread_us"] == pytest.approx(0.03 * exact.latency_us, rel=0.3)
    low, high = found.figures["ci_us"]
    assert low < exact.latency_us < high
    kept = {name: found.figures[name] for name in exact.figures}
    assert kept == exact.figures


def test_the_backend_is_asked_once_for_its_exact_time(
    kernel_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    measure = SimulatorBackend.measure

    def counted(self: SimulatorBackend, artifact: object) -> object:
        calls.append(artifact)
        return measure(self, artifact)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatorBackend, "measure", counted)
    result = evaluate(
        load_backend(noisy(kernel_file)), Candidate(0, CONFIG, repeats=Repeats(9, least=9))
    )
    assert result.figures["samples"] == 9
    assert len(calls) == 1


def test_what_is_hopeless_is_not_sampled(kernel_file: Path) -> None:
    candidate = Candidate(0, CONFIG, limit_us=0.1, repeats=Repeats(20))
    result = evaluate(load_backend(noisy(kernel_file)), candidate)
    assert result.latency_us is None
    assert result.figures["bound_us"] > 0.1
    assert "samples" not in result.figures


def test_noisy_times_never_share_a_fingerprint_with_exact_ones(kernel_file: Path) -> None:
    exact, few, many = (
        make_backend(small_problem(kernel_file, options=options)).fingerprint()
        for options in ({}, {"noise": 0.01}, {"noise": 0.05})
    )
    assert few == {**exact, "noise": 0.01}
    assert many == {**exact, "noise": 0.05}


def test_without_noise_there_is_no_wrapper(kernel_file: Path) -> None:
    plain = make_backend(small_problem(kernel_file, options={"noise": 0.0}))
    wrapped = make_backend(noisy(kernel_file))
    assert not isinstance(plain, Noisy)
    assert (plain.capabilities().noisy, wrapped.capabilities().noisy) == (False, True)
    assert wrapped.capabilities().kind == plain.capabilities().kind


def test_exact_times_are_sampled_once_whatever_is_asked(kernel_file: Path) -> None:
    backend = load_backend(small_problem(kernel_file))
    once = evaluate(backend, Candidate(0, CONFIG))
    asked = evaluate(backend, Candidate(0, CONFIG, repeats=Repeats(20, least=20)))
    assert (asked.latency_us, asked.figures) == (once.latency_us, once.figures)


def test_noisy_times_are_sampled_once_where_nothing_is_asked(kernel_file: Path) -> None:
    result = evaluate(load_backend(noisy(kernel_file)), Candidate(0, CONFIG))
    assert [result.latency_us] == samples(noisy(kernel_file), 1)
    assert "samples" not in result.figures


def test_an_incumbent_saves_samples(kernel_file: Path) -> None:
    backend = load_backend(noisy(kernel_file))
    spent = []
    for incumbent_us in (None, (0.1, 0.2)):
        rule = Repeats(20, incumbent_us=incumbent_us)
        spent.append(evaluate(backend, Candidate(0, CONFIG, repeats=rule)).figures["samples"])
    assert spent[0] == 20
    assert spent[1] <= 3
