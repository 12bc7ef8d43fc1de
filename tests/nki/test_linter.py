from __future__ import annotations

from pathlib import Path

import pytest

from tuner import bundled
from tuner.nki.linter import RULES, Finding, kernels, lint
from tuner.runtime.errors import TunerError

HEAD = """\
import nki
import nki.isa as nisa
import nki.language as nl
import numpy as np
from dataclasses import dataclass
from enum import Enum

"""


def found(text: str, entry: str | None = None) -> list[tuple[str, str]]:
    """(rule, the line that breaks it) of every finding."""
    lines = (HEAD + text).splitlines()
    return [(f.rule, lines[f.line - 1].strip()) for f in lint(HEAD + text, "k.py", entry)]


def in_kernel(body: str) -> list[str]:
    """Rules that the body of a kernel breaks."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return [rule for rule, _ in found(f"@nki.jit\ndef kernel(x, y=1):\n{lines}")]


BROKEN = [
    ("if x is y:\n    pass", "is-operator"),
    ("a = x is not y", "is-operator"),
    ("a = y is None", "is-none"),
    ("a = {1: 2}", "dict-key"),
    ("a = {'b': 2, ('c', 1): 3}", "dict-key"),
    ("a = {}\nfor i in range(4):\n    a[i] = x", "dict-key"),
    ("a = dict()\na[y + 1, 2] = x", "dict-key"),
    ("a = {i // 2: x for i in range(4)}", "dict-key"),
    ("a = {1, 2}", "set"),
    ("a = set(y)", "set"),
    ("a = frozenset()", "set"),
    ("a = sum(i for i in range(3))", "generator"),
    ("yield x", "generator"),
    ("try:\n    pass\nexcept ValueError:\n    pass", "try"),
    ("raise ValueError", "raise"),
    ("with x:\n    pass", "with"),
    ("match y:\n    case 1:\n        pass", "match"),
    ("del y", "del"),
    ("global z", "global"),
    ("import math", "import"),
    ("from math import sqrt", "import"),
    ("def inner():\n    pass", "inner-function"),
    ("class Inner:\n    pass", "inner-class"),
    ("async def inner():\n    pass", "async"),
    ("f = lambda i: i", "lambda"),
    ("a = (b := 1)", "walrus"),
    ("for i in range(3):\n    pass\nelse:\n    pass", "loop-else"),
    ("print(f'{y:4d}')", "format"),
    ("print(*x)", "star-call"),
    ("print(**x)", "star-call"),
    ("a = nl.load(x, mask=y)", "mask"),
    ("a = nl.arange(128)[:, None]", "removed"),
    ("a = nl.mgrid[0:128, 0:512]", "removed"),
    ("a = nl.ndarray((2, nl.par_dim(128), 8), dtype=x.dtype)", "removed"),
    ("nisa.nc_matmul(x, x, x, psumAccumulateFlag=0)", "removed"),
    ("a = nl.ndarray((128, 8), dtype=x.dtype, buffer='sbuf')", "enum"),
    ("a = nl.zeros((128, 8), x.dtype, 'psum')", "enum"),
    ("nisa.memset(x, 0, engine=2)", "enum"),
    ("nisa.dma_copy(x, x, dge_mode='swdge')", "enum"),
    ("for i in nl.affine_range(4):\n    pass", "deprecated-range"),
    ("for i in nl.sequential_range(4):\n    pass", "deprecated-range"),
]


@pytest.mark.parametrize(("body", "rule"), BROKEN, ids=[body for body, _ in BROKEN])
def test_each_rule_finds_what_breaks_it(body: str, rule: str) -> None:
    assert in_kernel(body) == [rule]


FINE = [
    "a = y == None",
    "a = [nl.ndarray((128, 8), dtype=x.dtype, buffer=nl.sbuf) for i in range(4)]",
    "a = {'b': 1}\na['c'] = 2\na[y] = 3\na[f'{y}'] = 4\na['c' * 2] = 5\na['%d' % 3] = 6",
    "a = [1]\na[0] = 2\nx[0] = 3",
    "assert y in (1, 2), f'y is {y}'",
    "while y < 3:\n    y += 1",
    "nisa.memset(x, 0, engine=nisa.engine.vector)",
    "helper(x, mask=y)",
    "set_up = np.add\nset_up(x)",
    "if y > 1 and not x:\n    return y if x else 2",
]


@pytest.mark.parametrize("body", FINE)
def test_what_nki_takes_is_not_found(body: str) -> None:
    assert in_kernel(body) == []


SIGNATURES = [
    ("x, *more", "star-parameters"),
    ("x, **more", "star-parameters"),
    ("x, *, tiles=1", "keyword-only"),
    ("x, tiles=[1, 2]", "list-argument"),
    ("x, tiles: list[int] = None", "list-argument"),
    ("x, tiles=list()", "list-argument"),
]


@pytest.mark.parametrize(("parameters", "rule"), SIGNATURES)
def test_signatures_of_kernels_but_not_of_what_they_call(parameters: str, rule: str) -> None:
    kernel = f"@nki.jit\ndef kernel({parameters}):\n    pass\n"
    assert [name for name, _ in found(kernel)] == [rule]
    helper = f"@nki.jit\ndef kernel(x):\n    helper(x)\ndef helper({parameters}):\n    pass\n"
    assert found(helper) == []


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.hbm)", "out is returned and is in hbm"),
        ("nl.ndarray(x.shape, x.dtype, nl.private_hbm)", "is in private_hbm"),
        ("nl.full(x.shape, 0.0, x.dtype, nl.psum)", "is in psum"),
        ("nl.zeros(x.shape, dtype=x.dtype)", "is in sbuf, the default"),
    ],
)
@pytest.mark.parametrize("returned", ["out", "(x, out)"])
def test_outputs_lie_in_shared_hbm(made: str, said: str, returned: str) -> None:
    text = f"{HEAD}@nki.jit\ndef kernel(x):\n    out = {made}\n    return {returned}\n"
    (finding,) = lint(text, "k.py")
    assert finding.rule == "output-buffer"
    assert said in finding.message
    assert lint(text.replace(f"return {returned}", "return x"), "k.py") == []


@pytest.mark.parametrize(
    "body",
    [
        "out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)",
        "out = nl.ndarray(x.shape, dtype=x.dtype, buffer=x.buffer)",
        "out = nl.ndarray(x.shape, x.dtype, *x)",
        "out = nl.ndarray((1, 1), x.dtype)\nout = helper(out)",
    ],
)
def test_outputs_that_may_be_right_are_not_found(body: str) -> None:
    assert "output-buffer" not in in_kernel(f"{body}\nreturn out")


def test_only_what_a_kernel_reaches_is_checked() -> None:
    text = """\
@nki.jit
def kernel(x):
    first(x)
def first(x):
    apply(second, x)
def apply(function, x):
    function(x)
def second(x):
    a = x is x
def reference(x):
    b = x is x
if reference is None:
    raise ValueError
"""
    assert found(text) == [("is-operator", "a = x is x")]
    assert found(text, "reference") == [("is-operator", "b = x is x")]


def test_a_local_name_is_not_the_function_of_the_file() -> None:
    text = "@nki.jit\ndef kernel(helper):\n    helper(1)\ndef helper(x):\n    yield x\n"
    assert found(text) == []


def test_a_kernel_calls_no_other_kernel() -> None:
    text = """\
from nki import jit
@jit
def kernel(x):
    inner(x)
    inner[2](x)
@nki.jit
def inner(x):
    pass
"""
    assert found(text) == [("nested-kernel", "inner(x)"), ("nested-kernel", "inner[2](x)")]


@pytest.mark.parametrize(
    ("base", "rules"),
    [
        ("", ["class-base"]),
        ("(dict)", ["class-base"]),
        ("(nl.NKIObject, dict)", ["class-base"]),
        ("(nl.NKIObject)", []),
        ("(Enum)", []),
    ],
)
def test_classes_that_kernels_use(base: str, rules: list[str]) -> None:
    used = f"@dataclass\nclass Shape{base}:\n    rows = 1\n"
    kernel = "@nki.jit\ndef kernel(x):\n    Shape(1)\n"
    assert [rule for rule, _ in found(used + kernel)] == rules
    assert found(used + kernel.replace("Shape(1)", "pass")) == []


def test_methods_of_classes_that_kernels_use_are_checked() -> None:
    text = """\
class Shape(nl.NKIObject):
    def same(self, other):
        return self is other
@nki.jit
def kernel(x):
    Shape()
"""
    assert found(text) == [("is-operator", "return self is other")]


BETA1 = """\
import neuronxcc.nki as nki
import neuronxcc.nki.language as nl
import neuronxcc.nki.isa as nisa

@nki.jit
def kernel(x):
    i = nl.arange(128)
"""


def test_the_namespace_of_beta_1_once_for_each_import_that_is_used() -> None:
    found = [(f.line, f.rule) for f in lint(BETA1, "k.py")]
    assert found == [(1, "neuronxcc"), (2, "neuronxcc"), (7, "removed")]
    either = BETA1.replace(
        "import neuronxcc.nki.language as nl",
        "try:\n    import nki.language as nl\nexcept ImportError:\n"
        "    import neuronxcc.nki.language as nl",
    )
    assert [f.rule for f in lint(either, "k.py")] == ["neuronxcc", "removed"]


def test_decorators_of_beta_1() -> None:
    body = "def kernel(x):\n    pass\n"
    assert found(f"@nki.benchmark(warmup=5)\n{body}") == [("removed", "@nki.benchmark(warmup=5)")]
    assert found(f"@nki.jit(mode='trace')\n{body}") == [("removed", "@nki.jit(mode='trace')")]
    assert found(f"@nki.jit()\n{body}") == []


def test_files_beside_the_kernel_are_followed() -> None:
    text = HEAD + "import helpers\nfrom more import shape\n@nki.jit\ndef kernel(x):\n"
    text += "    helpers.load(x)\n    shape(x)\n"
    siblings = [
        (
            "helpers",
            "d/helpers.py",
            "def load(x):\n    return x is x\ndef other(x):\n    yield x\n",
        ),
        ("more", "d/more.py", "from helpers import other\ndef shape(x):\n    return other(x)\n"),
    ]
    findings = lint(text, "k.py", siblings=siblings)
    assert [(f.file, f.line, f.rule) for f in findings] == [
        ("d/helpers.py", 2, "is-operator"),
        ("d/helpers.py", 4, "generator"),
    ]
    assert lint(text, "k.py") == []


def test_a_finding_says_where_what_and_what_instead() -> None:
    (finding,) = lint(HEAD + "@nki.jit\ndef kernel(x):\n    return x is x\n", "d/k.py")
    assert finding == Finding(
        "d/k.py", 10, 12, "is-operator", "error", "NKI has no `is`", "== or !="
    )
    assert str(finding) == "d/k.py:10:12: error is-operator: NKI has no `is` (instead: == or !=)"


def test_findings_are_in_the_order_of_the_file_and_once() -> None:
    text = "@nki.jit\ndef a(x):\n    h(x)\n@nki.jit\ndef b(x):\n    h(x)\n    x is x\n"
    text += "def h(x):\n    x is x\n"
    assert [f.line for f in lint(HEAD + text, "k.py")] == [14, 16]


@pytest.mark.parametrize(
    ("text", "entry", "message"),
    [
        ("def f(:\n", None, "k.py: not a Python file"),
        ("x = 1\0", None, "k.py: not a Python file"),
        ("def f(x):\n    pass\n", None, "k.py: no @nki.jit function"),
        ("def f(x):\n    pass\n", "ff", "unknown function in k.py: 'ff'; did you mean f"),
    ],
)
def test_bad_input(text: str, entry: str | None, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        lint(text, "k.py", entry)


def test_kernels_of_a_file() -> None:
    text = (
        HEAD
        + "@nki.jit\ndef b(x):\n    pass\ndef c(x):\n    pass\n@nki.jit()\ndef a(x):\n    pass\n"
    )
    assert kernels(text, "k.py") == ["b", "a"]


@pytest.mark.parametrize("path", sorted(bundled.folder("kernels").glob("*.py")), ids=str)
def test_bundled_kernels_are_clean(path: Path) -> None:
    text = path.read_text()
    if kernels(text, str(path)):
        assert lint(text, str(path)) == []


def test_every_rule_is_tested() -> None:
    tested = {rule for _, rule in BROKEN} | {rule for _, rule in SIGNATURES}
    assert set(RULES) - tested == {"nested-kernel", "class-base", "neuronxcc", "output-buffer"}
