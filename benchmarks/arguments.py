"""What the benchmarks take on their command lines."""

from __future__ import annotations

import argparse

__all__ = ["positive", "positives"]


def positive(text: str) -> int:
    """Reads a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def positives(text: str) -> tuple[int, ...]:
    """Reads such numbers with commas between them, each once."""
    return tuple(dict.fromkeys(positive(part) for part in text.split(",")))
