from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.search_quality import outside, own, running
from benchmarks.search_quality.methods import Method, method, methods
from benchmarks.search_quality.objective import CALLS, BudgetSpent, Grid, Objective
from benchmarks.search_quality.recordings import aligned, others, read, synthetic
from benchmarks.search_quality.running import Task, Trace, run_all
from tuner.backends.recording import Recording, write_recording
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Parameter
from tuner.space import SearchSpace

SMALL = synthetic((4, 5, 3), 50, seed=3)
PLUGIN = """
import helper

def search(space, objective, generator, first=0):
    assert space.X.shape == (space.n, space.d) == (50, 3)
    found = [objective(row) for row in range(first, first + 2)]
    helper.note(found)
    for row in generator.permutation(space.n):
        objective(row)
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gp", Method("gp", "own", "gp")),
        ("gp+prior@8", Method("gp+prior@8", "own", "gp", pending=8, prior="prior")),
        ("gp+useless", Method("gp+useless", "own", "gp", prior="useless")),
        (
            "optuna:TPESampler?multivariate=true&n_startup_trials=5",
            Method(
                "optuna:TPESampler?multivariate=true&n_startup_trials=5",
                "optuna",
                "TPESampler",
                options=(("multivariate", True), ("n_startup_trials", 5)),
            ),
        ),
        (
            f"{__file__}:f?kern=mix",
            Method(f"{__file__}:f?kern=mix", "file", f"{__file__}:f", options=(("kern", "mix"),)),
        ),
    ],
)
def test_a_method_is_read_from_its_name(text: str, expected: Method) -> None:
    assert method(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gp@0", "expected SAMPLER"),
        ("gp+other", "expected SAMPLER"),
        ("gp?x=1", "expected SAMPLER"),
        ("optuna:TPESamplr", "did you mean .*TPESampler"),
        ("missing.py:f", "no such file"),
    ],
)
def test_a_name_of_no_known_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        method(text)


def test_a_method_whose_package_is_missing_is_refused_by_name_and_left_out_of_a_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.search_quality.methods.find_spec", lambda name: None)
    with pytest.raises(TunerError, match="kernel_tuner: not installed"):
        method("kernel_tuner:pso")
    names = [found.name for found in methods("optuna")]
    assert "TPESampler" in names
    assert "GPSampler" not in names


def test_a_slow_method_has_fewer_seeds() -> None:
    found = Method("optuna:GPSampler", "optuna", "GPSampler")
    assert [found.seeds(20), found.seeds(2), method("random").seeds(20)] == [3, 2, 20]


def test_a_grid_finds_every_row_and_no_others() -> None:
    grid = Grid(SMALL.space)
    assert [grid.row(point) for point in grid.X] == list(range(50))
    missing = [p for p in np.ndindex(*grid.card) if list(p) not in SMALL.space.rows.tolist()]
    assert {grid.row(point) for point in missing} == {-1}
    assert len(missing) == 10


def test_a_parameter_without_a_value_has_an_index_of_its_own() -> None:
    parameters = [Parameter("a", (1, 2), 1), Parameter("b", ("x", "y"), "x")]
    grid = Grid(SearchSpace.of_rows(parameters, np.array([[0, -1], [1, 0], [1, 1]])))
    assert grid.X.tolist() == [[0, 0], [1, 1], [1, 2]]
    assert grid.values == [[1, 2], [None, "x", "y"]]
    assert [grid.row(point) for point in ([0, 0], [1, 2], [0, 1])] == [0, 2, -1]


def test_repeats_and_invalid_points_cost_nothing() -> None:
    objective = Objective(np.array([5.0, np.inf, 3.0, 4.0]), budget=3)
    found = [objective(row) for row in (2, 2, -1, 1)]
    assert found == [3.0, 3.0, np.inf, np.inf]
    with pytest.raises(BudgetSpent):
        objective(0)
    assert objective.order == [2, 1, 0]


def test_a_method_that_only_repeats_itself_is_ended() -> None:
    objective = Objective(np.array([5.0, 3.0]), budget=2)
    found = [objective(1) for _ in range(2 * CALLS - 1)]
    assert set(found) == {3.0}
    with pytest.raises(BudgetSpent):
        objective(1)


@pytest.mark.parametrize("pending", [1, 8])
def test_our_samplers_exhaust_a_space_without_a_repeat(pending: int) -> None:
    asked, spent_s = own.run(method(f"random@{pending}"), SMALL, 0, 99, None)
    assert sorted(asked) == list(range(50))
    assert spent_s > 0


class Proposer:
    """Stands in for a search: proposes given rows and notes what it is told."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = iter(rows)
        self.heard: list[Any] = []
        self.asked = count()

    def __call__(self, space: SearchSpace, name: str, seed: int, **extra: Any) -> Proposer:
        self.heard.append(extra)
        return self

    def ask(self) -> tuple[int, Any]:
        number = next(self.asked)
        self.heard.append(f"ask {number}")
        return number, SMALL.space.config(next(self.rows))

    def tell(self, number: int, latency_us: float | None) -> None:
        self.heard.append((number, latency_us))


def test_pending_trials_are_told_in_the_order_of_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = int(np.flatnonzero(~np.isfinite(SMALL.time_us))[0])
    valid = np.flatnonzero(np.isfinite(SMALL.time_us))[:3].tolist()
    search = Proposer([failed, *valid])
    monkeypatch.setattr(own, "Search", search)
    prior = np.ones(50)
    assert own.run(method("gp@2"), SMALL, 0, 4, prior)[0] == [failed, *valid]
    expected = ["ask 0", "ask 1", (0, None), "ask 2", (1, SMALL.time_us[valid[0]]), "ask 3"]
    assert search.heard == [{"default": False, "prior": prior}, *expected]


def test_a_sampler_that_repeats_a_config_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "Search", Proposer([4, 5, 4]))
    with pytest.raises(RuntimeError, match="gp@2 proposed a config of synthetic twice"):
        own.run(method("gp@2"), SMALL, 0, 3, None)


@pytest.mark.parametrize("encoding", ["index", "categorical"])
def test_samplers_of_optuna_are_told_a_slow_time_for_what_is_invalid_or_fails(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    told: list[float] = []
    tell = optuna.Study.tell

    def spy(self: Any, trial: Any, values: float) -> Any:
        told.append(values)
        return tell(self, trial, values)

    monkeypatch.setattr(optuna.Study, "tell", spy)
    rows, _ = outside.run(method(f"optuna:RandomSampler?encoding={encoding}"), SMALL, 1, 45)
    valid = {SMALL.time_us[row] / 1000 for row in rows}
    assert len(rows) == len(set(rows)) == 45
    assert np.isfinite(told).all()
    penalties = [value for value in told if value not in valid]
    assert min(penalties) > np.median(SMALL.time_us[np.isfinite(SMALL.time_us)]) / 1000


def test_a_run_of_a_sampler_of_optuna_depends_on_its_seed_alone() -> None:
    tpe = method("optuna:TPESampler")
    runs = [outside.run(tpe, SMALL, seed, 30)[0] for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "plugged.py").write_text(PLUGIN)
    (tmp_path / "helper.py").write_text("heard = []\nnote = heard.append\n")
    path = list(sys.path)
    yield tmp_path / "plugged.py"
    sys.path[:] = path
    sys.modules.pop("helper", None)


def test_a_function_in_a_file_searches_with_its_options_and_neighbours(plugin: Path) -> None:
    rows, _ = outside.run(method(f"{plugin}:search?first=7"), SMALL, 3, 20)
    assert rows[:2] == [7, 8]
    assert len(set(rows)) == 20
    import helper  # type: ignore[import-not-found]

    assert helper.heard == [[SMALL.time_us[7] / 1000, SMALL.time_us[8] / 1000]]


def test_a_function_that_a_file_lacks_is_refused(plugin: Path) -> None:
    with pytest.raises(TunerError, match="did you mean search"):
        running.check(method(f"{plugin}:serch"), plugin)


@pytest.mark.parametrize("name", ["simulated_annealing", "pso", "random_sample"])
def test_a_strategy_of_kernel_tuner_keeps_to_its_budget(name: str) -> None:
    pytest.importorskip("kernel_tuner")
    runs = [outside.run(method(f"kernel_tuner:{name}"), SMALL, 2, 20)[0] for _ in range(2)]
    assert runs[0] == runs[1]
    assert 10 < len(runs[0]) == len(set(runs[0])) <= 20


def test_the_prior_is_a_recording_of_the_same_kernel_elsewhere(tmp_path: Path) -> None:
    made = {"one": SMALL, "two": synthetic((4, 5, 3), 50, 1), "other": synthetic((4, 5, 2), 30, 1)}
    paths = [tmp_path / f"{name}.npz" for name in made]
    for path, recording in zip(paths, made.values(), strict=True):
        write_recording(recording, path)
    assert others(paths[0], paths) == [paths[1]]
    assert others(paths[2], paths) == []


def test_a_prior_has_the_times_of_the_same_configs_and_inf_for_what_it_lacks() -> None:
    kept = [3, 4, 9]
    other = Recording(
        **{
            **vars(SMALL),
            "space": SearchSpace.of_rows(SMALL.space.parameters, SMALL.space.rows[kept]),
            "time_us": SMALL.time_us[kept],
            "spread_us": SMALL.spread_us[kept],
            "status": tuple(SMALL.status[row] for row in kept),
            "cost_s": SMALL.cost_s[kept],
        }
    )
    expected = np.full(50, np.inf)
    expected[kept] = SMALL.time_us[kept]
    assert aligned(other, SMALL).tolist() == expected.tolist()


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    path = tmp_path / "small.npz"
    write_recording(SMALL, path)
    read.cache_clear()

    def here(tasks: list[Task], jobs: int) -> Iterator[tuple[Task, Trace]]:
        for wanted in tasks:
            yield wanted, running.run(wanted)

    monkeypatch.setattr(running, "_computed", here)
    return Task(method("random"), path, 0, 20)


def test_a_finished_run_is_not_run_again(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_all([task], 1, tmp_path / "traces")
    monkeypatch.setattr(running, "run", None)
    assert run_all([task], 1, tmp_path / "traces") == first


@pytest.mark.parametrize("changed", ["source", "seed", "budget", "method", "recording"])
def test_a_run_is_new_when_anything_it_depends_on_changed(
    changed: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "traces"
    run_all([task], 1, kept)
    if changed == "source":
        monkeypatch.setattr(running, "_digest", lambda path: b"other")
    elif changed == "recording":
        write_recording(synthetic((4, 5, 3), 50, seed=4), task.path)
        read.cache_clear()
    else:
        other: dict[str, Any] = {"seed": 1, "budget": 21, "method": method("random@2")}
        task = replace(task, **{changed: other[changed]})
    run_all([task], 1, kept)
    assert len(list(kept.rglob("*.json"))) == 2


def test_a_useless_prior_is_the_times_in_another_order(task: Task) -> None:
    useless = replace(task, method=method("random+useless"))
    prior = running._prior(useless)
    assert prior is not None
    recorded = read(task.path).time_us
    assert sorted(prior) == sorted(recorded)
    assert prior.tolist() != recorded.tolist()
    assert running._prior(task) is None
