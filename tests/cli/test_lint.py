from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.backends.small_kernel import write_space
from tests.cli.console import Call

KERNEL = """\
import nki
import helpers


@nki.jit
def kernel(x):
    return helpers.same(x, x)


def undecorated(x):
    for i in {loop}(4):
        pass
"""
HELPERS = "def same(a, b):\n    return a is b\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL.format(loop="range"))
    (tmp_path / "helpers.py").write_text(HELPERS)
    return path


def test_findings_are_lines_and_exit_code_1(call: Call, file: Path) -> None:
    helpers = file.with_name("helpers.py")
    expected = f"{helpers}:2:12: error is-operator: NKI has no `is` (instead: == or !=)\n"
    for kernel in (str(file), f"{file}:kernel"):
        said = call("lint", kernel)
        assert (said.code, said.out, said.err) == (1, expected, "")


def test_json(call: Call, file: Path) -> None:
    said = call("lint", str(file), "--json")
    assert said.code == 1
    (finding,) = json.loads(said.out)
    assert finding == {
        "file": str(file.with_name("helpers.py")),
        "line": 2,
        "column": 12,
        "rule": "is-operator",
        "severity": "error",
        "message": "NKI has no `is`",
        "instead": "== or !=",
    }


def test_nothing_found(call: Call, file: Path) -> None:
    said = call("lint", f"{file}:undecorated")
    assert (said.code, said.out, said.err) == (0, "", "")
    assert call("lint", f"{file}:undecorated", "--json").out == "[]\n"


def test_notes_alone_are_exit_code_0(call: Call, file: Path) -> None:
    text = KERNEL.format(loop="nl.affine_range")
    file.write_text(text.replace("import helpers", "import nki.language as nl"))
    said = call("lint", f"{file}:undecorated")
    assert said.code == 0
    assert "kernel.py:11:14: note deprecated-range: affine_range is deprecated" in said.out


def test_kernels_of_search_spaces(call: Call, tmp_path: Path) -> None:
    assert call("lint", "matmul").code == 0
    space = write_space(tmp_path)
    said = call("lint", str(space))
    assert said.code == 0
    assert f"{space.with_suffix('.py')}:" in said.out
    assert " note raise: " in said.out


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("matmull", "unknown kernel 'matmull'; did you mean matmul"),
        ("missing.py", "missing.py: No such file"),
        ("missing.py:kernel", "missing.py: No such file"),
        ("kernel.py:kernle", "'kernle'; did you mean kernel"),
        ("helpers.py", "helpers.py: no @nki.jit function; name one, as in helpers.py:FUNCTION"),
        ("broken.py", "broken.py: not a Python file"),
        ("binary.py", "binary.py: "),
        (".", "unknown kernel '.'"),
        ("folder.py", "folder.py: Is a directory"),
    ],
)
def test_bad_input(
    call: Call, file: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, message: str
) -> None:
    monkeypatch.chdir(file.parent)
    Path("broken.py").write_text("def f(:\n")
    Path("binary.py").write_bytes(b"\xff\xfe\x00")
    Path("folder.py").mkdir()
    said = call("lint", kernel)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
