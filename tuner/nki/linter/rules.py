"""What the linter knows: each rule with its weight, its words and what to write instead.

An error is what NKI's documentation rules out for nki 0.4 to 0.6. A warning is what only the
published source of its front end (leanprover/KLR) refuses, or what some versions take. A note costs
nothing in the versions that are known.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

__all__ = [
    "CREATION",
    "DEPRECATED",
    "ENUMS",
    "KERNEL_DECORATORS",
    "REMOVED",
    "RULES",
    "SYNTAX",
    "Finding",
    "Rule",
]


@dataclass(frozen=True, order=True)
class Finding:
    """Something in a kernel that NKI's compiler would not take.

    Attributes:
        line: From 1.
        column: From 1.
        rule: Its name in `RULES`.
        severity: "error", "warning" or "note".
        instead: What to write.
    """

    file: str
    line: int
    column: int
    rule: str
    severity: str
    message: str
    instead: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.severity} {self.rule}: {self.message} (instead: {self.instead})"


@dataclass(frozen=True)
class Rule:
    """A rule; `message` and `instead` may hold one {} for the name at hand."""

    severity: str
    message: str
    instead: str


RULES = {
    "is-operator": Rule("error", "NKI has no `is`", "== or !="),
    "is-none": Rule("warning", "not every version of NKI takes `is None`", "== None or != None"),
    "star-parameters": Rule(
        "error", "a kernel cannot take *{}", "a parameter, with a default if need be"
    ),
    "keyword-only": Rule(
        "error", "a kernel cannot take keyword-only parameters ({})", "the same without the `*`"
    ),
    "star-call": Rule("warning", "calls cannot unpack arguments", "each argument by itself"),
    "list-argument": Rule("error", "a kernel cannot take a list ({})", "a tuple"),
    "nested-kernel": Rule(
        "error",
        "{} is a kernel of its own (@nki.jit), which another cannot call",
        "a function without the decorator, and nki.jit(function) where it is called from outside",
    ),
    "dict-key": Rule("error", "keys of a dictionary must be strings", "a string key, or a list"),
    "class-base": Rule(
        "error", "class {} is no NKIObject and no Enum", "a class with only nl.NKIObject as base"
    ),
    "set": Rule("error", "NKI has no sets", "a tuple or a list"),
    "generator": Rule("error", "NKI has no generators before 0.7", "a loop over a list"),
    "async": Rule("error", "NKI has no async", "a plain function"),
    "mask": Rule("error", "mask= was removed after Beta 1", "slices that end at min(stop, size)"),
    "removed": Rule("error", "{} was removed", "{}"),
    "neuronxcc": Rule(
        "error", "neuronxcc.nki is refused since nki 0.4", "nki, nki.language, nki.isa"
    ),
    "output-buffer": Rule(
        "error", "{}, but a kernel returns what is in shared_hbm", "buffer=nl.shared_hbm"
    ),
    "enum": Rule("error", "{} is no value for it", "{}"),
    "deprecated-range": Rule("note", "{} is deprecated", "{}"),
    "try": Rule("warning", "NKI has no try", "if and else, and assert for what is fatal"),
    "raise": Rule("note", "not every version of NKI takes `raise`", "assert"),
    "with": Rule("warning", "NKI has no with", "the statements by themselves"),
    "match": Rule("warning", "NKI has no match", "if and elif"),
    "del": Rule("warning", "NKI has no del", "nothing: the compiler frees what is not used"),
    "global": Rule("warning", "NKI cannot assign to outer variables", "a dictionary passed along"),
    "import": Rule("warning", "NKI has no import inside a function", "an import at the file's top"),
    "inner-function": Rule("warning", "{} is defined inside a function", "a function of the file"),
    "inner-class": Rule("warning", "{} is defined inside a function", "a class of the file"),
    "lambda": Rule("warning", "NKI has no lambda", "a function of the file"),
    "walrus": Rule("warning", "NKI has no :=", "an assignment before"),
    "loop-else": Rule("warning", "NKI has no else after a loop", "a flag"),
    "format": Rule("warning", "NKI has no format specifiers", "the bare {name}"),
}

SYNTAX: dict[type[ast.AST], str] = {
    ast.Set: "set",
    ast.SetComp: "set",
    ast.GeneratorExp: "generator",
    ast.Yield: "generator",
    ast.YieldFrom: "generator",
    ast.Await: "async",
    ast.AsyncFor: "async",
    ast.AsyncWith: "async",
    ast.AsyncFunctionDef: "async",
    ast.Try: "try",
    ast.TryStar: "try",
    ast.Raise: "raise",
    ast.With: "with",
    ast.Match: "match",
    ast.Delete: "del",
    ast.Global: "global",
    ast.Nonlocal: "global",
    ast.Import: "import",
    ast.ImportFrom: "import",
    ast.Lambda: "lambda",
    ast.NamedExpr: "walrus",
}
"""Syntax that breaks a rule wherever it stands."""

KERNEL_DECORATORS = {"nki.jit", "nki.benchmark", "nki.baremetal", "nki.profile"}

REMOVED = {
    "nki.language.arange": "slices, nl.ds or .ap()",
    "nki.language.mgrid": "slices, nl.ds or .ap()",
    "nki.language.par_dim": "the partition as dimension 0, or a list of tensors",
    "nki.language.loop_reduce": "accumulation into a tensor made before the loop",
    "nki.benchmark": "nki.jit, timed from outside",
    "nki.baremetal": "nki.jit",
    "nki.profile": "nki.jit, profiled from outside",
    "nki.simulate_kernel": "nki.simulate(kernel)(...)",
}
"""Names that are gone -> what to use."""

DEPRECATED = {
    "nki.language.affine_range": "range",
    "nki.language.sequential_range": "range",
    "nki.language.static_range": "range",
    "nki.language.dynamic_range": "nl.fori_loop, from nki 0.6 on",
}

CREATION = {
    "nki.language.ndarray": 2,
    "nki.language.zeros": 2,
    "nki.language.ones": 2,
    "nki.language.full": 3,
    "nki.language.rand": 2,
}
"""Functions that allocate -> the position of `buffer`, which is sbuf unless given."""

ENUMS = {
    "buffer": "nl.sbuf, nl.psum, nl.private_hbm or nl.shared_hbm",
    "engine": "nisa.engine.vector and the like",
    "dma_engine": "nisa.engine.sync and the like",
    "dge_mode": "nisa.dge_mode.unknown and the like",
    "oob_mode": "nisa.oob_mode.error and the like",
    "perf_mode": "nisa.matmul_perf_mode.none and the like",
    "reduce_cmd": "nisa.reduce_cmd.idle and the like",
}
"""Keywords that take a named value, neither text nor number -> such values."""
