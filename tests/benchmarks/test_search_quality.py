from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search_quality import __main__ as command
from benchmarks.search_quality import asks
from benchmarks.search_quality.methods import Method, method
from benchmarks.search_quality.metric import baseline, expected_random
from benchmarks.search_quality.recordings import synthetic
from benchmarks.search_quality.report import plot
from benchmarks.search_quality.running import Task, Trace
from benchmarks.search_quality.summary import Run, difference, summarise
from tuner.backends.recording import write_recording
from tuner.runtime.errors import TunerError

INF = float("inf")
TIMES = st.lists(st.integers(1, 9).map(float), min_size=1, max_size=7)


def times(*values: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, float)


@given(TIMES)
def test_the_expected_best_of_random_search_is_exact(values: list[float]) -> None:
    exact = [
        np.mean([min(drawn) for drawn in combinations(values, count)])
        for count in range(1, len(values) + 1)
    ]
    assert expected_random(times(*values), len(values)) == pytest.approx(exact)


@given(TIMES)
def test_random_search_is_sure_of_the_optimum_once_all_is_drawn(values: list[float]) -> None:
    assert expected_random(times(*values), len(values))[-1] == min(values)


def test_random_search_scores_zero_on_average() -> None:
    base = baseline(times(3, 1, INF, 5, 9, 2), 5)
    scores = [base.score(order) for order in permutations(range(6))]
    assert np.mean(scores) == pytest.approx(0)


def test_the_optimum_at_once_scores_one() -> None:
    assert baseline(times(3, 1, INF, 5, 9, 2), 5).score([1]) == 1


def test_a_failure_counts_as_an_evaluation_with_the_slowest_time() -> None:
    base = baseline(times(4, INF, 2, 8), 3)
    assert base.best_us([1, 0, 2], 3).tolist() == [8, 4, 2]


def test_a_run_that_ends_early_keeps_its_best() -> None:
    base = baseline(times(4, 3, 2, 8), 4)
    assert base.fraction([0, 1], 4).tolist() == [2 / 4, 2 / 3, 2 / 3, 2 / 3]


def test_evaluations_beyond_the_horizon_do_not_count() -> None:
    base = baseline(times(4, 3, 2, 8), 2)
    assert base.fraction([0, 1, 2], 2).tolist() == [2 / 4, 2 / 3]


def test_a_gain_over_random_search_is_a_share_of_what_was_possible() -> None:
    values = times(*range(1, 102))  # median 51, optimum 1
    base = baseline(values, 10)
    gains = (base.random_us - values[11]) / (base.random_us - 1)
    assert base.score([11]) == pytest.approx(gains[base.start - 1 :].mean())


@pytest.mark.parametrize("horizon", [5, 80])
def test_scoring_ends_where_random_search_has_come_nearly_to_the_optimum(horizon: int) -> None:
    values = times(*range(1, 102))
    base = baseline(values, horizon)
    near = [draws for draws, best in enumerate(base.random_us, 1) if best <= 1 + 0.05 * 50]
    begun = [draws for draws, best in enumerate(base.random_us, 1) if best <= 1 + 0.99 * 50]
    assert (base.start, base.end) == (begun[0], near[0] if near else horizon)
    assert (horizon == 5) == (not near)


def test_where_random_search_is_sure_of_the_optimum_only_having_it_counts() -> None:
    base = baseline(times(7, 7, 7), 3)
    assert base.score([2, 0, 1]) == 1
    pair = baseline(times(1, 2), 2)
    assert [pair.score([0]), pair.score([1, 0]), pair.score([1])] == [1, 1, 0]


def test_a_recording_without_a_valid_config_has_no_score() -> None:
    with pytest.raises(TunerError, match="every config"):
        baseline(times(INF, INF), 2)


def run(
    space: str = "a", seed: int = 0, score: float = 0.0, fraction: Sequence[float] = (0.5, 1.0)
) -> Run:
    return Run(space, seed, score, np.array(fraction), ask_ms=1.0, memory_mb=80.0)


def test_figures_are_means_over_spaces_and_seeds() -> None:
    runs = [run("a", 0, 0.2, (0.5, 1)), run("a", 1, 0.4), run("b", 0, 0.9, (0.2, 0.4))]
    found = summarise([*runs[:2], replace(runs[2], ask_ms=4.0, memory_mb=90.0)], [1, 2])
    assert found.score == pytest.approx(0.5)
    assert found.stderr == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1) / 3**0.5)
    assert found.fraction == pytest.approx({1: 0.4, 2: 0.8})
    assert found.per_space == pytest.approx({"a": 0.3, "b": 0.9})
    assert (found.ask_ms, found.memory_mb, found.runs) == (2.0, 90.0, 3)


def test_the_worst_decile_is_over_all_runs_at_100_evaluations() -> None:
    runs = [run(seed=i, fraction=[0.0] * 99 + [i / 10, 1.0]) for i in range(11)]
    assert summarise(runs, [100]).worst_decile == pytest.approx(0.1)
    assert summarise([run()], [2]).worst_decile is None


def test_two_methods_are_compared_where_both_have_a_run() -> None:
    mine = [run("a", 0, 0.5), run("a", 1, 0.9), run("b", 0, 0.7)]
    theirs = [run("a", 1, 0.5), run("a", 0, 0.3), run("c", 0, 0.1)]
    found = difference(mine, theirs)
    assert found == pytest.approx((0.3, np.std([0.2, 0.4], ddof=1) / 2**0.5, 2))
    assert difference(mine, theirs[2:]) is None


def test_a_method_that_plans_by_its_budget_is_scored_on_a_run_of_just_that_budget() -> None:
    path, planned = Path("x.npz"), Method("kernel_tuner:pso", "kernel_tuner", "pso")
    base = replace(baseline(times(*range(1, 102)), 50), end=7)
    tasks = command.tasks_of([planned, Method("gp", "own", "gp")], {path: base}, 1, 50)
    found = sorted((t.method.name, t.budget) for t in tasks)
    assert found == [("gp", 50), ("pso", 7), ("pso", 50)]


def test_the_fractions_of_such_a_method_are_from_a_run_of_the_horizon(recorded: Path) -> None:
    path, planned = recorded / "one.npz", Method("kernel_tuner:pso", "kernel_tuner", "pso")
    base = replace(baseline(times(*range(1, 102)), 50), end=7)
    tasks = {
        Task(planned, path, 0, 7): Trace([0], 1.0, 1.0),
        Task(planned, path, 0, 50): Trace([9], 1.0, 1.0),
    }
    (scored,) = command.scored(tasks, {path: base}, 50)["kernel_tuner:pso"]
    assert (scored.score, scored.fraction[-1]) == (1.0, 0.1)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    for seed, name in enumerate(("one", "two")):
        recording = replace(synthetic((4, 5, 3), 50, seed), name=name)
        write_recording(recording, tmp_path / f"{name}.npz")
    return tmp_path


@pytest.fixture
def run_command(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    def invoke(*arguments: str) -> tuple[str, str]:
        command.main(["--spaces", str(recorded), "--seeds", "2", "--horizon", "30", *arguments])
        printed = capsys.readouterr()
        return printed.out, printed.err

    return invoke


def test_the_command_compares_methods_in_processes_and_prints_json(
    run_command: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    chosen = ("--methods", "random,random@4", "--jobs", "1", "--traces", str(tmp_path / "traces"))
    out, err = run_command("--json", *chosen)
    found = json.loads(out)
    assert list(found) == ["random", "random@4"]
    assert set(found["random"]) == {
        *("score", "stderr", "fraction", "worst_decile_100", "ask_ms", "per_space"),
        *("memory_mb", "runs"),
    }
    assert set(found["random"]["per_space"]) == {"one", "two"}
    assert list(found["random"]["fraction"]) == ["25"]
    assert "random: 4 runs in" in err
    again, err = run_command(*chosen)
    assert "random: 0 runs in" in err
    assert f"{found['random']['score']:.3f}" in again
    assert "score of random less another's" in again


def test_wrong_input_ends_with_one_line(
    recorded: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    cases = {
        ("--methods", "random"): "--spaces DIR",
        ("--spaces", str(tmp_path / "empty")): "found none",
        ("--spaces", str(recorded), "--methods", "rando"): "did you mean random",
        ("--spaces", str(recorded), "--methods", "optuna:TPESample"): "TPESampler",
        ("--spaces", str(recorded), "--methods", "no.py:f"): "no such file",
    }
    for arguments, expected in cases.items():
        with pytest.raises(SystemExit) as ended:
            command.main(arguments)
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
        assert expected in printed.err


def test_proposals_are_timed_in_processes_of_their_own(recorded: Path) -> None:
    found = asks.measure([method("random@8")], recorded, trials=(20,))
    assert found["random@8"][20]["ask_ms"] > 0
    assert found["random@8"][20]["memory_mb"] > 10


def test_the_plot_names_every_method_and_is_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = [run(seed=i, fraction=np.linspace(0.5, 0.9 + i / 100, 200).tolist()) for i in range(3)]
    figures = {name: summarise(runs, [25]) for name in ("gp", "/long/way/mine.py:search")}
    pictures = []
    for number in range(2):
        plot(figures, tmp_path / f"{number}.svg")
        pictures.append((tmp_path / f"{number}.svg").read_text())
    assert pictures[0] == pictures[1]
    assert ">gp (0.00)<" in pictures[0]
    assert ">mine.py:search (0.00)<" in pictures[0]
