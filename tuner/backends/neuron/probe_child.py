"""Says which version of a package an interpreter has and whether it can be imported.

A script of its own: that interpreter has neither this package nor, maybe, this version of Python.
Usage: python probe_child.py DISTRIBUTION MODULE ATTRIBUTE; writes answer.json in the folder that
it runs in.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from typing import Any


def main(distribution: str, module: str, attribute: str) -> None:
    """Writes the version first: an import may end the process."""
    try:
        answer: dict[str, Any] = {"version": importlib.metadata.version(distribution)}
    except importlib.metadata.PackageNotFoundError:
        _write({"version": None})
        return
    _write(answer)
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        answer["error"] = f"{kind}{error}" or type(error).__name__
    else:
        answer["has"] = hasattr(imported, attribute)
    _write({**answer, "imported": True})


def _write(answer: dict[str, Any]) -> None:
    with open("answer.json", "w", encoding="utf-8") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
