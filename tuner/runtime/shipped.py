"""Finds the files that come with the package.

They lie inside `tuner/` in a wheel and beside it in a checkout; nothing else is looked at, so a
folder of the same name in the working directory changes nothing.
"""

from __future__ import annotations

import os

import tuner
from tuner.runtime.errors import unknown

__all__ = ["file_or_shipped", "folder", "names"]


def folder(name: str) -> str:
    """Returns the folder "kernels", "search_spaces" or "results" that comes with the package."""
    package = os.path.dirname(os.path.realpath(tuner.__file__))
    inside = os.path.join(package, name)
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), name)


def names(name: str, suffix: str) -> list[str]:
    """Returns the stems of the files with `suffix` in the bundled folder `name`, sorted."""
    where = folder(name)
    found = os.listdir(where) if os.path.isdir(where) else []
    return sorted(each.removesuffix(suffix) for each in found if each.endswith(suffix))


def file_or_shipped(given: str, what: str, suffix: str) -> str:
    """Returns the path of a file of results: as given, else of the shipped one of that name.

    Args:
        given: A path, or a bare name such as "trn2".
        what: The kind of file, for the message, e.g. "table".
        suffix: Its suffix, e.g. ".json".

    Raises:
        TunerError: It is a bare name, but neither of a file nor of a shipped one.
    """
    bare = not os.path.dirname(given) and not os.path.splitext(given)[1]
    if not bare or os.path.isfile(given):
        return given
    known = names("results", suffix)
    if given not in known:
        if os.path.exists(given):
            return given  # a folder: whoever opens it says so
        raise unknown(f"file or shipped {what}", given, known)
    return os.path.join(folder("results"), given + suffix)
