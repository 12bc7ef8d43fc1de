"""nki-tuner lint: Python in a kernel that NKI's compiler would refuse."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from tuner.runtime.errors import TunerError

if TYPE_CHECKING:
    from tuner.kernel import KernelSource

FOUND = 1


@click.command(epilog="Example: nki-tuner lint path/to/file.py:function")
@click.argument("kernel")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lint(kernel: str, as_json: bool) -> int:
    """Finds what NKI's compiler would refuse in a kernel.

    KERNEL is FILE.py (every @nki.jit function of it), FILE.py:FUNCTION, or the kernel of a search
    space: a bundled name or a .toml. The simulator runs a kernel as ordinary Python; nki 0.4 to
    0.6 compile a subset of it. Exit code 1 when there are errors or warnings.
    """
    from tuner.nki.linter import lint as lint_text

    source, entry = _source(kernel)
    (_, file, text), *siblings = source.modules
    findings = lint_text(text, file, entry, siblings)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            click.echo(str(finding))
    return FOUND if any(finding.severity != "note" for finding in findings) else 0


def _source(kernel: str) -> tuple[KernelSource, str | None]:
    """Returns the kernel's text with its siblings', and the function that was named."""
    from tuner.kernel import MAX_FILE_BYTES, read_kernel
    from tuner.nki.linter import kernels
    from tuner.runtime.files import read_text
    from tuner.space import find

    path, colon, entry = kernel.rpartition(":")
    if colon and path.endswith(".py"):
        return read_kernel(path, entry), entry
    if not kernel.endswith(".py"):
        definition = find(kernel)
        return read_kernel(definition.kernel_file, definition.entry), definition.entry
    names = kernels(read_text(kernel, MAX_FILE_BYTES), kernel)
    if not names:
        raise TunerError(f"{kernel}: no @nki.jit function; name one, as in {kernel}:FUNCTION")
    return read_kernel(kernel, names[0]), None
