"""nki-tuner doctor: what works on this machine."""

from __future__ import annotations

import dataclasses
import json
from itertools import groupby
from typing import TYPE_CHECKING

import click

from tuner.cli.common import neuron_pythons, results_option, table
from tuner.runtime.errors import unknown

if TYPE_CHECKING:
    from tuner.job import Diagnosis

FAILED = 1


@click.command(epilog="Example: nki-tuner doctor --nki-python nki/bin/python")
@click.option(
    "--backend",
    default="simulator",
    show_default=True,
    help="simulator or neuron: the exit code is 0 where it can be used, else 1.",
)
@click.option("--ray", is_flag=True, help="Starts Ray too, which takes seconds.")
@neuron_pythons
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(backend: str, as_json: bool, **options: str | bool) -> int:
    """Says what is installed, what is missing, and what works on this machine.

    It runs a small kernel on the simulator, looks at the results folder, limits and ends small
    programs, and asks the interpreters for AWS's packages; it changes nothing.
    """
    from tuner.backends import NEURON
    from tuner.job import diagnose

    if backend not in ("simulator", NEURON):
        raise unknown("backend", backend, ("simulator", NEURON))
    found = diagnose(**options)  # type: ignore[arg-type]
    works = bool(found.timings) if backend == NEURON else found.simulator
    if as_json:
        told = {**dataclasses.asdict(found), "backend": backend, "works": works}
        click.echo(json.dumps(told, indent=1))
    else:
        _print(found)
    return 0 if works else FAILED


def _print(found: Diagnosis) -> None:
    rows = []
    for topic, findings in groupby(found.findings, lambda finding: finding.topic):
        for number, each in enumerate(findings):
            rows.append(["" if number else topic, each.name, each.state, each.told, each.mend])
    table(None, ["", "", "", "found", "to do"], rows)
    works = "works; its times are simulated" if found.simulator else "does not work"
    click.echo(f"backend simulator: {works}")
    ways = ", ".join(found.timings)
    can = f"can time kernels with {ways}; its times are measured" if ways else "cannot be used here"
    click.echo(f"backend neuron: {can} (tested against a fake of AWS's documentation only)")
