"""nki-tuner check: which records of a table are stale."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tuner.job import Checked

STALE = 1


@click.command(epilog="Example: nki-tuner check results/trn2.json")
@click.argument("tables", nargs=-1)
@click.option("--strict", is_flag=True, help="Exit code 1 where a record is stale.")
def check(tables: tuple[str, ...], strict: bool) -> int:
    """Says which records of tables are stale, and why.

    A record is stale where its kernel, search space, device, compiler policy or the simulator has
    changed since it was made. Without TABLES it checks the ones that come with the package.
    """
    from tuner import bundled
    from tuner.job import check as run

    shipped = [str(path) for path in sorted(Path(bundled.folder("results")).glob("*.json"))]
    found = [run(path) for path in tables or shipped]
    if not found:
        click.echo("no tables")
    for each in found:
        _print(each)
    return STALE if strict and any(each.stale for each in found) else 0


def _print(found: Checked) -> None:
    kinds = " and ".join(found.kinds) or "no"
    count = f"{found.records} record{'' if found.records == 1 else 's'}, {kinds} times"
    click.echo(f"{found.path}: {count}: {len(found.stale) or 'none'} stale")
    if not found.stale:
        return
    reasons = Counter((stale.record.kernel, stale.why) for stale in found.stale)
    for (kernel, why), number in reasons.items():
        click.echo(f"  {number} of {kernel}: {why}")
    commands = [found.command] if found.command else [s.record.command for s in found.stale]
    more = f" (and {len(commands) - 1} more such commands)" if len(commands) > 1 else ""
    click.echo(f"  to make anew: {commands[0]}{more}")
