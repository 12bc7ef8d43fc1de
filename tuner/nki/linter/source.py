"""What the linter reads off a kernel's text: names, imports, scopes."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from tuner.nki.linter.rules import CREATION, KERNEL_DECORATORS
from tuner.runtime.errors import TunerError

__all__ = ["Module", "Scope", "is_list", "is_list_type", "is_raw", "keywords", "wrong_buffer"]

_WRONG_BUFFERS = {f"nki.language.{name}" for name in ("sbuf", "psum", "hbm", "private_hbm")}
_RANGES = {"range", "affine_range", "sequential_range", "static_range"}


class Module:
    """A parsed file: its functions, its classes and what its imports mean."""

    def __init__(self, text: str, file: str) -> None:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError) as error:
            raise TunerError(f"{file}: not a Python file ({error})") from None
        self.file = file
        self.functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        self.classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
        self.imports: dict[str, list[tuple[str, ast.stmt]]] = {}
        self.used: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    meant = alias.name if alias.asname else top
                    self.imports.setdefault(alias.asname or top, []).append((meant, node))
                    if meant == "neuronxcc" and alias.name.startswith("neuronxcc.nki"):
                        self.imports["neuronxcc"] = [("neuronxcc", node)]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    meant = f"{node.module}.{alias.name}"
                    self.imports.setdefault(alias.asname or alias.name, []).append((meant, node))

    def dotted(self, node: ast.AST) -> str:
        """Returns what a name or attribute means, `nki.isa.memset`; "" where that is unknown."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.imports:
            return ""
        path = ".".join([self.imports[node.id][0][0], *reversed(parts)])
        return path.removeprefix("neuronxcc.") if path.startswith("neuronxcc.nki") else path

    def decorators(self, function: ast.FunctionDef) -> list[ast.expr]:
        """Returns the decorators that make a function a kernel."""
        return [
            node
            for node in function.decorator_list
            if self.dotted(node.func if isinstance(node, ast.Call) else node) in KERNEL_DECORATORS
        ]

    @property
    def kernels(self) -> list[str]:
        """Names of the kernels, in the order of the file."""
        return [name for name, node in self.functions.items() if self.decorators(node)]


class Scope:
    """The local names of a function; its dictionaries and counters among them."""

    def __init__(self, function: ast.FunctionDef) -> None:
        every = function.args
        listed = [*every.posonlyargs, *every.args, *every.kwonlyargs]
        self.names = {a.arg for a in (*listed, every.vararg, every.kwarg) if a is not None}
        self.dictionaries: set[str] = set()
        self.counters: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.names.add(node.id)
            elif isinstance(node, ast.FunctionDef) and node is not function:
                self.names.add(node.name)
            elif isinstance(node, ast.Assign) and _makes_dictionary(node.value):
                self.dictionaries |= {t.id for t in node.targets if isinstance(t, ast.Name)}
            elif isinstance(node, ast.For) and _called(node.iter) in _RANGES:
                self.counters |= {node.target.id} if isinstance(node.target, ast.Name) else set()

    def no_string(self, node: ast.expr) -> bool:
        """Whether an expression is certainly no string."""
        if isinstance(node, ast.Constant):
            return not isinstance(node.value, str)
        if isinstance(node, ast.Name):
            return node.id in self.counters
        if isinstance(node, ast.BinOp):
            numbers = isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv)
            return numbers or (self.no_string(node.left) and self.no_string(node.right))
        return isinstance(node, ast.Tuple | ast.UnaryOp | ast.Compare)


def is_list(node: ast.expr | None) -> bool:
    """Whether an expression makes a list."""
    return isinstance(node, ast.List | ast.ListComp) or (
        node is not None and _called(node) == "list"
    )


def is_list_type(node: ast.expr | None) -> bool:
    """Whether an annotation says list."""
    if isinstance(node, ast.Subscript):
        node = node.value
    return _last_name(node) in ("list", "List")


def is_raw(node: ast.expr) -> bool:
    """Whether an expression is text or a number as such."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str | int | float)


def keywords(call: ast.Call) -> Mapping[str | None, ast.expr]:
    """Returns a call's keywords; None stands for an unpacked dictionary."""
    return {keyword.arg: keyword.value for keyword in call.keywords}


def wrong_buffer(module: Module, call: ast.Call) -> str:
    """Returns the memory that a call allocates in, where that is certainly not shared_hbm."""
    place = CREATION.get(module.dotted(call.func))
    given = keywords(call)
    if place is None or None in given or any(isinstance(a, ast.Starred) for a in call.args):
        return ""
    buffer = given.get("buffer", call.args[place] if len(call.args) > place else None)
    if buffer is None:
        return "sbuf, the default"
    name = module.dotted(buffer)
    return name.rpartition(".")[2] if name in _WRONG_BUFFERS else ""


def _makes_dictionary(node: ast.expr) -> bool:
    return isinstance(node, ast.Dict | ast.DictComp) or _called(node) == "dict"


def _called(node: ast.expr) -> str:
    return _last_name(node.func) if isinstance(node, ast.Call) else ""


def _last_name(node: ast.expr | None) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
