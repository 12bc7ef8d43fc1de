"""Kernels given as text, traced in three ways that must agree."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import numpy as np

import tuner.kernel
from tuner.kernel import MODULE, KernelSource, LoadedKernel
from tuner.neuroncore import device
from tuner.neuroncore.program import Program
from tuner.nki.record.tracing import Trace, trace
from tuner.space import Argument

TRN2 = device("trn2")
HEAD = """\
import math
import nki
import nki.isa as nisa
import nki.language as nl
"""


def loaded(text: str, **siblings: str) -> LoadedKernel:
    """A kernel file's function `kernel`, with the files beside it."""
    files = {MODULE: HEAD + textwrap.dedent(text)} | {
        name: textwrap.dedent(sibling) for name, sibling in siblings.items()
    }
    modules = tuple((name, f"{name}.py", content) for name, content in files.items())
    return LoadedKernel(KernelSource("kernel.py", "kernel", modules))


def unmarked(text: str, **siblings: str) -> LoadedKernel:
    """The same, its loops as Python runs them."""
    with patch.object(tuner.kernel, "marked", lambda tree, *_: tree):
        return loaded(text, **siblings)


def run(
    kernel: LoadedKernel,
    symbolic: bool,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    params: Mapping[str, Any] | None = None,
) -> Trace:
    """Traces a kernel on float32 tensors of these shapes."""
    arguments = [Argument(name, shape, "float32") for name, shape in (shapes or {}).items()]
    with kernel.lent():
        return trace(kernel.function, arguments, params or {}, TRN2, symbolic=symbolic)


def described(program: Program, looped: bool = True) -> dict[str, Any]:
    """Everything in a program, comparable with ==."""
    found = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(program).items()
    }
    if not looped:
        found["sites"] = [(site.name, site.place) for site in program.sites]
    return found


def same(text: str, shapes: Any = None, params: Any = None, **siblings: str) -> Trace:
    """Checks that Python's own loops, pass by pass and whole loops give one program."""
    whole = run(loaded(text, **siblings), True, shapes, params)
    each = run(loaded(text, **siblings), False, shapes, params)
    plain = run(unmarked(text, **siblings), False, shapes, params)
    assert described(whole.program) == described(each.program)
    assert described(each.program, looped=False) == described(plain.program, looped=False)
    assert whole.outputs == each.outputs == plain.outputs
    check_counts(whole)
    check_counts(each)
    return whole


def check_counts(found: Trace) -> None:
    """Checks the totals that are known without writing the program out."""
    counts = dict(zip(found.program.works, found.program.counts().tolist(), strict=True))
    assert found.recording.work_counts() == counts
    assert found.recording.total == (
        len(found.program),
        len(found.program.accesses),
        len(found.program.rows),
    )


def is_whole(found: Trace) -> bool:
    """Whether any loop was recorded as a whole."""
    return len(found.recording.stacks) > 1
