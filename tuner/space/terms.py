"""Terms: names for expressions of a search space file, put in wherever they are used.

A memory constraint of forty factors is read better as a sum of what is in memory. Terms exist in
the file only: parameters and constraints know the expressions they stand for.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from tuner.runtime.errors import TunerError

__all__ = ["Terms"]

MAX_TEXT = 20_000


class Terms:
    """The terms of a file; each may use those before it.

    Raises:
        TunerError: A name that cannot be one, or is taken, or an expression that grows too long.
    """

    def __init__(self, texts: Mapping[str, str], taken: set[str]) -> None:
        self._trees: dict[str, ast.expr] = {}
        self._lengths: dict[str, int] = {}
        for name, text in texts.items():
            if not name.isidentifier() or name in taken:
                raise TunerError(f"terms.{name}: {name!r} cannot be the name of a term")
            found = self.put_in(text)
            tree = _parsed(found)
            if tree is None:
                raise TunerError(f"terms.{name}: {text!r} is no expression")
            self._trees[name] = tree
            self._lengths[name] = len(found)

    def put_in(self, text: str) -> str:
        """Returns an expression without terms; a text that is no expression stays as it is."""
        tree = _parsed(text) if len(text) <= MAX_TEXT else None
        if tree is None:
            return text
        used = [name for name in _names(tree) if name in self._trees]
        if not used:
            return text
        if len(text) + sum(self._lengths[name] for name in used) > MAX_TEXT:
            raise TunerError(f"{text!r}: longer than {MAX_TEXT} characters without terms")
        try:
            return ast.unparse(_PutIn(self._trees).visit(tree))
        except RecursionError:
            raise TunerError(f"{text!r}: nested too deeply") from None


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names(tree: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]


class _PutIn(ast.NodeTransformer):
    def __init__(self, trees: Mapping[str, ast.expr]) -> None:
        self.trees = trees

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.trees.get(node.id, node)
