"""What no line of the package may do: read code as if it were data, or run a text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner import bundled

PACKAGE = Path(bundled.__file__).parent
UNSAFE_TO_LOAD = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dbm", "dill", "cloudpickle"}
UNSAFE_TO_LOAD |= {"joblib", "jsonpickle", "yaml"}
OF_A_SHELL = {"system", "popen", "getoutput", "getstatusoutput", "spawnl", "spawnlp", "startfile"}

MAY_PICKLE = {"execution/cluster.py", "execution/serving.py"}
"""The driver's own messages to its own workers; what comes back is no pickle."""
MAY_UNPICKLE = {"execution/serving.py"}
MAY_COMPILE = {"kernel.py"}
"""Kernels are code."""


def modules() -> list[Path]:
    folders = ("kernels", "search_spaces", "results")
    found = [p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] not in folders]
    assert len(found) > 100
    return found


def name_of(node: ast.expr) -> str:
    """`a.b.c` of an expression; a base that is no name is left out."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}".strip(".")
    return node.id if isinstance(node, ast.Name) else ""


def offences(path: Path, text: str) -> Iterator[str]:
    """What a module does and may not, each with its line."""
    inside = path.relative_to(PACKAGE).as_posix()
    for node in ast.walk(ast.parse(text)):
        for told in _offences(node, inside):
            yield f"{inside}:{getattr(node, 'lineno', 0)}: {told}"


def _offences(node: ast.AST, inside: str) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        found = [alias.name for alias in node.names]
        found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in UNSAFE_TO_LOAD & {each.partition(".")[0] for each in found}:
            if name != "pickle" or inside not in MAY_PICKLE or isinstance(node, ast.ImportFrom):
                yield f"imports {name}"
    if isinstance(node, ast.Call):
        yield from _calls(node, name_of(node.func), inside)


def _calls(node: ast.Call, called: str, inside: str) -> Iterator[str]:
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if called in ("eval", "exec", "builtins.eval", "builtins.exec"):
        yield f"{called}()"
    if called in ("compile", "builtins.compile") and inside not in MAY_COMPILE:
        yield "compile()"
    if called in ("pickle.load", "pickle.Unpickler"):
        yield f"{called}: from a file"
    if called == "pickle.loads" and inside not in MAY_UNPICKLE:
        yield "pickle.loads"
    if called.split(".")[0] in ("os", "subprocess") and called.split(".")[-1] in OF_A_SHELL:
        yield f"{called}: a shell"
    if not isinstance(keywords.get("shell", ast.Constant(False)), ast.Constant) or (
        isinstance(shell := keywords.get("shell"), ast.Constant) and shell.value
    ):
        yield "shell=..."
    reads_arrays = called.split(".")[-1] in ("load", "read_array") and called.startswith("np.")
    allowed = keywords.get("allow_pickle")
    refused = isinstance(allowed, ast.Constant) and allowed.value is False
    if (reads_arrays or "allow_pickle" in keywords) and not refused:
        yield f"{called} without allow_pickle=False"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_reads_code_as_data_or_runs_a_text(path: Path) -> None:
    assert list(offences(path, path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal",
        "import shelve as s",
        "from yaml import load",
        "eval('1')",
        "exec(text)",
        "compile(text, 'x', 'exec')",
        "import os; os.system('ls')",
        "os.popen('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=how)",
        "subprocess.getoutput('ls')",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.lib.format.read_array(file)",
        "pickle.loads(data)",
    ],
)
def test_such_a_line_is_found(line: str) -> None:
    assert list(offences(PACKAGE / "database" / "store.py", line))


@pytest.mark.parametrize("line", ["re.compile('x')", "run(words, shell=False)", "import json"])
def test_another_line_is_not(line: str) -> None:
    assert list(offences(PACKAGE / "database" / "store.py", line)) == []
