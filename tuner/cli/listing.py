"""nki-tuner devices and nki-tuner spaces: what there is."""

from __future__ import annotations

import click

from tuner.cli.common import device_option, table


@click.command(epilog="Example: nki-tuner devices trn2")
@click.argument("name", required=False)
def devices(name: str | None) -> None:
    """Lists devices, or the constants of one."""
    from tuner.neuroncore import TAGS, constants, device, device_names

    if name is None:
        rows = []
        for each in device_names():
            core = device(each)
            rows.append(
                [
                    each,
                    core.core,
                    f"{core.peak_flops_per_ns(2) / 1000:.1f}",
                    f"{core.bytes_per_ns:.0f}",
                    f"{core.sbuf.usable_bytes_per_partition // 1024} KiB x {core.sbuf.partitions}",
                    f"{core.psum.banks} banks",
                ]
            )
        columns = [
            "device",
            "core",
            "TFLOPS bf16 (peak)",
            "HBM GB/s (one core)",
            "SBUF usable",
            "PSUM",
        ]
        table(None, columns, rows)
        return
    note = device(name).note
    rows = [
        [
            c.name,
            str(c.value),
            f"{c.range[0]} .. {c.range[1]}" if c.range else "",
            TAGS[c.tag],
            c.source,
        ]
        for c in constants(name)
    ]
    table(name, ["constant", "value", "range", "how known", "source"], rows)
    if note:
        click.echo(f"note: {note}")


@click.command(epilog="Example: nki-tuner spaces matmul --shape M=1024,K=4096,N=4096 --device trn2")
@click.argument("name", required=False)
@click.option("--shape", help="Sizes and variants: also counts the valid configs.")
@click.option("--dtype", help="Operands' dtype, with --shape.")
@device_option
def spaces(name: str | None, shape: str | None, dtype: str | None, device: str) -> None:
    """Lists search spaces, or the content of one."""
    from tuner.runtime.rules import shown
    from tuner.space import bundled_spaces, find

    if name is None:
        rows = []
        for each in bundled_spaces():
            d = find(each)
            kinds = ", ".join(d.dtypes)
            rows.append([each, ", ".join(d.dims), kinds, str(len(d.rules.parameters)), str(d.path)])
        table(None, ["kernel", "dims", "dtypes", "parameters", "file"], rows)
        return
    definition = find(name)
    prepared = None
    if shape is not None:
        from tuner.job import Job, prepare

        prepared = prepare(Job(name, shape, dtype=dtype, device=device))
    rows = [
        [
            p.name,
            " ".join(str(v) for v in p.values),
            str(p.default),
            shown(p.when.text) if p.when else "",
        ]
        for p in definition.rules.parameters
    ]
    table(f"{name} ({definition.path})", ["parameter", "values", "default", "when"], rows)
    if definition.variants:
        words = [[n, " ".join(v), v[0]] for n, v in definition.variants.items()]
        table(None, ["variant of the workload", "values", "default"], words)
    table(
        None,
        ["constraint", "why"],
        [[shown(c.expr.text), c.why] for c in definition.rules.constraints],
    )
    if prepared is not None:
        space = prepared.space
        click.echo(
            f"{prepared.workload} on {device}: {len(space):,} valid of {space.raw_size:,} configs; "
            f"default row {space.config(space.default)}"
        )
