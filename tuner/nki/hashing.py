"""Hashes of Python code: of kernels, and of the simulator itself."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["hash_code", "model_hash"]

_PACKAGE = Path(__file__).resolve().parent.parent
_MODEL = ("neuroncore", "nki")
_NO_MODEL = "nki/linter/"


def hash_code(modules: Iterable[tuple[str, str]], name: str = "") -> str:
    """Returns a hash of modules, given as name and text; comments, docstrings and layout do not
    count.
    """
    digest = hashlib.sha256(name.encode())
    for module, text in sorted(modules):
        digest.update(f"\0{module}\0{_canonical(_bare(ast.parse(text)))}".encode())
    return digest.hexdigest()[:16]


@cache
def model_hash() -> str:
    """Returns a hash of the simulator's code: what its times depend on besides device and policy.

    The linter is left out, it times nothing. A checkout and a wheel have the same one.
    """
    files = [path for folder in _MODEL for path in (_PACKAGE / folder).rglob("*.py")]
    named = {path.relative_to(_PACKAGE).as_posix(): path for path in files}
    return hash_code(
        (name, path.read_text(encoding="utf-8"))
        for name, path in named.items()
        if not name.startswith(_NO_MODEL)
    )


def _bare(tree: ast.Module) -> ast.Module:
    """Removes docstrings, those of constants and attributes too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            code = [line for line in node.body if not _is_text(line)]
            node.body = code or [ast.Pass()]
    return tree


def _is_text(line: ast.stmt) -> bool:
    value = line.value if isinstance(line, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _canonical(node: Any) -> str:
    """Writes a syntax tree down, the same in every version of Python: `ast.dump` is not."""
    if isinstance(node, list):
        return f"[{', '.join(_canonical(item) for item in node)}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({', '.join(f'{n}={_canonical(v)}' for n, v in fields)})"
