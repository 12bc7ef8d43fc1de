"""Lends the name `nki` to the simulated one, for a while."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType

__all__ = ["lent"]

_MODULES = ("nki", "nki.collectives", "nki.isa", "nki.language", "nki.typing")
_LOCK = threading.RLock()


@contextmanager
def lent(
    siblings: Mapping[str, Callable[[], ModuleType]] | None = None, private: Iterable[str] = ()
) -> Iterator[None]:
    """While it lasts, `import nki` means the simulated NKI; afterwards `sys.modules` is as it was.

    What imports it meanwhile keeps it. One at a time in a process.

    Args:
        siblings: Other modules to lend, by name; each is made when it is first imported.
        private: Names of modules that go too when it is over.
    """
    finder = _Finder(siblings or {})
    names = {"nki", *(siblings or ()), *private}
    with _LOCK:
        if "nki" in sys.modules:  # the real one, with its submodules
            names.update(name for name in sys.modules if finder.serves(name))
        before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            for name in names | finder.served:
                sys.modules.pop(name, None)
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
        self.served: set[str] = set()

    def serves(self, name: str) -> bool:
        return name in self.siblings or name.partition(".")[0] == "nki"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not self.serves(fullname):
            return None
        self.served.add(fullname)
        if fullname in self.siblings:
            module = self.siblings[fullname]()
        elif fullname in _MODULES:
            module = importlib.import_module(f"tuner.{fullname}")
        else:
            raise ModuleNotFoundError(f"{fullname} is not part of the simulated NKI", name=fullname)
        return importlib.machinery.ModuleSpec(
            fullname, _Ready(module), is_package=fullname == "nki"
        )
