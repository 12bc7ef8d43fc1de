from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.backends.small_kernel import CONFIGS, SHAPE, write_space
from tests.cli.console import COMMAND, Call, Said, console
from tests.cli.test_files import times
from tuner.cli.common import settings
from tuner.database import Store, best_trial


@pytest.fixture
def tune_small(call: Call, space_file: Path, tmp_path: Path) -> Call:
    def run(*more: str) -> Said:
        folder = str(tmp_path / "results")
        words = ("--shape", SHAPE, "--ray", "serial", "--trials", "8", "--results", folder)
        return call("tune", str(space_file), *words, *more)

    return run


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
