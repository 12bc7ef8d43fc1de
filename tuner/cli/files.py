"""nki-tuner show, best, export, lookup: what lies in a results folder or a table."""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

import click

from tuner.cli.common import error_of, microseconds, named_device, settings, table, time_of


def _filters(command: Any) -> Any:
    for option in (
        click.option("--study", type=int, help="Only this study."),
        click.option("--device", help="Only this device."),
        click.option("--shape", help="Only this workload, e.g. M=1024,K=4096,N=4096."),
        click.option("--kernel", help="Only this kernel."),
        click.argument("results", default="results"),
    ):
        command = option(command)
    return command


@click.command(epilog="Example: nki-tuner show results/ --study 1")
@_filters
def show(
    results: str, kernel: str | None, shape: str | None, device: str | None, study: int | None
) -> None:
    """Lists studies, or the trials of one.

    Looks into RESULTS; with --study lists that study's trials, fastest first.
    """
    from tuner.database import Filter, Store, best_trial, select

    with Store(results) as store:
        found = select(store, Filter(kernel, shape, named_device(device), study))
        if study is not None:
            _show_trials(found[0], store.trials(study))
            return
        rows = []
        for one in found:
            trials = store.trials(one.id)
            best = best_trial(trials)
            rows.append(
                [
                    str(one.id),
                    one.info.kernel,
                    one.info.shape,
                    one.info.dtype,
                    one.info.device,
                    one.info.backend,
                    str(len(trials)),
                    str(sum(t.status != "correct" for t in trials)),
                    _time(best, one.info.kind) if best else "-",
                    time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created_at)),
                    "finished" if one.finished_at else "unfinished",
                ]
            )
    columns = ["study", "kernel", "shape", "dtype", "device", "backend", "trials", "failed", "best"]
    table(None, [*columns, "started", "state"], rows)


def _time(trial: Any, kind: str) -> str:
    if trial.latency_us is not None:
        return time_of(trial.latency_us, kind, trial.figures)
    bound_us = trial.figures.get("bound_us")
    return "-" if bound_us is None else f"over {microseconds(bound_us, 'bound')}"


def _from(trial: Any) -> str:
    driver = trial.figures.get("driver")
    return f", by {driver}" if driver else ""


def _show_trials(study: Any, trials: list[Any]) -> None:
    from tuner.database import REMEASURED

    info = study.info
    ranked = sorted(
        trials,
        key=lambda t: (
            t.latency_us is None,
            REMEASURED not in t.figures,
            t.latency_us or 0.0,
            t.number,
        ),
    )
    rows = [
        [
            str(trial.number),
            trial.status.value + (", verified" if trial.verified else "") + _from(trial),
            _time(trial, info.kind),
            settings(trial.config),
            trial.reason,
        ]
        for trial in ranked
    ]
    click.echo(f"study {study.id}: {info.kernel} {info.shape} {info.dtype} on {info.device}")
    click.echo(f"command: {info.command}")
    click.echo(f"fingerprint: {settings(info.fingerprint)}")
    table(None, ["trial", "status", "time", "config", "reason"], rows)


@click.command(epilog="Example: nki-tuner best results/ --kernel matmul --device trn2")
@_filters
def best(
    results: str, kernel: str | None, shape: str | None, device: str | None, study: int | None
) -> None:
    """Prints the best config of every workload."""
    from tuner.database import Filter, Store, made_noise, records

    with Store(results) as store:
        found = records(store, Filter(kernel, shape, named_device(device), study))
    rows = []
    for one in found:
        info, latency = one.study.info, one.trial.latency_us
        kind = f"{info.kind}, made noise" if made_noise(one.study) else info.kind
        faster = one.default_latency_us / latency if one.default_latency_us and latency else None
        rows.append(
            [
                info.kernel,
                info.shape,
                info.dtype,
                info.device,
                _time(one.trial, kind),
                microseconds(one.default_latency_us, kind, error_of(one.trial.figures)),
                f"{faster:.3f}x" if faster else "-",
                "yes" if one.trial.verified else "no",
                settings(one.trial.config),
            ]
        )
    columns = [
        "kernel",
        "shape",
        "dtype",
        "device",
        "best",
        "default",
        "speed-up",
        "verified",
        "config",
    ]
    table(None, columns, rows)


@click.command(epilog="Example: nki-tuner export results/ -o trn2.json --device trn2")
@_filters
@click.option("-o", "--output", required=True, help="The table to write.")
def export(
    results: str,
    kernel: str | None,
    shape: str | None,
    device: str | None,
    study: int | None,
    output: str,
) -> None:
    """Writes the best configs as a table.

    Takes every workload in RESULTS; `tuner.runtime.load` reads the table.
    """
    from tuner.database import export as write

    done = write(results, output, kernel=kernel, shape=shape, device=device, study=study)
    kinds = ", ".join(sorted({one.study.info.kind for one in done.written}))
    click.echo(f"wrote {len(done.written)} record(s), {kinds} times, to {output}")
    for one in done.left_out:
        told = f"{one.study.info.kernel} {one.study.info.shape} on {one.study.info.device}"
        click.echo(f"left out {told}: kernel or search space changed since study {one.study.id}")
    info = done.written[0].study.info
    click.echo(
        f"next: nki-tuner lookup {shlex.quote(output)} {shlex.quote(info.kernel)} "
        f"--shape {info.shape} --dtype {info.dtype}"
    )


@click.command(epilog="Example: nki-tuner lookup trn2.json matmul --shape M=1024,K=4096,N=4096")
@click.argument("table_file")
@click.argument("kernel")
@click.option("--shape", required=True, help="Sizes and variants, e.g. M=1024,K=4096,N=4096.")
@click.option("--dtype", help="May be left out where the table has only one.")
@click.option("--device", help="May be left out where the table has only one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lookup(
    table_file: str, kernel: str, shape: str, dtype: str | None, device: str | None, as_json: bool
) -> None:
    """Looks a workload's config up in a table.

    TABLE_FILE may be the bare name of a shipped table, e.g. trn2. It answers as a serving process
    would be answered, and says how the config was found.
    """
    from tuner.runtime import load
    from tuner.runtime.errors import unknown
    from tuner.runtime.table import check_sizes
    from tuner.space import parse_sizes

    sizes: dict[str, Any] = dict(parse_sizes(shape))
    loaded = load(table_file)
    if kernel not in loaded.kernels:
        raise unknown("kernel", kernel, loaded.kernels)
    check_sizes(loaded.kernels[kernel], sizes)  # a dim named like an option would be taken for it
    answer = loaded.lookup(kernel, dtype=dtype, device=named_device(device), **sizes)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "config": answer.config,
                    "match": answer.match,
                    "why": answer.why,
                    "kind": answer.kind,
                }
            )
        )
        return
    click.echo(f"match:  {answer.match}")
    click.echo(f"why:    {answer.why}")
    click.echo(f"config: {settings(answer.config)}")
    if answer.record is not None:
        record = answer.record
        told = microseconds(record.latency_us, record.kind, record.error_percent)
        click.echo(f"time:   {told} on {settings(answer.record.sizes)}")
