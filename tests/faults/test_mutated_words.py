"""Command lines that somebody mistyped: a clear line and exit code 2, or success."""

from __future__ import annotations

import gzip
import json
import os
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.backends import recordings
from tests.backends.small_kernel import write_space
from tests.calibration.small_kernels import write_kernels
from tests.faults.calling import called
from tests.faults.guarding import survives
from tests.faults.mutating import TEXTS
from tuner.backends.recording import write_recording

pytestmark = pytest.mark.faults

COUNT = 2000
SHAPE = "--shape M=256,N=512"
SERIAL = "--ray serial --trials 2"
LINES = [
    f"tune double.toml {SHAPE} --dtype float32 --device trn2 --seed 3 --results out {SERIAL}",
    f"tune double.toml {SHAPE} --sampler random --timeout-s 5 --results results {SERIAL}",
    f"batch jobs.toml --results out --export out.json {SERIAL}",
    f"measure double.toml {SHAPE} --param columns=64 --param buffers=2 --cores-busy 2",
    "measure double.py:double --arg x=float32[256,512] --param columns=128 --policy beta1",
    f"verify double.toml {SHAPE} --param columns=128",
    f"trace double.toml {SHAPE} -o out.json.gz",
    "lint double.py",
    "show results --study 1 --kernel double --shape M=256,N=512",
    "best results --device trn2",
    "export results -o out.json --kernel double",
    f"lookup table.json double {SHAPE} --dtype float32 --device trn2 --json",
    "check table.json --strict",
    "replay recording.npz --trials 3 --sampler tpe --seed 1 --noise 0.02",
    "replay t4.json.gz --trials 3",
    "devices trn2",
    "spaces double.toml",
    "--version",
]
JOBS = """
[[jobs]]
kernel = "double.toml"
sizes = { M = [128, 256], N = 512 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with everything that the command lines name."""
    monkeypatch.chdir(tmp_path)
    write_space(tmp_path)
    write_kernels(tmp_path)
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "t4.json.gz").write_bytes(gzip.compress(json.dumps(recordings.t4()).encode()))
    write_recording(recordings.recording(), tmp_path / "recording.npz")
    assert called(*f"tune double.toml {SHAPE} --results results {SERIAL}".split()) == 0
    assert called(*["export", "results", "-o", "table.json"]) == 0
    for line in LINES:  # as they are, they work
        assert called(*line.split()) in (0, 1), line
    return tmp_path


def command_lines() -> st.SearchStrategy[list[str]]:
    """Command lines with one to three words changed; what would take long is kept short."""
    words = [word for line in LINES for word in line.split()]
    change = st.tuples(
        st.sampled_from(["drop", "put", "insert", "append", "cut", "double", "swap"]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from([*TEXTS, *words, "--", "-", "=", "--help", "\udcff", "9" * 30]),
    )
    return st.builds(changed, st.sampled_from(LINES), st.lists(change, min_size=1, max_size=3))


def changed(line: str, changes: list[tuple[str, float, str]]) -> list[str]:
    words = line.split()
    for what, at, text in changes:
        place = int(at * len(words))
        word = words[place] if words else ""
        if what == "insert":
            words.insert(place, text)
        elif words:
            ways = {"put": text, "append": word + text, "cut": word[: len(word) // 2]}
            ways |= {"double": word + word, "swap": word[::-1]}
            words[place : place + 1] = [ways[what]] if what in ways else []
    tuning = words[:1] in (["tune"], ["batch"])
    return [*words, *SERIAL.split()] if tuning else words


def test_command_lines(
    folder: Path, record_faults: Counter[str], amount: Callable[[int], int]
) -> None:
    def call(words: list[str]) -> None:
        before = set(os.listdir(folder.parent))
        code = called(*words)
        assert code in (0, 1, 2), shlex.join(words)
        assert set(os.listdir(folder.parent)) == before

    done = survives(call, command_lines(), amount(COUNT), folder, runs_kernels=True)
    record_faults["words of a command line"] += done
