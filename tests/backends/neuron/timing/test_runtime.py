from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backends.conformance import CONFIG
from tests.backends.neuron.fake import Fake, machine
from tests.backends.neuron.test_backend import made
from tuner.backends import Candidate, Measurement, Status, evaluate, load_backend
from tuner.backends.child_tools import per_call, spread
from tuner.backends.neuron.settings import Settings
from tuner.backends.neuron.timing.explorer import total_times_s
from tuner.backends.neuron.timing.runtime import percentile, sample_figures

EXACT: Any = pytest.approx(34 * 1.0025)
"""The fake's median of the config."""
PROFILED: Any = pytest.approx(34)
"""What the fake's profile tells of it."""


def timed(kernel_file: Path, fake: Fake, *faults: str, **options: Any) -> Measurement:
    fake.faults(*faults)
    return evaluate(load_backend(made(kernel_file, fake, **options)), Candidate(0, CONFIG))


def test_the_steadiest_of_three_runs_is_taken(kernel_file: Path, fake: Fake) -> None:
    for fault, runs, run_spread in (("unsteady", 3, 0.005), ("never-steady", 3, 0.1)):
        result = timed(kernel_file, fake, fault)
        assert result.figures["runs"] == runs, fault
        assert result.figures["run_spread"] == pytest.approx(run_spread), fault


def test_a_neff_of_several_subgraphs(kernel_file: Path, fake: Fake) -> None:
    result = timed(kernel_file, fake, "subgraphs")
    assert result.latency_us == EXACT
    assert (result.figures["events_per_call"], result.figures["iterations"]) == (2, 10)


def test_timestamps_that_are_missing_once(kernel_file: Path, fake: Fake) -> None:
    result = timed(kernel_file, fake, "no-events-once")
    assert (result.latency_us, result.figures["metric"]) == (EXACT, "device_time_us")


def test_times_of_the_host_are_other_times(kernel_file: Path, fake: Fake) -> None:
    result = timed(kernel_file, fake, "no-events", timing="nrtpy-host")
    assert result.latency_us == pytest.approx(134 * 1.0025)
    assert result.figures["metric"] == "host_time_us"
    backends = [load_backend(made(kernel_file, fake, timing=t)) for t in ("nrtpy", "nrtpy-host")]
    mine, other = (backend.fingerprint() for backend in backends)
    assert {name for name in mine if mine[name] != other[name]} == {"metric"}


@pytest.mark.slow
def test_spike_times_where_there_is_no_nrtpy(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = machine(tmp_path / "sdk", monkeypatch, nrtpy=None, spike="0.1.0")
    backend = load_backend(made(kernel_file, fake))
    result = evaluate(backend, Candidate(0, CONFIG, made(kernel_file, fake).arguments))
    assert (result.latency_us, result.verified) == (EXACT, True)
    assert backend.fingerprint()["versions"]["spike"] == "0.1.0"


@pytest.mark.slow
def test_the_explorer_times_without_either(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = machine(tmp_path / "sdk", monkeypatch, nrtpy=None, explorer=True)
    result = timed(kernel_file, fake)
    assert (result.latency_us, result.figures["metric"]) == (
        PROFILED,
        "profile_time_us",
    )
    for fault, reason in (
        ("oob", "NRT_EXEC_OOB(1006): nrt_execute failed"),
        ("no-profile", "neuron-explorer left no profile"),
        ("other-schema", "neuron-explorer's summary has no single total_time (0 of them)"),
    ):
        failed = timed(kernel_file, fake, fault)
        assert (failed.status, failed.reason) == (Status.RUNTIME, reason)
    fake.faults()
    problem = made(kernel_file, fake)
    checked = evaluate(load_backend(problem), Candidate(0, CONFIG, problem.arguments))
    assert checked.status == Status.RUNTIME
    assert checked.reason.startswith("numbers cannot be checked: neuron-explorer gives times")


@pytest.mark.slow
def test_numbers_are_checked_by_nrtpy_where_the_explorer_times(
    kernel_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = machine(tmp_path / "sdk", monkeypatch, explorer=True)
    problem = made(kernel_file, fake, timing="explorer")
    result = evaluate(load_backend(problem), Candidate(0, CONFIG, problem.arguments))
    assert (result.latency_us, result.verified) == (PROFILED, True)


def test_nothing_that_the_environment_says_is_lost_or_kept_wrongly(
    kernel_file: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NKI_SIMULATOR", "1")
    monkeypatch.setenv("NEURON_LOGICAL_NC_CONFIG", "2")
    monkeypatch.setenv("NEURON_RT_VISIBLE_CORES", "1")
    result = timed(kernel_file, fake)
    assert (result.latency_us, result.figures["core"]) == (EXACT, 1)


@pytest.mark.parametrize(
    ("summary", "times_s"),
    [
        ('{"total_time": 0.5}', [0.5]),
        ('[{"a": {"total_time": 1}}, {"b": {"total_time": 2}}]', [1.0, 2.0]),
        ('{"total_time": "soon"}', []),
        ('{"total_time": true}', []),
        ("not JSON", []),
        ("[" * 100_000, []),
    ],
)
def test_what_a_summary_says(summary: str, times_s: list[float]) -> None:
    assert total_times_s(summary) == times_s


def test_durations_of_calls() -> None:
    assert per_call([1.0, 2.0, 3.0], 3) == [1.0, 2.0, 3.0]
    assert per_call([1.0, 2.0, 3.0, 4.0], 2) == [3.0, 7.0]  # two subgraphs
    for durations, asked in (([1.0], 2), ([1.0, 2.0, 3.0], 2), ([], 1)):
        with pytest.raises(ValueError, match=f"{len(durations)} durations of {asked} calls"):
            per_call(durations, asked)


def test_spread() -> None:
    assert spread([2.0, 2.5, 2.0]) == 0.25
    assert spread([0.0, 1.0]) == float("inf")


@given(st.lists(st.floats(0.1, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    ranked = sorted(values)
    found = percentile(ranked, share)
    assert sum(value <= found for value in ranked) >= share * len(ranked)
    assert sum(value < found for value in ranked) < share * len(ranked)


def test_what_is_told_of_many_durations_is_bounded() -> None:
    settings = Settings.of({"iterations": 3000})
    runs = [{"durations_ms": [0.5] * 3000}, {"durations_ms": [0.25, 0.5] * 1500}]
    latency_us, figures = sample_figures(runs, settings, "device_time_us", 3)
    assert (latency_us, figures["iterations"], figures["runs"]) == (500, 3000, 2)
    assert figures["durations_us"] == [500.0] * 1000
    with pytest.raises(ValueError, match="a duration of 0"):
        sample_figures([{"durations_ms": [0.0]}], Settings.of({"iterations": 1}), "x", 0)
