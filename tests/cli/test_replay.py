from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.backends.recordings import SHIPPED, cache, recording, written
from tests.cli.console import Call
from tests.cli.test_files import times
from tuner.backends.recording import read_recording, write_recording
from tuner.cli.common import settings
from tuner.job import replay

SMALL = str(SHIPPED / "matmul-512x128x512.npz")
RANDOM = ("--sampler", "random")


def test_a_replay_says_what_it_found_and_what_there_was(call: Call) -> None:
    said = call("replay", SMALL, *RANDOM, "--trials", "60", "--seed", "1")
    done = replay(SMALL, sampler="random", trials=60, seed=1)
    best = done.outcome.best
    assert best is not None
    assert best.latency_us is not None
    assert said.code == 0
    assert said.out.startswith("matmul-M=512,K=128,N=512-bfloat16-trn2 on trn2\n")
    fractions = ", ".join(f"{done.fraction_after(n):.3f} after {n}" for n in (25, 50, 60))
    for line in (
        f"recording {SMALL}: 2,160 configs, 0 of them failed",
        f"optimum {done.recording.optimum_us:.1f} us +- 7 % (simulated)",
        "trials 60; failed: none",
        f"best found {best.latency_us:.1f} us +- 7 % (simulated)",
        f"its rank {done.recording.rank(best.latency_us)} of 2,160",
        f"best config {settings(best.config)}",
        f"fraction of optimum {fractions}",
        f"cost when recorded {done.cost_s:.1f} s",
    ):
        assert line in said.flat
    assert re.search(r"asking took [\d.]+ s", said.flat)
    for place, trial in done.improvements:
        fraction = done.recording.optimum_us / (trial.latency_us or 0)
        line = f"{place} {trial.latency_us:.1f} us +- 7 % (simulated) {fraction:.3f} "
        assert line + settings(trial.config) in said.flat
    assert {time.rpartition("(")[2] for time in times(said.out + said.err)} == {"simulated)"}


def test_measured_times_say_so_and_failures_are_counted(call: Call, tmp_path: Path) -> None:
    write_recording(recording(), tmp_path / "x.npz")
    said = call("replay", str(tmp_path / "x.npz"), *RANDOM)
    assert said.out.startswith("double on a device\n")
    assert "14 configs, 2 of them failed" in said.flat
    assert "trials 14; failed: 1 compile, 1 timeout" in said.flat
    assert "fraction of optimum 1.000 after 14" in said.flat
    assert "best found 20.0 us (measured) its rank 1 of 14" in said.flat
    assert {time.rpartition("(")[2] for time in times(said.out + said.err)} == {"measured)"}


def test_kernel_tuners_files_are_replayed(call: Call, tmp_path: Path) -> None:
    said = call("replay", str(written(tmp_path, cache())), *RANDOM)
    assert said.code == 0
    assert said.out.startswith("file on Some GPU\n")
    assert "best found 1,500.0 us (measured)" in said.flat
    assert "best config block=32 tile=1" in said.flat


def test_where_nothing_ran_it_says_so(call: Call, tmp_path: Path) -> None:
    data = cache()
    for entry in data["cache"].values():
        entry["time"] = "RuntimeFailedConfig"
    said = call("replay", str(written(tmp_path, data)), *RANDOM)
    assert said.code == 0
    assert "optimum no config ran" in said.flat
    assert "best found" not in said.flat


def test_costs_that_are_not_known_are_not_zero(call: Call, tmp_path: Path) -> None:
    mine = recording()
    write_recording(recording(cost_s=mine.cost_s * 0), tmp_path / "x.npz")
    assert (
        "cost when recorded not recorded" in call("replay", str(tmp_path / "x.npz"), *RANDOM).flat
    )


def test_the_study_is_kept_where_asked_for(call: Call, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    words = ("replay", SMALL, *RANDOM, "--results", kept)
    assert f"results {kept}/local/nki-tuner.sqlite3, study 1" in call(*words, "--trials", "3").flat
    assert "trials 5; failed: none" in call(*words, "--trials", "5", "--resume").flat
    shown = call("show", kept).flat
    assert "matmul-M=512,K=128,N=512-bfloat16-trn2" in shown
    assert "replay 5 0 " in shown
    best = call("best", kept)
    assert best.code == 0
    assert str(read_recording(SMALL).device) in best.flat


def test_it_stops_by_the_rules_of_a_job(call: Call) -> None:
    said = call("replay", SMALL, *RANDOM, "--patience", "5")
    assert "stopped by no config was more than 0.1 % faster in 5 trials" in said.flat
    assert re.search(r"still to find the next random config .* chance of at most", said.flat)


def test_noise_is_told_from_what_was_recorded(call: Call) -> None:
    said = call("replay", SMALL, *RANDOM, "--trials", "30", "--noise", "0.05")
    assert said.code == 0
    assert re.search(r"best found [\d.]+ us \+- 7 % \(simulated, median of \d+ ", said.flat)
    assert re.search(
        r"without noise [\d.]+ us \+- 7 % \(simulated\) its rank [\d,]+ of 2,160", said.flat
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("no/such.npz",), "error: no/such.npz: No such file or directory"),
        ((SMALL, "--sampler", "best"), "error: unknown sampler 'best'"),
        ((SMALL, "--trials", "0"), "error: trials=0: expected a whole number from 1"),
        ((SMALL, "--resume"), "error: a replay without a results folder leaves nothing to resume"),
        ((os.devnull,), f"error: {os.devnull}: no regular file"),
        ((__file__,), f"error: {__file__}: no recording: neither npz nor JSON"),
    ],
)
def test_bad_input_is_one_line(call: Call, words: tuple[str, ...], message: str) -> None:
    said = call("replay", *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(message)
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "code"), [("x" * 300, 0), ("a/b: \u00e4", 0), ("a\0b", 2), ("a\ud800", 2)]
)
def test_any_name_in_a_file_is_taken_or_refused(
    call: Call, tmp_path: Path, name: str, code: int
) -> None:
    meta = np.array(json.dumps({"values": {"a": [1, 2]}, "name": name}))
    path = tmp_path / "x.npz"
    np.savez(path, X=np.array([[0], [1]]), time_ms=np.array([1.0, 2.0]), meta=meta)
    said = call("replay", str(path), *RANDOM)
    assert said.code == code
    assert code == 0 or said.err.startswith(f"error: {path}: name: ")
