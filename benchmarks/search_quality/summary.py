"""Figures of methods over all recordings and seeds, and how two methods differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DECILE_AT", "Run", "Summary", "difference", "summarise"]

DECILE_AT = 100
"""Evaluations after which the worst decile is taken."""


@dataclass(frozen=True)
class Run:
    """One scored run.

    Attributes:
        score: Gain over random search; 1 is the optimum at once.
        fraction: Shape (horizon,): optimum / best after 1, 2, ... evaluations.
        ask_ms: Search time for each evaluation.
        memory_mb: Most memory of its process.
    """

    space: str
    seed: int
    score: float
    fraction: npt.NDArray[np.float64]
    ask_ms: float
    memory_mb: float


@dataclass(frozen=True)
class Summary:
    """Figures of one method.

    Attributes:
        score, stderr: Mean over all runs, and its standard error over them (spaces x seeds).
        fraction: Mean optimum / best at some numbers of evaluations.
        worst_decile: 10th percentile over all runs of the fraction at 100 evaluations; None where
            runs are shorter.
        ask_ms: Mean search time for each evaluation.
        memory_mb: Most memory of a process.
        per_space: Mean score in each space.
        curve: Shape (horizon,): mean fraction after 1, 2, ... evaluations, and its standard error.
    """

    runs: int
    score: float
    stderr: float
    fraction: Mapping[int, float]
    worst_decile: float | None
    ask_ms: float
    memory_mb: float
    per_space: Mapping[str, float]
    curve: npt.NDArray[np.float64]
    curve_stderr: npt.NDArray[np.float64]

    def as_json(self) -> dict[str, Any]:
        """The figures under the names of the JSON report."""
        return {
            "score": self.score,
            "stderr": self.stderr,
            "fraction": {str(mark): value for mark, value in self.fraction.items()},
            f"worst_decile_{DECILE_AT}": self.worst_decile,
            "ask_ms": self.ask_ms,
            "per_space": dict(self.per_space),
            "memory_mb": self.memory_mb,
            "runs": self.runs,
        }


def summarise(runs: Sequence[Run], marks: Sequence[int]) -> Summary:
    """Returns the figures of a method's runs."""
    curves = np.array([run.fraction for run in runs])
    scores = np.array([run.score for run in runs])
    names = dict.fromkeys(run.space for run in runs)
    deep = curves.shape[1] >= DECILE_AT
    return Summary(
        runs=len(runs),
        score=float(scores.mean()),
        stderr=float(_stderr(scores)),
        fraction={mark: float(curves[:, mark - 1].mean()) for mark in marks},
        worst_decile=float(np.quantile(curves[:, DECILE_AT - 1], 0.1)) if deep else None,
        ask_ms=float(np.mean([run.ask_ms for run in runs])),
        memory_mb=max(run.memory_mb for run in runs),
        per_space={n: float(np.mean([r.score for r in runs if r.space == n])) for n in names},
        curve=curves.mean(axis=0),
        curve_stderr=_stderr(curves),
    )


def difference(runs: Sequence[Run], others: Sequence[Run]) -> tuple[float, float, int] | None:
    """Mean difference of the scores in the spaces and with the seeds that both have, its standard
    error, and the number of pairs; None where they have none in common.
    """
    theirs = {(run.space, run.seed): run.score for run in others}
    mine = {(run.space, run.seed): run.score for run in runs}
    pairs = np.array([mine[key] - theirs[key] for key in mine if key in theirs])
    if not len(pairs):
        return None
    return float(pairs.mean()), float(_stderr(pairs)), len(pairs)


def _stderr(values: npt.NDArray[np.float64]) -> Any:
    """Standard error of the mean along the first axis; 0 for a single value."""
    count = len(values)
    if count == 1:
        return np.zeros(values.shape[1:])
    return values.std(axis=0, ddof=1) / np.sqrt(count)
