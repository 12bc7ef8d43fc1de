"""Finds Python in a kernel that the simulator runs and NKI's compiler refuses.

The simulator runs a kernel as ordinary Python; NKI compiles a subset of it. The linter reads the
text only: it runs nothing, and looks at what a kernel reaches, not at its numpy reference. It holds
for nki 0.4 to 0.6; from 0.7 on NKI traces kernels with Python itself and takes most of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuner.nki.linter.checks import Run
from tuner.nki.linter.rules import RULES, Finding
from tuner.nki.linter.source import Module
from tuner.runtime.errors import TunerError, unknown

__all__ = ["RULES", "Finding", "kernels", "lint"]


def kernels(source_text: str, file: str) -> list[str]:
    """Returns the names of a file's `@nki.jit` functions, in their order.

    Raises:
        TunerError: The text is no Python.
    """
    return Module(source_text, file).kernels


def lint(
    source_text: str,
    file: str,
    entry: str | None = None,
    siblings: Sequence[tuple[str, str, str]] = (),
) -> list[Finding]:
    """Checks the kernels of a file and every function and class that they reach.

    Args:
        source_text: The file's text.
        file: Its name, for the findings.
        entry: The one kernel to check; None means every `@nki.jit` function.
        siblings: (name, file, text) of modules that the file imports from its folder.

    Returns:
        The findings by file, line and column.

    Raises:
        TunerError: A text is no Python, or the file has no kernel, or none of that name.
    """
    module = Module(source_text, file)
    modules = {name: Module(text, path) for name, path, text in siblings}
    if entry is not None and entry not in module.functions:
        raise unknown(f"function in {file}:", entry, module.functions)
    if entry is None and not module.kernels:
        raise TunerError(f"{file}: no @nki.jit function; name one, as in {file}:FUNCTION")
    run = Run(modules)
    for name in module.kernels if entry is None else [entry]:
        run.reach(module, name, root=True)
    run.finish()
    return sorted(set(run.findings))
