"""Enumerates search spaces with tuner.space and, if installed, with python-constraint2.

Prints seconds of one core, peak memory above that of the imports, and rows of both, each in a
process of its own; asserts nothing.

python -m benchmarks.enumeration [--spaces matmul ...] [--limit-s 120] [--json]
"""

from __future__ import annotations

import argparse
import ast
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from math import prod
from typing import Any

from tuner.neuroncore import device
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import Constraint, Parameter, Rules, Scope, Value
from tuner.space import SearchSpace, find

NO_VALUE = "(none)"
POWERS: list[Value] = [1, 2, 4, 8, 16, 32, 64, 128]
Problem = tuple[Rules, Scope]


def rules_of(values: Mapping[str, list[Value]], *constraints: str) -> Problem:
    parameters = tuple(Parameter(name, tuple(v), v[0]) for name, v in values.items())
    return Rules(parameters, tuple(Constraint(Expression(text), "") for text in constraints)), {}


def digits(count: int, first: int = 1) -> dict[str, list[Value]]:
    """Parameters a, b, c ... of ten values each."""
    return {name: list(range(first, first + 10)) for name in "abcdefghi"[:count]}


def matmul() -> Problem:
    """The bundled kernel: one large expression over seven parameters, a conditional parameter."""
    definition = find("matmul")
    workload = definition.workload({"M": 1024, "K": 4096, "N": 4096})
    return definition.rules, definition.scope(workload, device("trn2").facts())


def blocked() -> Problem:
    """A blocked kernel: tile sizes that divide each other, thread counts, memory; raw 1e9."""
    tiles = dict.fromkeys(("block_m", "block_n", "block_k"), POWERS)
    threads = dict.fromkeys(("threads_m", "threads_n", "load_m", "load_n"), POWERS)
    rest: dict[str, list[Value]] = {
        "vector": [1, 2, 4, 8],
        "stages": [1, 2, 3, 4],
        "split": [1, 2, 4, 8],
        "padding": [0, 1],
        "unroll": [0, 1],
        "layout": ["row", "column"],
    }
    return rules_of(
        {**tiles, **threads, **rest},
        "block_m % (threads_m * vector) == 0",
        "block_n % (threads_n * vector) == 0",
        "threads_m * threads_n >= 32 and threads_m * threads_n <= 1024",
        "load_m * load_n == threads_m * threads_n",
        "block_m % load_m == 0 and block_k % load_n == 0",
        "stages * block_k * (block_m + block_n + 2 * padding) * 4 <= 49152",
        "block_m * block_n <= 64 * threads_m * threads_n",
        "split == 1 or (block_k >= 32 and layout == 'row')",
    )


SPACES: dict[str, Callable[[], Problem]] = {
    "matmul": matmul,
    "blocked": blocked,
    "loose 1e6": lambda: rules_of(digits(6, 0), "a + b < 17", "c * d < 70"),
    "tight 1e8": lambda: rules_of(
        digits(8), "a * b == c * d", "e + f == g", "a + h <= 6", "b % e == 0", "a + c + e + g < 20"
    ),
    "tight 1e9": lambda: rules_of(
        digits(9), "a * b * c == d * e", "e + f == g + h", "a + i <= 8", "b % e == 0", "d > g + h"
    ),
    "sum 1e9": lambda: rules_of(digits(9), "a + b + c + d + e + f + g + h + i <= 14"),
    "product 1e9": lambda: rules_of(digits(9), "a * b * c * d * e * f * g * h * i <= 64"),
    "late 1e7": lambda: rules_of(digits(7), "(a + b * c + d * e + f * g) % 97 == 11"),
}


def rows_here(rules: Rules, scope: Scope) -> int:
    return len(SearchSpace(rules, scope))


class _Plain(ast.NodeTransformer):
    """An expression as plain Python over the parameters."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self._scope[node.id]) if node.id in self._scope else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return ast.Constant(self._scope[ast.unparse(node)])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        function, arguments = ast.unparse(node.func), [ast.unparse(a) for a in node.args]
        if function not in ("ceil_div", "round_up"):
            return node
        text = "-(-({0}) // ({1}))" + " * ({1})" * (function == "round_up")
        return ast.parse(text.format(*arguments), mode="eval").body


def plain(expr: Expression, scope: Scope) -> str:
    tree = _Plain(scope).visit(ast.parse(expr.text, mode="eval"))
    return ast.unparse(ast.fix_missing_locations(tree))


def rows_there(rules: Rules, scope: Scope) -> int:
    """A parameter with `when` has one more value, for none, and a constraint that says when."""
    problem = import_module("constraint").Problem()
    conditional = {p.name for p in rules.parameters if p.when is not None}
    for parameter in rules.parameters:
        none = [NO_VALUE] * (parameter.name in conditional)
        problem.addVariable(parameter.name, [*parameter.values, *none])
        if parameter.when is not None:
            active = plain(parameter.when, scope)
            problem.addConstraint(f"({active}) == ({parameter.name} != {NO_VALUE!r})")
    for constraint in rules.constraints:
        text = f"({plain(constraint.expr, scope)})"
        for name in sorted(constraint.expr.names & conditional):
            text = f"{name} == {NO_VALUE!r} or {text}"
        problem.addConstraint(text)
    names = [parameter.name for parameter in rules.parameters]
    return len(problem.getSolutionsOrderedList(names))


WAYS = {"tuner": rows_here, "python-constraint2": rows_there}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(space: str, way: str) -> dict[str, Any]:
    """Enumerates a space in this process."""
    rules, scope = SPACES[space]()
    if way != "tuner":
        import_module("constraint")  # not counted
    rows_here(*rules_of({"p": [1, 2]}, "p > 1"))
    before = peak_mb()
    start = time.process_time()
    rows = WAYS[way](rules, scope)
    seconds = time.process_time() - start
    return {"s": seconds, "mb": peak_mb() - before, "rows": rows}


def measure(space: str, way: str, limit_s: float) -> dict[str, Any] | None:
    """Enumerates a space in a process of its own; None where that takes too long."""
    command = [sys.executable, "-m", "benchmarks.enumeration", "--one", space, way]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--limit-s", type=float, default=120.0)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one)))
        return
    ways = [way for way in WAYS if way == "tuner" or find_spec("constraint")]
    figures = {
        space: {way: measure(space, way, options.limit_s) for way in ways}
        for space in options.spaces
    }
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{'space':12s} {'raw':>8s}  {'way':20s} {'s':>9s} {'MB':>8s} {'rows':>10s}")
    for space, by_way in figures.items():
        raw = prod(len(parameter.values) for parameter in SPACES[space]()[0].parameters)
        for way, figure in by_way.items():
            head = f"{space:12s} {raw:8.1e}  {way:20s}"
            if figure is None:
                print(f"{head} > {options.limit_s:.0f} s")
            else:
                print(f"{head} {figure['s']:9.3f} {figure['mb']:8.1f} {figure['rows']:10d}")


if __name__ == "__main__":
    main()
