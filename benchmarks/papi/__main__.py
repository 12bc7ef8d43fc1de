"""Command line of the comparison with PAPI's published results.

python -m benchmarks.papi [--regret] [--json]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.papi.regret import cases, regrets, summary
from benchmarks.papi.values import Reading, values
from tuner.cli.common import table
from tuner.runtime.errors import TunerError

PUBLISHED = Path(__file__).parent / "published.csv"
READINGS = {
    "reference": Reading(),
    "own lengths": Reading(equal=False),
    "1935 GB/s": Reading(gpu="a100"),
}
"""The first is what the bars are held to; the others say what hangs on the paper's silence."""
WITHIN = {
    **dict.fromkeys(("f2_fc_ai", "f2_attn_ai"), 0.01),
    **dict.fromkeys(("s32_cap282", "s32_cap18", "s32_cap854"), 0.03),
    **dict.fromkeys(("f7a_dram", "f7b_dram"), 0.03),
    "f12_fc": 0.05,
    **dict.fromkeys(("f11_b4s1", "f11_b64s4", "f11_avg"), 0.10),
    **dict.fromkeys(("f8_A100+AttAcc", "f8_A100+HBM-PIM"), 0.15),
}
"""Bars: how far a value may be off, as a share of the published one."""
MISSES = {
    "f4_b1s8_H": "HBM-PIM at 8 rows is ahead of GPUs with 1935 GB/s only",
    "f4_b4s2_H": "HBM-PIM at 8 rows is ahead of GPUs with 1935 GB/s only",
    "f10a_b64_papi": "its Attn-PIM takes 1.7 times as long as AttAcc, and both use the same GPUs",
    "f10a_b128_papi": "its Attn-PIM takes 1.7 times as long as AttAcc, and both use the same GPUs",
    "f8_AttAcc-only": "see docs/papi.md",
    "f9_AttAcc-only": "see docs/papi.md",
    "f8e_AttAcc": "AttAcc reads its weights once a row here",
    "f9e_AttAcc": "AttAcc reads its weights once a row here",
}
"""Known misses, and why."""


@dataclass(frozen=True)
class Row:
    """A published result beside ours.

    Attributes:
        paper: As published, with its relation.
        ours: Under each reading.
        use: What the published value was used for.
        word: "PASS", "missed", "known miss", or empty where there is no bar.
    """

    id: str
    what: str
    relation: str
    paper: float
    unit: str
    ours: dict[str, float | None]
    use: str
    word: str
    note: str


def rows() -> list[Row]:
    """Returns every published result."""
    ours = {name: values(reading) for name, reading in READINGS.items()}
    with PUBLISHED.open(encoding="utf-8") as file:
        return [_row(entry, ours) for entry in csv.DictReader(file)]


def _row(entry: dict[str, str], ours: dict[str, Mapping[str, float]]) -> Row:
    name, paper = entry["id"], float(entry["value"])
    mine = {reading: found.get(name) for reading, found in ours.items()}
    over = entry["denominator"].strip("- ")
    return Row(
        id=name,
        what=f"{entry['figure']}: {entry['numerator']}{f' over {over}' if over else ''}",
        relation=entry["relation"],
        paper=paper,
        unit=entry["unit"].strip("-"),
        ours=mine,
        use=entry["split"],
        word=_word(name, entry["relation"], paper, mine["reference"]),
        note=MISSES.get(name, entry["note"]),
    )


def _word(name: str, relation: str, paper: float, ours: float | None) -> str:
    if ours is None:
        return ""
    if relation in ("<", "<=", ">", ">="):
        met = ours <= paper if relation[0] == "<" else ours >= paper * (1 - 1e-9)
    elif name in WITHIN:
        met = abs(ours / paper - 1) <= WITHIN[name]
    else:
        return "known miss" if name in MISSES else ""
    return "PASS" if met else "known miss" if name in MISSES else "missed"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line; bad input ends with one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papi",
        description="PAPI's published results beside what the decode model gives (simulated).",
    )
    parser.add_argument(
        "--regret", action="store_true", help="how far policies are from the oracle instead"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args(arguments)
    try:
        (_regret if options.regret else _published)(options.json)
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _regret(as_json: bool) -> None:
    every = cases()
    found = {case.name: regrets(case) for case in every}
    told = summary(list(found.values()))
    if as_json:
        print(json.dumps({"cases": found, "summary": told}, indent=1))
        return
    table(
        f"decoding time over the oracle's, {len(every)} cases with speculation (simulated)",
        ["policy", "mean regret", "largest", "time over that of the last"],
        [
            [name, f"{100 * mean:.2f} %", f"{100 * most:.2f} %", f"{ratio:.3f}x"]
            for name, (mean, most, ratio) in told.items()
        ],
    )


def _published(as_json: bool) -> None:
    found = rows()
    if as_json:
        print(json.dumps([asdict(row) for row in found], indent=1))
        return
    table(
        "PAPI (arXiv 2502.15470) and the decode model (simulated)",
        ["id", "what", "paper", *READINGS, "use", "bar"],
        [
            [
                row.id,
                row.what,
                f"{'' if row.relation == '=' else row.relation + ' '}{row.paper:g} {row.unit}",
                *("" if value is None else f"{value:.3g}" for value in row.ours.values()),
                row.use,
                row.word,
            ]
            for row in found
        ],
    )
    for row in found:
        if row.word == "known miss":
            print(f"{row.id}: {row.note}")
    counts = {word: sum(row.word == word for row in found) for word in ("PASS", "missed")}
    print(f"bars: {counts['PASS']} PASS, {counts['missed']} missed")


if __name__ == "__main__":
    main()
