from __future__ import annotations

import dataclasses
import math
import os
import re
import signal
import subprocess
from pathlib import Path

import click
import pytest

from tests.backends.small_kernel import CONFIGS, SHAPE, write_space
from tests.cli.console import COMMAND, Call, Said, console
from tests.cli.test_files import times
from tests.job.hardware import install_hardware
from tests.job.recordings import record, space_of
from tuner.cli.common import settings
from tuner.cli.tune import tune
from tuner.database import Store, best_trial
from tuner.job import Job, prior
from tuner.search import SAMPLERS


@pytest.fixture
def tune_small(call: Call, space_file: Path, tmp_path: Path) -> Call:
    def run(*more: str) -> Said:
        folder = str(tmp_path / "results")
        words = ("--shape", SHAPE, "--ray", "serial", "--trials", "8", "--results", folder)
        return call("tune", str(space_file), *words, *more)

    return run


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    install_hardware(monkeypatch)


def test_a_job_says_what_it_found(tune_small: Call, tmp_path: Path, space_file: Path) -> None:
    said = tune_small()
    with Store(tmp_path / "results") as store:
        trials = store.trials(1)
        info = store.studies()[0].info
    best, default = best_trial(trials), trials[0]
    assert best is not None
    assert best.latency_us is not None
    assert default.latency_us is not None
    assert said.code == 0
    assert said.out.startswith("double M=256,N=512 float32 on trn2")
    for line in (
        f"search space {space_file}",
        f"kernel file {space_file.with_suffix('.py')}",
        f"trials 8 of {CONFIGS} configs; failed: none",
        f"default config {settings(default.config)}",
        f"default time {default.latency_us:.1f} us +- 32 % (simulated)",
        f"best config {settings(best.config)}",
        f"best time {best.latency_us:.1f} us +- 32 % (simulated)",
        "best verified yes",
        f"speed-up {default.latency_us / best.latency_us:.3f}x (simulated)",
        f"roofline share {info.roofline_us / best.latency_us:.1%} of what the device could do: "
        f"{info.roofline_us:.1f} us (bound)",
        f"results {tmp_path}/results/local/nki-tuner.sqlite3, study 1",
        f"next nki-tuner export {tmp_path}/results -o trn2.json",
    ):
        assert line in said.flat


def test_progress_goes_to_standard_error(tune_small: Call) -> None:
    said = tune_small("--trials", "20")
    lines = said.err.splitlines()
    assert 5 <= len(lines) <= 20
    assert lines[0].startswith("tuning 1/20 best ")
    assert lines[-1].startswith("tuning 20/20 best ")
    assert all(
        re.search(r"best [\d.]+ us \+- 32 % \(simulated\) [\d.]+ trials/s", line) for line in lines
    )


def test_every_time_says_that_it_is_simulated(tune_small: Call) -> None:
    said = tune_small()
    shown = times(said.out + said.err)
    assert len(shown) >= 5
    assert {time.partition(" us ")[2] for time in shown} == {"+- 32 % (simulated)", "(bound)"}
    assert sum(time.endswith("(bound)") for time in shown) == 1


def test_failures_are_counted(tune_small: Call, tmp_path: Path) -> None:
    write_space(tmp_path, ("none", "raises", "skips"))
    said = tune_small("--trials", "100", "--verify", "all")
    failed = f"{CONFIGS} compile, {CONFIGS} correctness"
    assert f"trials {3 * CONFIGS} of {3 * CONFIGS} configs; failed: {failed}" in said.flat
    assert said.err.splitlines()[-1].endswith(f"failed: {failed}")


def test_a_job_in_which_nothing_runs(tune_small: Call, tmp_path: Path) -> None:
    space = write_space(tmp_path, ("raises",))
    space.write_text(space.read_text().replace('default = "none"', 'default = "raises"'))
    said = tune_small("--trials", "3")
    assert said.code == 0
    assert "default time compile: ValueError: two lines (double.py:" in said.flat
    assert "best config - best time - " in said.flat
    assert f"no config ran: nki-tuner show {tmp_path}/results --study 1" in said.flat
    assert "no time yet" in said.err


def test_a_resumed_job_says_what_it_measured_itself(tune_small: Call) -> None:
    tune_small("--trials", "5")
    said = tune_small("--trials", "9", "--resume")
    assert "trials 9 of 21 configs" in said.flat
    assert re.search(r"rate [\d.]+ trials/s \(4 in [\d.]+ s\)", said.flat)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "stopped by all trials were used"),
        ("--trials 21", "stopped by every valid config was tried"),
        ("--max-s 1e-9", "stopped by the time was over (--max-s 1e-09)"),
        ("--target-us 1000", "stopped by a config reaches 1,000.0 us (target)"),
        (
            "--trials 20 --patience 2 --sampler random",
            "stopped by no config was more than 0.1 % faster in 2 trials",
        ),
        ("--trials 21", "still to find no config is untried"),
        (
            "--trials 20 --sampler random",
            "still to find the next random config is faster with a chance of at most 5 %; with "
            "95 % confidence at most 15 % of all configs are",
        ),
    ],
)
def test_a_job_says_what_ended_it_and_what_it_may_have_missed(
    tune_small: Call, words: str, line: str
) -> None:
    said = tune_small(*words.split())
    assert said.code == 0
    assert line in said.flat


def test_exhausting_is_offered_and_the_offer_can_be_taken(tune_small: Call) -> None:
    said = tune_small("--sampler", "random")
    offer = re.search(r"exhausting all 21 configs would take about \d+ s: (.*) results", said.flat)
    assert offer is not None
    taken = tune_small(*offer[1].split())
    assert "every valid config was tried" in taken.flat


def test_a_stop_before_the_last_trial_ends_the_progress_lines(tune_small: Call) -> None:
    lines = tune_small("--trials", "21", "--target-us", "1000").err.splitlines()
    assert [line.split(" best ")[0] for line in lines] == ["tuning 1/21"]
    lines = tune_small("--trials", "20", "--patience", "3", "--sampler", "random").err.splitlines()
    assert len(lines) == len(set(lines))


def test_a_warm_start_is_told(tune_small: Call) -> None:
    tune_small("--shape", "M=512,N=512", "--trials", "21")
    assert "warm start 1 config of a nearby workload (M=512,N=512)" in tune_small().flat
    tune_small("--shape", "M=256,N=256", "--trials", "15")
    told = "warm start 2 configs of nearby workloads (M=256,N=256; M=512,N=512)"
    assert told in tune_small().flat
    assert "warm start" not in tune_small("--no-warm-start").flat


def test_a_prior_is_told(tune_small: Call, tmp_path: Path, space_file: Path) -> None:
    path = tmp_path / "other.npz"
    record(path, space_of(space_file), {0: 5.0, 3: 4.0, 7: math.inf})
    said = tune_small("--prior", str(path))
    told = f"prior {path}: 3 of 21 configs known, 1 of them failing; took "
    assert re.search(re.escape(told) + r"[\d.]+ s ", said.flat)


@pytest.mark.usefixtures("hardware")
def test_while_a_prior_is_simulated_a_line_says_so(tune_small: Call) -> None:
    said = tune_small("--backend", "hardware")
    assert said.err.splitlines()[0] == "prior: simulating 21 configs"
    assert "prior simulator: 21 of 21 configs known; took " in said.flat


@pytest.mark.usefixtures("hardware")
def test_ctrl_c_while_a_prior_is_simulated(
    tune_small: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    monkeypatch.setattr(prior, "_time", interrupted)
    said = tune_small("--backend", "hardware")
    assert (said.code, said.out) == (130, "")
    assert said.err.splitlines()[-1] == "interrupted"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--max-s 0", "max_s=0.0: expected a number above 0"),
        ("--max-s soon", "'soon' is not a valid float"),
        ("--target-us nan", "target_us=nan: expected a number above 0"),
        ("--patience 0", "patience=0: expected a whole number from 1"),
        ("--patience 2.5", "'2.5' is not a valid integer"),
        ("--prior simulator", "the simulator cannot be its own prior"),
        ("--prior simulatr", "unknown prior 'simulatr'; did you mean simulator?"),
        ("--prior {space}", "double.toml: "),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_2(
    tune_small: Call, tmp_path: Path, space_file: Path, words: str, message: str
) -> None:
    said = tune_small(*words.format(space=space_file).split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert not (tmp_path / "results").exists()


def test_the_options_know_the_samplers_and_the_defaults_of_a_job() -> None:
    (sampler,) = [option for option in tune.params if option.name == "sampler"]
    assert isinstance(sampler, click.Option)
    assert all(re.search(rf"\b{name}\b", sampler.help or "") for name in SAMPLERS)
    chosen = tune.make_context("tune", ["matmul", "--shape", "M=1"]).params
    fields = {field.name: field.default for field in dataclasses.fields(Job)}
    assert {**chosen, **fields, "kernel": "matmul", "shape": "M=1"} == chosen


def test_noisy_times_say_of_how_many_samples_they_are_the_median(tune_small: Call) -> None:
    said = tune_small("--noise", "0.03", "--repeats", "9")
    sampled = r"[\d.]+ us \+- 32 % \(simulated, median of {} \+- [\d.]+ %\)"
    assert re.search(f"default time {sampled.format(9)}", said.flat)
    assert re.search(f"best time {sampled.format(r'[0-9]+')}", said.flat)
    before = f"best re-measured yes, in turns with its rivals; before: {sampled.format('[2-9]')}"
    assert re.search(before, said.flat)
    exact = tune_small()
    assert "median" not in exact.out
    assert "re-measured" not in exact.out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--noise", "3"), "noise=3.0: expected a share from 0 to 1, e.g. 0.03"),
        (("--repeats", "0"), "repeats=0: expected a whole number from 1"),
        (("--remeasure", "-2"), "remeasure=-2: expected a whole number from 0"),
    ],
)
def test_wrong_noise_or_repeats_are_one_line(
    tune_small: Call, option: tuple[str, str], message: str
) -> None:
    said = tune_small(*option)
    assert (said.code, said.err) == (2, f"error: {message}\n")


LONG = "tune matmul --shape M=256,K=512,N=1024 --ray serial --trials 60 --sampler random"


def stop_with(stop: signal.Signals, cwd: Path) -> Said:
    """Starts a job of 60 trials and sends it a signal when the first one came back."""
    with subprocess.Popen(
        [str(COMMAND), *LONG.split()],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("tuning 1/60 ")
        running.send_signal(stop)
        out, err = running.communicate(timeout=100)
    return Said(running.returncode, out, err)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_job_keeps_its_trials_and_resume_completes_them(
    tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    stopped = stop_with(stop, tmp_path)
    with Store(tmp_path / "results") as store:
        kept = store.trials(1)
        assert store.studies()[0].finished_at is None
    assert stopped.code == code
    assert 1 <= len(kept) < 60
    if stop == signal.SIGINT:
        assert f"trials {len(kept)} of " in stopped.flat
        assert "interrupted: the same command with --resume goes on" in stopped.flat
        assert "Traceback" not in stopped.err

    done = console(LONG, "--resume", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "best verified yes" in done.flat
    with Store(tmp_path / "results") as store:
        (study,) = store.studies()
        trials = store.trials(1)
    assert len(trials) == 60
    assert [t.config for t in trials[: len(kept)]] == [t.config for t in kept]
    assert study.finished_at is not None
