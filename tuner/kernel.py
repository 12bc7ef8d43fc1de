"""Kernel files: read with their siblings, hashed, sent as text, and loaded against the simulated
NKI.

A file is never imported as a package and never found through `sys.path`: a bundled kernel and a
user's own file take the same way. While a kernel is loaded or runs, `import nki` means the
simulated one, and `import helper` the file beside the kernel; afterwards `sys.modules` is as it
was.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tuner.nki import lent
from tuner.nki.hashing import hash_code
from tuner.nki.record.loops import EACH, PASSES, marked
from tuner.nki.record.recorder import each, passes
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.files import read_text

__all__ = ["MODULE", "KernelSource", "LoadedKernel", "load_kernel", "read_kernel"]

MAX_FILE_BYTES = 4 << 20
MODULE = "_nki_kernel"
"""A loaded kernel file's name among modules; its siblings' names begin with it."""


@dataclass(frozen=True)
class KernelSource:
    """A kernel as text: what travels to workers.

    Attributes:
        file: Where it was read; for messages and tracebacks.
        entry: The kernel's function.
        modules: (name, file, text) of the kernel file and of each sibling it imports.
    """

    file: str
    entry: str
    modules: tuple[tuple[str, str, str], ...]

    @property
    def kernel_hash(self) -> str:
        """Hash of the code; comments, docstrings and layout do not count."""
        return hash_code(((name, text) for name, _, text in self.modules), self.entry)


def read_kernel(path: Path | str, entry: str, reference: str | None = None) -> KernelSource:
    """Reads a kernel file and the files beside it that it imports.

    Args:
        path: The kernel file.
        entry: The kernel's function.
        reference: Another function that the file must have.

    Raises:
        TunerError: The file cannot be read or parsed, lacks one of the functions, or imports from
            its folder what is no single file.
    """
    path = Path(path)
    modules: dict[str, tuple[str, str, str]] = {}
    _read_module(MODULE, path, path.parent, modules)
    tree = ast.parse(modules[MODULE][2])
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    for name in (entry, reference):
        if name is not None and name not in functions:
            raise unknown(f"function in {path}:", name, functions)
    return KernelSource(str(path), entry, tuple(modules.values()))


def _read_module(
    name: str, path: Path, folder: Path, modules: dict[str, tuple[str, str, str]]
) -> None:
    try:
        text = read_text(path, MAX_FILE_BYTES)
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TunerError(f"{path}: not a Python file ({error})") from None
    modules[name] = (name, str(path), text)
    for imported in _imported(tree):
        sibling = folder / f"{imported}.py"
        if imported.startswith(".") or (folder / imported / "__init__.py").is_file():
            raise TunerError(
                f"{path}: imports {imported!r} from its folder: a kernel imports single files "
                "beside it, as in `import helpers` for helpers.py"
            )
        if imported not in modules and sibling.is_file():
            _read_module(imported, sibling, folder, modules)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield "." * node.level + module if node.level else module.partition(".")[0]


@dataclass
class LoadedKernel:
    """A kernel file loaded against the simulated NKI.

    Attributes:
        function: The kernel; call it inside `lent()` only, it may import while it runs.
    """

    source: KernelSource
    _siblings: dict[str, ModuleType] = field(default_factory=dict)
    _module: ModuleType = field(init=False)

    def __post_init__(self) -> None:
        with self.lent():
            self._module = self._load(MODULE)

    @property
    def function(self) -> Callable[..., Any]:
        """The kernel's function."""
        return self.attribute(self.source.entry)

    def attribute(self, name: str) -> Callable[..., Any]:
        """Returns another function of the file, such as its reference."""
        if not hasattr(self._module, name):
            functions = [n for n, v in vars(self._module).items() if callable(v) and n[0] != "_"]
            raise unknown(f"function in {self.source.file}:", name, functions)
        return getattr(self._module, name)  # type: ignore[no-any-return]

    @contextmanager
    def lent(self) -> Iterator[None]:
        """While it lasts, imports of `nki` and of siblings are this kernel's; one at a time in a
        process.
        """
        modules = {name for name, _, _ in self.source.modules}
        private, names = [f"{MODULE}.{name}" for name in modules], modules - {MODULE}
        with lent({name: partial(self._load, name) for name in names}, private):
            sys.modules.update({module.__name__: module for module in self._siblings.values()})
            yield

    def _load(self, name: str) -> ModuleType:
        """Loads a module of the kernel once, under a private name."""
        if name not in self._siblings:
            spec = importlib.machinery.ModuleSpec(
                f"{MODULE}.{name}", _TextLoader(self.source, name)
            )
            module = importlib.util.module_from_spec(spec)
            self._siblings[name] = module
            vars(module).update({PASSES: passes, EACH: each})
            sys.modules[spec.name] = module  # where dataclasses look for it, until lent() ends
            assert spec.loader is not None
            spec.loader.exec_module(module)
        return self._siblings[name]


def load_kernel(source: KernelSource) -> LoadedKernel:
    """Loads a kernel for the simulator.

    Raises:
        Exception: Whatever the file raises while it is loaded.
    """
    return LoadedKernel(source)


class _TextLoader(importlib.abc.InspectLoader):
    """Loads one module of a kernel from its text."""

    def __init__(self, source: KernelSource, name: str) -> None:
        _, self.file, self.text = next(entry for entry in source.modules if entry[0] == name)
        self.siblings = {
            other: ast.parse(text)
            for other, _, text in source.modules
            if other not in (name, MODULE)
        }

    def get_source(self, fullname: str) -> str:
        return self.text

    def get_code(self, fullname: str) -> CodeType:
        # Tracebacks and inspect.getsource show the kernel's lines also where its file is not.
        linecache.cache[self.file] = (len(self.text), None, self.text.splitlines(True), self.file)
        tree = marked(ast.parse(self.text), self.siblings)
        return compile(tree, self.file, "exec", dont_inherit=True)
