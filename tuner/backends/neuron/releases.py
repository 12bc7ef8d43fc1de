"""Which release of AWS's Neuron SDK a package belongs to; the table is releases.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from tuner.backends.neuron.placeholders import numbers

__all__ = ["mixed", "sdk_of"]


@cache
def _releases() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("releases.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text)["releases"])


def sdk_of(name: str, version: str) -> str | None:
    """Returns the release, e.g. "2.32", that a package belongs to by the first two numbers of its
    version; None for one that is not in the table.

    Args:
        name: "nki", "neuronx-cc", "nrtpy", "runtime-lib" or "neuron-tools".
        version: As installed.
    """
    for release in _releases():
        known = release["versions"].get(name)
        if known is not None and numbers(known)[:2] == numbers(version)[:2]:
            return str(release["sdk"])
    return None


def mixed(versions: dict[str, str]) -> str:
    """Says that packages are of several releases; empty where they are not.

    Args:
        versions: By name; those that the table does not know say nothing.
    """
    known = {name: sdk_of(name, version) for name, version in versions.items()}
    known = {name: sdk for name, sdk in known.items() if sdk is not None}
    if len(set(known.values())) < 2:
        return ""
    told = ", ".join(f"{name} {versions[name]} of SDK {sdk}" for name, sdk in known.items())
    return f"of several releases: {told}"
