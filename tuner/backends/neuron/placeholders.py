"""The placeholders that the public package index has under the names of AWS's packages.

They install without complaint and look installed until they are imported; the real packages are
not on that index. They are known by their version, or by what their import raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["INDEX", "PLACEHOLDER", "numbers", "placeholder"]

INDEX = "https://pip.repos.neuron.amazonaws.com"
"""AWS's own package index."""
PLACEHOLDER = "a placeholder from the public package index"
_ANNOUNCED = "WRONG PACKAGE"

_IS_PLACEHOLDER: dict[str, Callable[[tuple[int, ...]], bool]] = {
    "nki": lambda version: version < (0, 1),
    "neuronx-cc": lambda version: version[:1] == (1,),
    "libneuronxla": lambda version: version == (1, 0),
    "nkipy": lambda version: version < (0, 1),
}
_ORIGIN = {"nkipy": "its sources (github.com/aws-neuron/nkipy)"}


def numbers(version: str) -> tuple[int, ...]:
    """Returns a version's leading numbers: those of "2.27.5334.0+abc" are (2, 27, 5334, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def placeholder(name: str, version: str, error: str = "") -> str:
    """Says that a package is a placeholder, and what to do; empty for any other package.

    Args:
        name: The distribution, e.g. "neuronx-cc".
        version: Its version.
        error: What its import raised, if it did.
    """
    known = name in _IS_PLACEHOLDER and _IS_PLACEHOLDER[name](numbers(version))
    if not known and not error.lstrip().startswith(_ANNOUNCED):
        return ""
    origin = _ORIGIN.get(name, f"AWS's Neuron package index ({INDEX})")
    return (
        f"{PLACEHOLDER}; the real {name} comes only from {origin}: uninstall this one and follow "
        "AWS's set-up guide, or use the backend simulator"
    )
