from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.backends.fake_nki import write_nki
from tests.backends.small_kernel import KERNEL, problem
from tuner.backends import Candidate
from tuner.backends.oracle import Oracle, OracleError, check
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError
from tuner.space import Argument

ORACLE = Oracle(deadline_s=60)
CONFIG = Candidate(0, {"columns": 128})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A fake `nki` that child processes find; FAKE_NKI makes it fail."""
    monkeypatch.setenv("PYTHONPATH", str(write_nki(tmp_path / "packages")))
    return monkeypatch


def test_version(fake: pytest.MonkeyPatch) -> None:
    assert ORACLE.version() == "0.6.0"
    assert "nki" not in sys.modules


@pytest.mark.parametrize(
    ("version", "fault", "message"),
    [
        (None, "none", "nki is not installed for "),
        ("0.0.1", "none", "nki 0.0.1 of .*: a placeholder from the public package index; the"),
        ("0.0.1", "stub", "nki 0.0.1 of .*: a placeholder from the public package index; the"),
        ("9.9", "stub", "nki 9.9 of .*: a placeholder from the public package index; the real"),
        ("0.6.0", "import", "nki 0.6.0 of .*: cannot be imported: OSError: libnrt.so is not here"),
        ("0.2.0", "old", "nki 0.2.0 of .*: has no nki.simulate"),
    ],
)
def test_what_is_no_oracle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, fault: str, message: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(write_nki(tmp_path, version)))
    monkeypatch.setenv("FAKE_NKI", fault)
    with pytest.raises(TunerError, match=message) as raised:
        ORACLE.version()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("python", "message"),
    [("/no/such/python", "No such file"), ("/bin/false", "exit code 1"), ("/bin/true", "ended")],
)
def test_what_is_no_interpreter(python: str, message: str) -> None:
    with pytest.raises(TunerError, match=f"nki of {python}: cannot be asked: .*{message}"):
        Oracle(python).version()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3", "float8_e5m2"])
def test_a_right_kernel_agrees(kernel_file: Path, fake: pytest.MonkeyPatch, dtype: str) -> None:
    arguments = (Argument("x", (200, 300), dtype),)
    candidate = Candidate(0, {"columns": 128}, arguments)
    assert check(problem(kernel_file), candidate, ORACLE) is None


def test_an_array_that_lost_its_dtype_has_ours(kernel_file: Path, fake: pytest.MonkeyPatch) -> None:
    fake.setenv("FAKE_NKI", "lost")
    arguments = (Argument("x", (128, 64), "bfloat16"),)
    assert check(problem(kernel_file), Candidate(0, {}, arguments), ORACLE) is None


def test_the_device_is_named(kernel_file: Path, fake: pytest.MonkeyPatch) -> None:
    fake.setenv("EXPECTED", "trn1")
    assert check(problem(kernel_file, device="trn1"), CONFIG, ORACLE) is None
    with pytest.raises(OracleError, match="AssertionError"):
        check(problem(kernel_file, device="trn3"), CONFIG, ORACLE)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("element", r"^output 0\[32, 3\] is "),
        ("dtype", "^output 0 is float32, expected float16: "),
        ("two", "^1 outputs, expected 2: "),
    ],
)
def test_different_results(
    kernel_file: Path, fake: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    fake.setenv("FAKE_NKI", fault)
    mismatch = check(problem(kernel_file), CONFIG, ORACLE)
    assert mismatch is not None
    assert re.search(message, str(mismatch))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", "exit code 1: .*AssertionError: NCC: two lines$"),
        ("dies", "killed by SIGSEGV: about to die"),
        ("exits", "ended without an answer"),
    ],
)
def test_failures_have_their_reason(
    kernel_file: Path, fake: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    fake.setenv("FAKE_NKI", fault)
    with pytest.raises(OracleError, match=message):
        check(problem(kernel_file), CONFIG, ORACLE)


@pytest.mark.slow
def test_one_that_hangs_is_ended_with_its_children(
    kernel_file: Path, fake: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake.setenv("FAKE_NKI", "hangs")
    fake.setenv("TMPDIR", str(tmp_path))
    fake.setattr("tempfile.tempdir", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(OracleError, match="no answer within 3 s: waiting"):
        check(problem(kernel_file), CONFIG, Oracle(deadline_s=3))
    assert time.monotonic() - started < 30
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path / "nki-tuner-") not in listed.stdout
    assert list(tmp_path.glob("nki-tuner-*")) == []


def test_files_beside_the_kernel_and_kernels_without_decorator(
    tmp_path: Path, fake: pytest.MonkeyPatch
) -> None:
    text = KERNEL.replace("@nki.jit\n", "").replace("import os\n", "import os\nimport base\n")
    (tmp_path / "odd-name.py").write_text(
        text.replace("turn % buffers", "base.slot(turn, buffers)")
    )
    (tmp_path / "base.py").write_text("def slot(turn, buffers):\n    return turn % buffers\n")
    kernel = read_kernel(tmp_path / "odd-name.py", "double")
    assert check(problem(tmp_path / "odd-name.py", kernel=kernel), CONFIG, ORACLE) is None
