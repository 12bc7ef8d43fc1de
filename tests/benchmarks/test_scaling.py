from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scaling import sleeping
from benchmarks.scaling.__main__ import main
from benchmarks.scaling.figures import Busy, Model, Point, Sleep, busy, fit, slope
from benchmarks.scaling.report import Bar, Found, bars, show
from benchmarks.scaling.runs import Cost, Real, Sleeping, crew

RUN = Sleeping(
    workers=64,
    seconds=1.0,
    sampler="random",
    trials=1200,
    start_s=60.0,
    busy=Busy(steady_s=18.0, share=0.96, whole=0.9, tail_s=1.0, per_s=60.0),
    cost=Cost(1000, 0.004, 0.006),
    seen=64,
    heavy=(),
    worker_mb=80.0,
)


def found(run: Sleeping = RUN, per_s: float = 300.0) -> Found:
    simulated = Real(2, 2000, 5.0, per_s, RUN.cost)
    return Found(
        [run], [run], [simulated], Model(0.02, 0.004, 0.006, 0.005, 2), ["256 workers: many"]
    )


def test_workers_that_sleep_one_after_the_other_are_all_busy() -> None:
    sleeps = [
        Sleep(worker / 10 + turn, worker / 10 + turn + 1)
        for worker in range(4)
        for turn in range(5)
    ]
    told = busy(sleeps, workers=4, seconds=1.0)
    assert told.share == pytest.approx(1.0)
    assert told.steady_s == pytest.approx(4.0)
    assert told.per_s == pytest.approx(4.0)
    assert told.tail_s == pytest.approx(1.0)
    assert told.whole == pytest.approx(20 / (4 * 5.3))


def test_gaps_and_sleeping_too_long_are_losses() -> None:
    gaps = [Sleep(1.25 * turn, 1.25 * turn + 1) for turn in range(9)]
    assert busy(gaps, workers=1, seconds=1.0).share == pytest.approx(0.8)
    long = [Sleep(1.25 * turn, 1.25 * turn + 1.25) for turn in range(9)]
    assert busy(long, workers=1, seconds=1.0).share == pytest.approx(0.8)


def test_a_worker_that_never_came_is_a_loss() -> None:
    sleeps = [Sleep(turn, turn + 1.0) for turn in range(12)]
    assert busy(sleeps, workers=2, seconds=1.0).share == pytest.approx(0.5)


def test_too_few_trials_say_nothing() -> None:
    with pytest.raises(ValueError, match="3 trials: expected at least two for each of 2"):
        busy([Sleep(0, 1)] * 3, workers=2, seconds=1.0)


def test_the_cost_of_a_trial_is_that_around_the_trial_asked_for() -> None:
    marks = [(done, 0.001 * done + 0.000_001 * done**2) for done in range(0, 2001, 10)]
    assert slope(marks, 1000) == pytest.approx(0.003)
    assert slope([(1, 1.0), (64, 2.0), (128, 4.0)], 100) == pytest.approx(2 / 64)


def test_the_model_is_bound_by_workers_then_by_the_driver_then_by_the_cores() -> None:
    saturated = Point(8, 0.0, 150.0, driver_s=0.004, others_s=0.006)
    runs = [
        Point(1, 1.0, 1 / 1.01, 0.010, 0.040),
        Point(8, 1.0, 8 / 1.02, 0.005, 0.010),
        Point(32, 1.0, 32 / 1.03, 0.004, 0.008),
        Point(200, 1.0, 100.0, 0.004, 0.016),
    ]
    model = fit(runs, saturated, cores=2)
    assert model.gap_s == pytest.approx(0.02), "of those that the cores do not hold up"
    assert model.idle == pytest.approx(0.005)
    assert model.per_s(10, 1.0) == pytest.approx(10 / 1.02)
    assert model.per_s(200, 1.0) == model.machine_per_s(200) == pytest.approx(100)
    assert model.machine_per_s(1000) == 0
    assert dataclasses.replace(model, cores=64).per_s(1000, 1.0) == model.driver_per_s == 250
    assert model.workers(1.0) == pytest.approx(255)


def test_bars_say_whether_they_are_reached() -> None:
    assert [bar.word for bar in bars(found())] == ["PASS"] * 4
    slow = dataclasses.replace(
        RUN,
        busy=dataclasses.replace(RUN.busy, share=0.94),
        cost=Cost(1000, 0.006, 0.006),
        heavy=("numpy",),
    )
    assert [bar.word for bar in bars(found(slow, per_s=200))] == ["missed"] * 4
    assert Bar("", "", "", 1.0).word == "PASS"


def test_the_bar_on_the_driver_is_at_its_number_of_trials_only() -> None:
    early = dataclasses.replace(RUN, workers=8, cost=Cost(40, 0.001, 0.001))
    assert len(bars(found(early))) == 2


def test_the_tables_say_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show(found())
    printed = capsys.readouterr().out
    assert "left out: 256 workers: many" in printed
    assert printed.count("PASS") == 4


def test_the_service_needs_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tuner.process.child import load_service\n"
        f"answer = load_service({sleeping.__file__!r})(b'')\n"
        "print(sorted(n for n in ('numpy', 'numba', 'ray', 'optuna', 'tuner.backends') "
        "if n in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--workers", "0"], ["--workers", "2,x"], ["--seconds", "-1"]])
def test_bad_options_end_with_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "is not a" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_two_workers_do_all_trials() -> None:
    with crew(workers=2, seconds=0.01) as there:
        told = there.run(trials=20)
    assert (told.workers, told.trials, told.seen, told.heavy) == (2, 20, 2, ())
    assert 0 < told.busy.share <= 1
    assert told.cost.driver_s > 0
    json.dumps(dataclasses.asdict(told))
