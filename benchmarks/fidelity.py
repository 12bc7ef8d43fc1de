"""Simulated against published times: every kernel of benchmarks/measurements, row by row, and the
bars that the simulator is held to.

python -m benchmarks.fidelity [--json] [--only TEXT] [--policy NAME]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

from tuner.backends import Candidate, Problem, evaluate, make_backend
from tuner.cli.common import table
from tuner.kernel import read_kernel
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config
from tuner.space import Argument, parse_argument, parse_params

FOLDER = Path(__file__).resolve().parent / "measurements"
TIE = 0.01
"""Measured times closer than this have no order."""
MATMUL = ("aws_trn1", "aws_trn2", "psum", "nkibench_matmul")


@dataclass(frozen=True)
class Row:
    """One published time; the columns are explained in measurements/README.md."""

    id: str
    ladder: str
    quality: str
    device: str
    sdk: str
    policy: str
    metric: str
    measured_us: float | None
    start_us: float
    kernel: str
    arguments: tuple[Argument, ...]
    configs: tuple[Config, ...]
    scored: bool
    note: str
    source: str


@dataclass(frozen=True)
class Result:
    """A row and what the simulator says; without a prediction the reason."""

    row: Row
    predicted_us: float | None = None
    reason: str = ""

    @property
    def error(self) -> float | None:
        """Relative error, positive where the simulator is too slow."""
        if self.predicted_us is None or self.row.measured_us is None:
            return None
        return self.predicted_us / self.row.measured_us - 1


@dataclass(frozen=True)
class Bar:
    """What is asked of some rows: `value` at most `limit`; None where a prediction is missing."""

    name: str
    kind: str
    value: float | None
    limit: float

    @property
    def met(self) -> bool:
        return self.value is not None and self.value <= self.limit


def read_rows(path: Path = FOLDER / "published.csv") -> list[Row]:
    """Reads the table of published times."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(entry) for entry in csv.DictReader(file)]


def _row(entry: dict[str, str]) -> Row:
    texts: dict[str, Any] = dict(entry)
    configs = _configs(texts.pop("parameters"))
    return Row(
        **texts
        | {
            "measured_us": float(entry["measured_us"]) if entry["measured_us"] else None,
            "start_us": float(entry["start_us"]),
            "arguments": tuple(parse_argument(text) for text in entry["arguments"].split()),
            "configs": configs,
            "scored": entry["scored"] == "yes",
        }
    )


def _configs(text: str) -> tuple[Config, ...]:
    """Reads `tiles_m=2 lhs_position=0|1|2`: one config for each combination."""
    pairs = [pair.partition("=") for pair in text.split()]
    names = [name for name, _, _ in pairs]
    choices = product(*[values.split("|") for _, _, values in pairs])
    return tuple(
        parse_params(tuple(f"{n}={v}" for n, v in zip(names, chosen, strict=True)))
        for chosen in choices
    )


def predict_us(row: Row) -> float:
    """Simulates the row's kernel; the fastest of its configs, plus the row's `start_us`.

    Raises:
        TunerError: None of the configs can be simulated.
    """
    file, _, entry = row.kernel.partition(":")
    kernel = read_kernel(FOLDER / file, entry)
    options = {"policy": row.policy}
    backend = make_backend(Problem(kernel, row.arguments, row.device, options=options))
    measured = [evaluate(backend, Candidate(i, config)) for i, config in enumerate(row.configs)]
    times = [m.latency_us - m.figures["launch_us"] for m in measured if m.latency_us is not None]
    if not times:
        raise TunerError(measured[0].reason)
    return float(min(times)) + row.start_us


def predict(rows: Sequence[Row]) -> list[Result]:
    """Simulates the scored rows, says on stderr where it is; what fails keeps its reason."""
    results = []
    for number, row in enumerate(rows, 1):
        start = time.perf_counter()
        try:
            result = Result(row, predict_us(row))
        except TunerError as error:
            result = Result(row, reason=str(error))
        results.append(result)
        seconds = time.perf_counter() - start
        print(f"{number}/{len(rows)} {row.id} {seconds:.1f} s", file=sys.stderr)
    return results


def errors(results: Iterable[Result]) -> list[float]:
    """Absolute percentage errors of the rows that have a prediction."""
    return [100 * abs(result.error) for result in results if result.error is not None]


def mape(results: Iterable[Result]) -> float | None:
    """Mean absolute percentage error."""
    found = errors(results)
    return sum(found) / len(found) if found else None


def worst(results: Iterable[Result]) -> float | None:
    """Largest absolute percentage error."""
    return max(errors(results), default=None)


def pairs(results: Iterable[Result]) -> list[tuple[Result, Result, int]]:
    """Pairs of rows whose measured order is clear, the faster first: 1 where the prediction has the
    same order, -1 where the opposite, 0 where it has none.
    """
    known = [
        (result.row.measured_us, result.predicted_us, result)
        for result in results
        if result.row.measured_us is not None and result.predicted_us is not None
    ]
    found = []
    for one, other in combinations(known, 2):
        (fast, fast_us, a), (slow, slow_us, b) = sorted((one, other), key=lambda entry: entry[0])
        if slow > fast * (1 + TIE):
            found.append((a, b, (slow_us > fast_us) - (slow_us < fast_us)))
    return found


def kendall_tau(results: Iterable[Result]) -> float | None:
    """Kendall's tau over the pairs with a clear order; None without such a pair."""
    signs = [sign for _, _, sign in pairs(results)]
    return sum(signs) / len(signs) if signs else None


def wrong_pairs(results: Iterable[Result]) -> float:
    """Number of pairs that the prediction does not have in their clear order."""
    return sum(sign != 1 for _, _, sign in pairs(results))


def bars(results: Sequence[Result]) -> list[Bar]:
    """What the simulator is held to, and the goals it is not held to yet, of the rows at hand."""
    ladders = by_ladder(results)
    sure = [r for r in results if r.row.ladder in MATMUL and r.row.quality in ("A", "A-")]
    asked: list[tuple[str, str, list[Result], Callable[[list[Result]], float | None], float]] = [
        ("bar", "matmul rows of quality A and A-: MAPE %", sure, mape, 5),
        ("bar", "matmul rows of quality A and A-: worst row %", sure, worst, 12),
    ]
    for name in MATMUL:
        found = ladders.get(name, [])
        asked.append(("bar", f"{name}: pairs in the wrong order", found, wrong_pairs, 0))
    for kind, name, limit in (
        ("bar", "vector_add_trn2", 8),
        ("goal", "nkibench_elementwise", 30),
        ("goal", "vector_add_trn1", 30),
        ("goal", "scoreboard", 15),
    ):
        asked.append((kind, f"{name}: MAPE %", ladders.get(name, []), mape, limit))
    return [
        Bar(name, kind, score(found) if len(errors(found)) == len(found) else None, limit)
        for kind, name, found, score, limit in asked
        if found
    ]


def by_ladder(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Sorts results by ladder, in the order of the table."""
    ladders: dict[str, list[Result]] = {}
    for result in results:
        ladders.setdefault(result.row.ladder, []).append(result)
    return ladders


def show(results: Sequence[Result], unscored: Sequence[Row]) -> None:
    """Prints rows, ladders, bars and what is not scored."""
    columns = ["row", "device", "policy", "quality", "measured us", "predicted us", "error %"]
    table("Simulated against published times", columns, [_cells(result) for result in results])
    for result in results:
        if result.reason:
            print(f"{result.row.id}: {result.reason}")
    lines = []
    for name, found in by_ladder(results).items():
        count = f"{len(errors(found))} of {len(found)}"
        tau = kendall_tau(found)
        scores = [_number(mape(found)), _number(worst(found)), "-" if tau is None else f"{tau:.2f}"]
        lines.append([name, count, *scores])
    table("Ladders", ["ladder", "rows", "MAPE %", "worst %", "Kendall tau"], lines)
    for a, b, sign in [pair for found in by_ladder(results).values() for pair in pairs(found)]:
        if sign != 1:
            print(f"wrong order: measured, {a.row.id} is faster than {b.row.id}")
    lines = [
        [bar.kind, bar.name, _number(bar.value), f"{bar.limit:g}", "met" if bar.met else "missed"]
        for bar in bars(results)
    ]
    table("Bars", ["kind", "what", "value", "limit", ""], lines)
    lines = [[row.id, _number(row.measured_us), row.note] for row in unscored]
    table("Listed, not scored", ["row", "measured us", "why"], lines)


def _cells(result: Result) -> list[str]:
    row = result.row
    predicted, error = "failed", ""
    if result.predicted_us is not None and result.error is not None:
        predicted, error = _number(result.predicted_us), f"{100 * result.error:+.1f}"
    facts = [row.id, row.device, row.policy, row.quality]
    return [*facts, _number(row.measured_us), predicted, error]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "rows": [
            {
                "id": result.row.id,
                "ladder": result.row.ladder,
                "quality": result.row.quality,
                "device": result.row.device,
                "measured_us": result.row.measured_us,
                "predicted_us": result.predicted_us,
            }
            for result in results
        ],
        "bars": [
            {
                "name": bar.name,
                "kind": bar.kind,
                "value": bar.value,
                "limit": bar.limit,
                "met": bar.met,
            }
            for bar in bars(results)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="", help="only rows whose id or ladder contains this")
    parser.add_argument("--policy", help="one compiler policy for all rows")
    options = parser.parse_args()
    rows = [row for row in read_rows() if options.only in row.id or options.only in row.ladder]
    if options.policy:
        rows = [replace(row, policy=options.policy) for row in rows]
    results = predict([row for row in rows if row.scored])
    if options.json:
        print(json.dumps(as_json(results)))
    else:
        show(results, [row for row in rows if not row.scored])


if __name__ == "__main__":
    main()
