"""Says which packages an interpreter has, or whether one of them can be imported.

A script of its own: that interpreter has neither this package nor, maybe, this version of Python.
Usage: python probe_child.py versions NAME ..., or python probe_child.py import MODULE ATTRIBUTE;
writes answer.json in the folder that it runs in.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from typing import Any


def main(what: str, *names: str) -> None:
    """Writes the answer."""
    answer = versions(names) if what == "versions" else imported(*names)
    with open("answer.json", "w", encoding="utf-8") as file:
        json.dump(answer, file)


def versions(names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the version of each package that is installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": found}


def imported(module: str, attribute: str) -> dict[str, Any]:
    """Imports a module; returns what it raised, else whether it has an attribute."""
    try:
        there = importlib.import_module(module)
    except Exception as error:
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        return {"error": f"{kind}{error}" or type(error).__name__}
    return {"error": "", "has": hasattr(there, attribute)}


if __name__ == "__main__":
    main(*sys.argv[1:])
