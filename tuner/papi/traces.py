"""Lengths of requests, as somebody asked them: a shipped trace, or a table of the user's own."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.device_files import is_file
from tuner.papi.files import FOLDER
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.files import read_text

__all__ = ["Batches", "Trace", "trace", "trace_names"]

Ints = npt.NDArray[np.int64]
COLUMNS = ("lin", "lout")
MAX_TOKENS, MAX_ROWS, MAX_FILE_BYTES = 1_000_000, 1_000_000, 64 << 20
CSV = ".csv"


@dataclass(frozen=True)
class Trace:
    """Requests.

    Attributes:
        lin: Tokens of each prompt.
        lout: Tokens of each response.
    """

    name: str
    lin: Ints
    lout: Ints

    def batches(self, size: int, count: int, seed: int = 0, equal: bool = False) -> Batches:
        """Draws batches of requests, the same ones for the same numbers.

        Args:
            size: Requests of a batch.
            count: Batches.
            seed: Says which.
            equal: Whether all requests of a batch have the batch's mean response length.
        """
        rows = np.random.default_rng(seed).integers(0, len(self.lin), (count, size))
        lin, lout = self.lin[rows], self.lout[rows]
        if equal:
            mean = np.maximum(np.rint(lout.mean(axis=1, keepdims=True)), 1)
            lout = np.broadcast_to(mean, lout.shape).astype(np.int64)
        order = np.argsort(lout, axis=1, kind="stable")
        return Batches(*(np.take_along_axis(each, order, axis=1) for each in (lin, lout)))


@dataclass(frozen=True)
class Batches:
    """Batches of requests that begin together; each row is one, by response length.

    Attributes:
        lin: Tokens of each prompt, of shape [batches, requests].
        lout: Tokens of each response, of the same shape, rising.
    """

    lin: Ints
    lout: Ints


def trace_names() -> list[str]:
    """Returns the names of the shipped traces."""
    return sorted(_shipped())


def trace(name: str) -> Trace:
    """Returns a trace: a shipped one by its name, one of the user's by the path of its table.

    A table is a CSV file with the columns `lin` and `lout`; others are not looked at.

    Raises:
        TunerError: There is none, or something in its file is wrong.
    """
    if name.endswith(CSV) or is_file(name):
        lines = read_text(name, MAX_FILE_BYTES)
        rows = [(lin, lout) for _, lin, lout in _rows(lines, f"trace {name}")]
        return _made(name, rows)
    if name not in _shipped():
        raise unknown("trace", name, [*trace_names(), f"a path that ends in {CSV}"])
    return _shipped()[name]


@cache
def _shipped() -> dict[str, Trace]:
    found: dict[str, list[tuple[int, int]]] = {}
    for path in sorted((FOLDER / "traces").glob(f"*{CSV}")):
        for category, lin, lout in _rows(path.read_text(encoding="utf-8"), path.name):
            found.setdefault(category, []).append((lin, lout))
    return {name: _made(name, rows) for name, rows in found.items()}


def _made(name: str, rows: list[tuple[int, int]]) -> Trace:
    lin, lout = np.array(rows, dtype=np.int64).T
    return Trace(name, lin, lout)


def _rows(text: str, label: str) -> list[tuple[str, int, int]]:
    """Reads a table; lines that begin with # are remarks."""
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line and line[0] != "#"]
    if not lines:
        raise TunerError(f"{label}: expected a line with the names of the columns")
    reader = csv.reader(io.StringIO("\n".join(line for _, line in lines)), strict=True)
    try:
        head, *rows = [row for row in reader if row]
    except csv.Error as error:
        raise TunerError(f"{label}: {error}") from None
    for column in COLUMNS:
        if column not in head:
            raise TunerError(f"{label}: lacks the column {column}, has {', '.join(head)[:200]}")
    if not 1 <= len(rows) <= MAX_ROWS:
        raise TunerError(f"{label}: {len(rows):,} requests: expected 1 to {MAX_ROWS:,}")
    places = [head.index(column) for column in COLUMNS]
    category = head.index("category") if "category" in head else None
    found = []
    for (line, _), row in zip(lines[1:], rows, strict=False):
        if len(row) != len(head):
            raise TunerError(f"{label}, line {line}: {len(row)} columns, expected {len(head)}")
        lin, lout = (
            _tokens(row[place], label, line, c) for place, c in zip(places, COLUMNS, strict=True)
        )
        found.append(("" if category is None else row[category], lin, lout))
    return found


def _tokens(text: str, label: str, line: int, column: str) -> int:
    text = text.strip()
    if not text.isdecimal() or len(text) > 12 or not 1 <= int(text) <= MAX_TOKENS:
        raise TunerError(
            f"{label}, line {line}: {column} = {text[:40]!r}: expected 1 to {MAX_TOKENS:,} tokens"
        )
    return int(text)
