"""Puts what a benchmark prints into results/README.md, between its two markers."""

from __future__ import annotations

from pathlib import Path

__all__ = ["README", "write", "written"]

README = Path(__file__).resolve().parent.parent / "results" / "README.md"


def write(printed: str, name: str) -> None:
    """Puts what benchmark `name` printed into the README of the shipped tables."""
    README.write_text(written(README.read_text(encoding="utf-8"), printed, name), encoding="utf-8")


def written(readme: str, printed: str, name: str) -> str:
    """Returns the README with another part between the markers of a benchmark.

    Raises:
        ValueError: It has no such markers.
    """
    begin, end = f"<!-- printed by {name} -->", f"<!-- end of {name} -->"
    before, found, rest = readme.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"expected the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{printed.rstrip()}\n\n{end}{after}"
