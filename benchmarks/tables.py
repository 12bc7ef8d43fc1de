"""The shipped tables as a person reads them: results/README.md between its two markers.

python -m benchmarks.tables [--write]

Everything comes from results/*.json; `--write` puts it into the README, else it is printed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

from benchmarks.readme import README, write
from tuner.cli.common import microseconds
from tuner.runtime import Record, Table, load
from tuner.runtime.rules import Parameter
from tuner.runtime.sizes import dims_of, workload_key

RESULTS = README.parent
NAME = "python -m benchmarks.tables"
MODELS = {
    (2048, 8192): "Llama-3.2-1B",
    (3072, 8192): "Llama-3.2-3B",
    (4096, 14336): "Llama-3.1-8B",
    (2048, 6144): "Qwen3-1.7B",
    (2560, 9728): "Qwen3-4B",
}
"""Models by their hidden and intermediate sizes; results/jobs.toml says where these are from."""
FASTER = 1.01
"""A speed-up below is not counted as one."""


@dataclass(frozen=True)
class Tuned:
    """A record, and the parameters of its kernel."""

    record: Record
    parameters: Sequence[Parameter]

    @property
    def speedup(self) -> float | None:
        """How many times faster the tuned config is; None where the default failed."""
        default_us = self.record.default_latency_us
        return default_us / self.record.latency_us if default_us else None

    @property
    def share(self) -> float | None:
        """Share of what the device could sustain."""
        roofline_us = self.record.roofline_us
        return roofline_us / self.record.latency_us if roofline_us else None

    def differs(self, name: str) -> bool:
        """Whether a parameter has a value, and another than in the default config."""
        config, default = self.record.config, self.record.default_config or {}
        return name in config and config[name] != default.get(name)

    @property
    def changes(self) -> str:
        """The parameters that have another value than in the default config."""
        config = self.record.config
        names = [p.name for p in self.parameters if self.differs(p.name)]
        return ", ".join(f"{name}={config[name]}" for name in names) or "nothing"

    @property
    def layer(self) -> str:
        """The model whose layer it is; empty for other workloads."""
        sizes = list(dims_of(self.record.sizes).values())
        return MODELS.get((sizes[1], sizes[2]), "") if len(sizes) > 2 else ""


def markdown(tables: Iterable[Table]) -> str:
    """Returns the part of the README that is printed from tables."""
    tables = list(tables)
    tuned = [
        Tuned(record, table.kernels[record.kernel].rules.parameters)
        for table in tables
        for record in table.records
    ]
    if not tuned:
        return "There is no table yet.\n"
    devices = list(dict.fromkeys(each.record.device for each in tuned))
    kernels = list(dict.fromkeys(each.record.kernel for each in tuned))
    lines = ["## In short", "", *_summary(tuned, devices, kernels)]
    lines += ["", "## What the search chose", "", _WHAT_IT_CHOSE]
    for kernel in kernels:
        lines += ["", f"### {kernel}", "", *_choices(_of(tuned, kernel=kernel), devices)]
    for device in devices:
        lines += ["", f"## {device}", "", *_notes(tables, device)]
        for kernel in kernels:
            found = _of(tuned, device, kernel)
            if found:
                lines += ["", f"### {kernel} on {device}", "", *_workloads(found)]
    return "\n".join(lines) + "\n"


_WHAT_IT_CHOSE = (
    "For each parameter: in how many workloads the tuned value is not that of the default config, "
    "and the value\nthat is tuned most often. A parameter that changes no time counts like one "
    "that does: where two values are\nequally fast, either may stand here."
)


def _of(
    tuned: Iterable[Tuned], device: str | None = None, kernel: str | None = None
) -> list[Tuned]:
    return [
        each
        for each in tuned
        if device in (None, each.record.device) and kernel in (None, each.record.kernel)
    ]


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _summary(tuned: list[Tuned], devices: list[str], kernels: list[str]) -> list[str]:
    """One row for each device and kernel."""
    rows = []
    for device in devices:
        for kernel in kernels:
            found = _of(tuned, device, kernel)
            if not found:
                continue
            faster = [each.speedup for each in found if each.speedup]
            shares = [each.share for each in found if each.share]
            rows.append(
                [
                    device,
                    kernel,
                    str(len(found)),
                    str(sum(ratio >= FASTER for ratio in faster)),
                    _shown(geometric_mean, faster, "{:.3f}x"),
                    _shown(max, faster, "{:.2f}x"),
                    _shown(median, shares, "{:.1%}"),
                    _shown(max, shares, "{:.1%}"),
                    _kinds(found),
                ]
            )
    columns = ["device", "kernel", "workloads", "1 % faster or more", "speed-up, geometric mean"]
    columns += ["largest speed-up", "share of the sustained roofline, median", "largest share"]
    columns += ["times"]
    return _rows(columns, rows)


def _shown(function: Callable[[list[float]], float], values: list[float], form: str) -> str:
    return form.format(function(values)) if values else "-"


def _kinds(found: Iterable[Tuned]) -> str:
    return " and ".join(sorted({each.record.kind for each in found}))


def _choices(tuned: list[Tuned], devices: list[str]) -> list[str]:
    """One row for each parameter that any workload has another value of than the default's."""
    found = {device: _of(tuned, device) for device in devices}
    shown, kept = [], []
    for parameter in tuned[0].parameters:
        if not any(each.differs(parameter.name) for each in tuned):
            kept.append(parameter.name)
            continue
        cells = [_choice(found[device], parameter) for device in devices]
        shown.append([f"`{parameter.name}`", f"`{parameter.default}`", *cells])
    lines = [*_rows(["parameter", "default", *devices], shown), ""] if shown else []
    never = ", ".join(f"`{name}`" for name in kept)
    return [*lines, f"Never another than the default: {never}."] if kept else lines[:-1]


def _choice(tuned: list[Tuned], parameter: Parameter) -> str:
    """In how many workloads a parameter differs, and the value that most have."""
    counts = Counter(
        each.record.config[parameter.name] for each in tuned if parameter.name in each.record.config
    )
    if not counts:
        return "-"
    most = max(parameter.values, key=lambda value: counts[value])
    differs = sum(each.differs(parameter.name) for each in tuned)
    return f"{differs} of {counts.total()}; `{most}` in {counts[most]}"


def _notes(tables: Iterable[Table], device: str) -> list[str]:
    """How the table was made, and what to know of the device's times."""
    lines = []
    for table in tables:
        if any(record.device == device for record in table.records):
            command = table.command or "one of each record"
            lines.append(f"`{Path(table.path).name}`, made by `{command}`.")
            if note := table.devices[device].get("note"):
                lines += ["", f"Note: {note}."]
    return lines


def _workloads(tuned: list[Tuned]) -> list[str]:
    """One row for each workload."""
    layers = any(each.layer for each in tuned)
    rows = []
    for each in tuned:
        record = each.record
        times = [
            microseconds(time_us, record.kind, record.error_percent)
            for time_us in (record.default_latency_us, record.latency_us)
        ]
        rows.append(
            [
                *([each.layer] if layers else []),
                workload_key(record.sizes),
                *times,
                "-" if each.speedup is None else f"{each.speedup:.3f}x",
                "-" if each.share is None else f"{each.share:.1%}",
                each.changes,
            ]
        )
    columns = ["workload", "default", "tuned", "speed-up", "of the roofline", "what changed"]
    return _rows([*(["layer of"] if layers else []), *columns], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="Writes it into results/README.md.")
    options = parser.parse_args()
    printed = markdown(load(path) for path in sorted(RESULTS.glob("*.json")))
    if options.write:
        write(printed, NAME)
    else:
        print(printed, end="")


if __name__ == "__main__":
    main()
