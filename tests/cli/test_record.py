from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.backends.small_kernel import CONFIGS, SHAPE, write_space
from tests.cli.console import Call
from tests.cli.test_files import times
from tuner.backends.recording import read_recording
from tuner.cli.tune import progress_shown
from tuner.job import Progress


def test_a_recording_is_written_and_described(call: Call, tmp_path: Path, space_file: Path) -> None:
    path = tmp_path / "double.npz"
    said = call("record", str(space_file), "--shape", SHAPE, "-o", str(path))
    mine = read_recording(path)
    assert said.code == 0
    assert said.out.startswith("double-M=256,N=512-float32-trn2\n")
    default_us = mine.time_us[mine.space.default]
    errors = {f"{mine.error_of(row) or 0:.0f}" for row in range(CONFIGS)}
    (error,) = errors
    size = f"{path.stat().st_size / 1000:.0f} kB"
    for line in (
        f"configs {CONFIGS}, 0 of them failed",
        f"default {default_us:.1f} us +- {error} % (simulated)",
        f"optimum {mine.optimum_us:.1f} us +- {error} % (simulated)",
        f"file {path}, {size}",
        f"next nki-tuner replay {path}",
    ):
        assert line in said.flat
    assert re.search(rf"rate \d+ configs/s \({CONFIGS} in [\d.]+ s\)", said.flat)
    assert said.err.splitlines()[-1].startswith(f"recording {CONFIGS}/{CONFIGS} best ")
    assert all(time.endswith("(simulated)") for time in times(said.out + said.err))


def test_where_nothing_runs_it_says_so(call: Call, tmp_path: Path) -> None:
    space = write_space(tmp_path, ("raises", "memory"))
    space.write_text(space.read_text().replace('default = "none"', 'default = "raises"'))
    said = call("record", str(space), "--shape", SHAPE, "-o", str(tmp_path / "x.npz"))
    assert said.code == 0
    assert f"configs {2 * CONFIGS}, {2 * CONFIGS} of them failed" in said.flat
    assert "default failed optimum no config ran" in said.flat


def test_interrupted_it_says_how_to_go_on(
    call: Call, tmp_path: Path, space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.job.recording.COMMIT_S", 0.0)

    def interrupt(_: progress_shown, state: Progress) -> None:
        if not state.stopping:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress_shown, "_show", interrupt)
    words = ("record", str(space_file), "--shape", SHAPE, "-o", str(tmp_path / "x.npz"))
    said = call(*words)
    assert said.code == 130
    assert said.out.startswith("not recorded yet\n")
    kept = re.search(rf"kept (\d+) of {CONFIGS} configs in {tmp_path}/x.npz.partial", said.flat)
    assert kept is not None
    assert "next interrupted: the same command goes on" in said.flat
    monkeypatch.undo()
    again = call(*words)
    assert again.code == 0
    assert f"({CONFIGS - int(kept[1])} in " in again.flat


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("matmull", "--shape", "M=1", "-o", "x.npz"), "error: unknown kernel 'matmull'"),
        (("matmul", "--shape", "M=1", "-o", "x.npz"), "error: matmul needs a size for K, N"),
        (("matmul", "--shape", SHAPE, "-o", "x.csv"), "error: x.csv: expected a file that ends in"),
        (
            ("matmul", "--shape", "M=512,K=128,N=512", "-o", "x.npz", "--limit", "1000"),
            "error: 2,160 configs are more than the limit of 1,000: one process would take about ",
        ),
    ],
)
def test_bad_input_is_one_line(
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("record", *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(message)
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
