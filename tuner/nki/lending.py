"""Lends the name `nki` to the simulated one, for a while."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType

__all__ = ["lent"]

_MODULES = ("nki", "nki.collectives", "nki.isa", "nki.language", "nki.typing")
_LOCK = threading.RLock()


@contextmanager
def lent(
    siblings: Mapping[str, Callable[[], ModuleType]] | None = None, private: str = ""
) -> Iterator[None]:
    """While it lasts, `import nki` means the simulated NKI; afterwards `sys.modules` is as it was.

    What imports it meanwhile keeps it. One at a time in a process.

    Args:
        siblings: Other modules to lend, by name; each is made when it is first imported.
        private: Modules whose names begin so go too when it is over.
    """
    finder = _Finder(siblings or {})

    def ours(name: str) -> bool:
        return finder.serves(name) or bool(private and name.startswith(private))

    with _LOCK:
        before = {name: module for name, module in sys.modules.items() if ours(name)}
        for name in before:
            del sys.modules[name]
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            for name in [name for name in sys.modules if ours(name)]:
                del sys.modules[name]
            sys.modules.update(before)


class _Ready(importlib.abc.Loader):
    """Hands out a module that exists already."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.spec = module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system replaced it by the one under the lent name


class _Finder(importlib.abc.MetaPathFinder):
    """Serves `nki`, its submodules, and siblings."""

    def __init__(self, siblings: Mapping[str, Callable[[], ModuleType]]) -> None:
        self.siblings = siblings

    def serves(self, name: str) -> bool:
        return name in self.siblings or name.partition(".")[0] == "nki"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not self.serves(fullname):
            return None
        if fullname in self.siblings:
            module = self.siblings[fullname]()
        elif fullname in _MODULES:
            module = importlib.import_module(f"tuner.{fullname}")
        else:
            raise ModuleNotFoundError(f"{fullname} is not part of the simulated NKI", name=fullname)
        return importlib.machinery.ModuleSpec(
            fullname, _Ready(module), is_package=fullname == "nki"
        )
