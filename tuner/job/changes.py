"""What changed between two fingerprints, in a person's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["HASHES", "changed", "differences"]

HASHES = {
    "kernel_hash": "kernel",
    "space_hash": "search space",
    "device_hash": "device constants",
    "policy_hash": "compiler policy",
    "model_hash": "simulator",
}
"""Entries of a fingerprint that follow files of ours, and what is in them."""

_WORDS = {**HASHES, "policy": "compiler policy", "model_version": "simulator"}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns the names whose values differ, the old ones first."""
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what differs between fingerprints, either of which may have been stored."""
    names = differences(json.loads(json.dumps(dict(old))), json.loads(json.dumps(dict(new))))
    return tuple(dict.fromkeys(_WORDS.get(name, name) for name in names))
