"""Which loops are recorded as a whole, and that none is that must not be."""

from __future__ import annotations

import ast
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.nki.kernels import HEAD, is_whole, loaded, run, same
from tuner.kernel import load_kernel, read_kernel
from tuner.nki import NkiValidationError
from tuner.nki.record import recorder
from tuner.nki.record.loops import EACH, PASSES, marked

BODY = """
def kernel():
    out = nl.ndarray((64, 8), nl.float32, buffer=nl.shared_hbm)
    tile = nl.ndarray((64, 64), nl.float32, buffer=nl.sbuf)
    outer, table, count, total = [], {{}}, 0, 0
{lines}
    nisa.memset(tile[:, 0 : 1 + len(outer) + len(table) + count], 0.0)
    return out
"""
"""The loop may use `put(n)`: an instruction on n elements."""
PUT = """
def put(tile, n):
    nisa.memset(tile[:, 0:n], 0.0)
"""


def kernel_of(lines: str, module: str = "") -> str:
    """A kernel with these lines in it."""
    indented = "\n".join("    " + line for line in lines.strip("\n").splitlines())
    return PUT + module + BODY.format(lines=indented)


def marks(text: str) -> list[bool]:
    """For each loop of the function `kernel`, in order of lines, whether it is run as a whole."""
    tree = marked(ast.parse(HEAD + text))
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "kernel")
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For)]
    names = []
    for loop in sorted(loops, key=lambda loop: loop.lineno):
        assert isinstance(loop.iter, ast.Call)
        assert isinstance(loop.iter.func, ast.Name)
        names.append(loop.iter.func.id)
    assert set(names) <= {PASSES, EACH}
    return [name == PASSES for name in names]


QUALIFY = {
    "plain": "for i in range(4):\n    put(tile, i + 1)",
    "affine_range": "for i in nl.affine_range(1, 9, 2):\n    put(tile, i + 1)",
    "functions of nki named as what changes a container": """
for i in range(4):
    nisa.tensor_copy(tile[:, 0:8], nl.add(tile[:, i : i + 8], tile[:, 0:8]))
""",
    "no_pass": "for i in range(0):\n    put(tile, i + 1)",
    "backwards": "for i in range(8, 0, -3):\n    put(tile, i)",
    "names of this pass": """
for i in range(4):
    n = i * 2
    m = n + 1
    put(tile, m)
""",
    "both branches assign": """
for i in range(4):
    if i % 2 == 0:
        n = i + 1
    else:
        n = 7
    put(tile, n)
""",
    "branch that goes on": """
for i in range(4):
    if i == 2:
        continue
    else:
        n = i + 1
    put(tile, n)
""",
    "continue": "for i in range(5):\n    if i == 3:\n        continue\n    put(tile, i + 1)",
    "list of this pass": """
for i in range(4):
    own = []
    for j in range(3):
        own.append(i + j)
    own[0] = 5
    own[1] += 2
    put(tile, len(own) + own[0] + own[1])
""",
    "counter of this pass": """
for i in range(4):
    n = 1
    for j in range(3):
        n += j
    put(tile, n + i)
""",
    "name used after the loop": "for i in range(4):\n    n = 6\n    put(tile, n)\nput(tile, n)",
    "tuple": "for i in range(4):\n    a, b = i + 1, 2\n    a, b = b, a\n    put(tile, a + b)",
    "unpacked": "for i in range(4):\n    a, b = divmod(i, 2)\n    put(tile, a + b + 1)",
    "comprehension": "for i in range(4):\n    put(tile, sum([i + j for j in range(3)]) + 1)",
    "generator": "for i in range(4):\n    put(tile, max(i + j for j in range(3)))",
    "raise": "for i in range(4):\n    if i > 5:\n        raise ValueError(i)\n    put(tile, i + 1)",
    "assert": "for i in range(4):\n    assert i < 4, f'{i} is too much'\n    put(tile, i + 1)",
    "zip": "for i in range(4):\n    for a, b in zip([1, 2], [3, 4]):\n        put(tile, a + b + i)",
    "math": """
for i in range(4):
    put(tile, math.ceil(i / 2) + math.floor(i) + math.gcd(i, 4) + 1)
""",
    "text": "for i in range(4):\n    n = f'{i:02d}' + str(i) + '%d' % i\n    put(tile, len(n) + i)",
    "look-up": """
prime = [2, 3, 5, 7]
for i in range(4):
    put(tile, prime[i] + {0: 1}.get(i, 2))
""",
    "inner loop stays": """
for i in range(3):
    for j in range(i, 4):
        put(tile, i + j + 1)
""",
}


@pytest.mark.parametrize("lines", QUALIFY.values(), ids=QUALIFY.keys())
def test_loops_that_are_recorded_as_a_whole(lines: str) -> None:
    text = kernel_of(lines)
    assert marks(text)[0]
    assert is_whole(same(text)) or "range(0)" in text


REFUSE = {
    "counter from outside": "for i in range(4):\n    count += 1\n    put(tile, count)",
    "counter read before": "for i in range(4):\n    put(tile, count + 1)\n    count = i",
    "counter assigned": "for i in range(4):\n    count = count + i\n    put(tile, count + 1)",
    "set in the first pass only": """
for i in range(4):
    if i == 0:
        n = 3
    put(tile, n)
""",
    "set in one branch": """
n = 1
for i in range(4):
    if i % 2:
        n = i
    put(tile, n)
""",
    "set where the pass went on": """
n = 1
for i in range(4):
    if i == 0:
        n = 5
        put(tile, 2)
        continue
    put(tile, n)
    n = 2
""",
    "set in an inner loop that may not run": """
n = 1
for i in range(4):
    for j in range(i % 2):
        n = n + 1
    put(tile, n)
""",
    "target of an inner loop": """
j = 1
for i in range(4):
    put(tile, j + 1)
    for j in range(3):
        put(tile, j + 1)
""",
    "append to a list from outside": """
for i in range(4):
    outer.append(i)
    put(tile, len(outer))
""",
    "list from outside that grows": """
for i in range(4):
    outer += [i]
    put(tile, len(outer))
""",
    "dict from outside": "for i in range(4):\n    table[i % 2] = i\n    put(tile, len(table))",
    "one key": "for i in range(4):\n    put(tile, table.get('n', 1))\n    table['n'] = i + 2",
    "dict update": "for i in range(4):\n    table.update(n=3)\n    put(tile, len(table))",
    "list item": "box = [1]\nfor i in range(4):\n    box[0] += 1\n    put(tile, box[0])",
    "item of an item": """
box = [[1]]
for i in range(4):
    box[0][0] += 1
    put(tile, box[0][0])
""",
    "attribute": """
put.count = 1
for i in range(4):
    put.count += 1
    put(tile, put.count)
""",
    "alias that grows": """
for i in range(4):
    own = outer
    own += [i]
    put(tile, len(outer))
""",
    "alias in a tuple": """
for i in range(4):
    own, n = outer, i
    own += [i]
    put(tile, len(outer))
""",
    "alias that is appended to": """
for i in range(4):
    own = outer
    own.append(i)
    put(tile, len(outer))
""",
    "alias or new": """
for i in range(4):
    own = outer or [1]
    own += [2]
    outer = own
    put(tile, len(own))
""",
    "alias in one branch": """
for i in range(4):
    own = []
    if i % 2 == 0:
        own = outer
    own.append(i)
    put(tile, len(outer) + 1)
""",
    "alias later in an inner loop": """
for i in range(4):
    own = []
    for j in range(2):
        own.append(j)
        own = outer
    put(tile, len(outer) + 1)
""",
    "alias before continue in an inner loop": """
for i in range(4):
    own = []
    for j in range(2):
        if j == 0:
            own = outer
            continue
        own.append(j)
    put(tile, len(outer) + 1)
""",
    "alias after an inner loop": """
for i in range(4):
    own = []
    for j in range(2):
        own = outer
    own.append(i)
    put(tile, len(outer))
""",
    "alias out of a list of this pass": """
for i in range(4):
    own = [outer]
    own[0] += [i]
    put(tile, len(outer))
""",
    "method of an item": "for i in range(4):\n    [outer][0].append(i)\n    put(tile, len(outer))",
    "alias by iteration": """
rows = [[1]]
for i in range(4):
    for row in rows:
        row += [i]
    put(tile, len(rows[0]))
""",
    "alias by unpacking": """
rows = [[[1], 2]]
for i in range(4):
    for row, n in rows:
        row += [i]
    put(tile, len(rows[0][0]))
""",
    "alias by max": """
for i in range(4):
    own = max(outer, [])
    own += [i]
    put(tile, len(outer))
""",
    "alias by sum": """
for i in range(4):
    own = sum([], outer)
    own += [i]
    put(tile, len(outer))
""",
    "walrus": "n = 0\nfor i in range(4):\n    put(tile, (n := n + 1))",
    "walrus in a test": "n = 0\nfor i in range(4):\n    if (n := n + 1) > 2:\n        put(tile, n)",
    "break": "for i in range(6):\n    if i == 3:\n        break\n    put(tile, i + 1)",
    "break of an inner loop": """
for i in range(4):
    while True:
        put(tile, i + 1)
        break
""",
    "try": """
for i in range(4):
    try:
        put(tile, 63 + i)
    except Exception:
        count += 1
""",
    "lambda": "for i in range(4):\n    f = lambda: i\n    put(tile, f() + 1)",
    "function inside": "for i in range(4):\n    def f():\n        return i\n    put(tile, f() + 1)",
    "import inside": "for i in range(4):\n    import math as m\n    put(tile, m.gcd(4, 2) + i)",
    "del": "n = 3\nfor i in range(1):\n    del n\nput(tile, 2)",
    "else": "for i in range(4):\n    put(tile, i + 1)\nelse:\n    put(tile, 9)",
    "index assigned": "for i in range(4):\n    i = i + 1\n    put(tile, i)",
    "index counted": "for i in range(4):\n    i += 1\n    put(tile, i)",
    "index in an inner loop": """
for i in range(4):
    for i in range(2):
        put(tile, i + 1)
""",
    "two targets": "for i, j in enumerate(range(4)):\n    put(tile, i + j + 1)",
    "no range": "for i in [3, 1, 2]:\n    put(tile, i)",
    "star arguments": "box = (tile, 3)\nfor i in range(4):\n    put(*box)",
    "unknown function": """
grow = outer.append
for i in range(4):
    grow(i)
    put(tile, len(outer))
""",
    "callback": "for i in range(4):\n    put(tile, max([1], key=outer.append) + len(outer))",
    "callback in a dict": """
for i in range(4):
    max([1], **dict(key=outer.append))
    put(tile, len(outer))
""",
    "iterator from outside": """
numbers = iter([1, 2, 3, 4])
for i in range(3):
    put(tile, len([n for n in numbers]) + 1)
""",
    "zip from outside": """
numbers = zip([1, 2], [3, 4])
for i in range(3):
    put(tile, len(list(numbers)) + 1)
""",
    "generator from outside": """
numbers = (n for n in [1, 2, 3])
for i in range(3):
    put(tile, sum(numbers) + 1)
""",
    "comprehension's name from outside": """
n = 1
for i in range(4):
    put(tile, n + len([n for n in range(2)]))
    n = i + 2
""",
    "comprehension over its own name": """
n = [1]
for i in range(4):
    put(tile, len([n for n in n]))
    n = [1, 2, 3]
""",
    "match": """
for i in range(4):
    match count:
        case n:
            put(tile, n + 1)
    count = i
""",
    "print": "for i in range(2):\n    print(end='')\n    put(tile, i + 1)",
    "isinstance": "for i in range(4):\n    put(tile, 2 if isinstance(i, int) else 3)",
    "type": "for i in range(4):\n    put(tile, 2 if type(i) is int else 3)",
    "eval": "for i in range(4):\n    put(tile, eval('i + 1'))",
}


@pytest.mark.parametrize("lines", REFUSE.values(), ids=REFUSE.keys())
def test_loops_that_run_pass_by_pass(lines: str) -> None:
    text = kernel_of(lines)
    assert not any(marks(text)[:1])
    same(text)


LOOP = "for i in range(4):\n    put(tile, helper({}))"
HELPERS = {
    "list argument": (
        "def helper(items):\n    items.append(1)\n    return len(items)",
        LOOP.format("outer"),
    ),
    "list argument that grows": (
        "def helper(items):\n    items += [1]\n    return len(items)",
        LOOP.format("outer"),
    ),
    "item of an argument": (
        "def helper(items):\n    items[0] = len(items) + 1\n    return items[0]",
        LOOP.format("table"),
    ),
    "alias of an argument": (
        "def helper(items):\n    own = items\n    own.append(1)\n    return len(items)",
        LOOP.format("outer"),
    ),
    "new or argument": (
        "def helper(items):\n    own = []\n    for _ in range(2):\n        own.append(1)\n"
        "        own = items\n    return len(items) + 1",
        LOOP.format("outer"),
    ),
    "break in a loop": (
        "def helper(items):\n    own = []\n    for _ in range(2):\n        own = items\n"
        "        break\n    own.append(1)\n    return len(items) + 1",
        LOOP.format("outer"),
    ),
    "global": (
        "n = 1\ndef helper():\n    global n\n    n += 1\n    return n",
        LOOP.format(""),
    ),
    "global list": (
        "n = [1]\ndef helper():\n    n.append(1)\n    return len(n)",
        LOOP.format(""),
    ),
    "nonlocal": (
        "def counter():\n    n = 0\n    def f():\n        nonlocal n\n        n += 1\n"
        "        return n\n    return f\nhelper = counter()",
        LOOP.format(""),
    ),
    "mutable default": (
        "def helper(seen=[]):\n    seen.append(1)\n    return len(seen)",
        LOOP.format(""),
    ),
    "mutable default that grows": (
        "def helper(seen=[]):\n    seen += [1]\n    return len(seen)",
        LOOP.format(""),
    ),
    "attribute of the function": (
        "def helper():\n    helper.n += 1\n    return helper.n\nhelper.n = 1",
        LOOP.format(""),
    ),
    "calls another": (
        "def grow(items):\n    items.append(1)\ndef helper(items):\n    grow(items)\n"
        "    return len(items)",
        LOOP.format("outer"),
    ),
    "mutual recursion": (
        "def helper(items, n=2):\n    if n > 0:\n        second(items, n - 1)\n"
        "        items.append(1)\n    return len(items) + 1\n"
        "def second(items, n):\n    if n > 0:\n        helper(items, n - 1)\n    return 1",
        "for i in range(3):\n    put(tile, helper(outer))\n"
        "for i in range(3):\n    second(outer, 2)\n    put(tile, len(outer))",
    ),
    "generator function": (
        "def helper():\n    yield 1",
        "for i in range(4):\n    put(tile, len(list(helper())))",
    ),
    "decorated": (
        "def twice(f):\n    seen = []\n    def g():\n        seen.append(1)\n"
        "        return f() + len(seen)\n    return g\n@twice\ndef helper():\n    return 1",
        LOOP.format(""),
    ),
    "defined again": (
        "def helper(items):\n    return 1\ndef helper(items):\n    items.append(1)\n"
        "    return len(items)",
        LOOP.format("outer"),
    ),
    "defined again in a branch": (
        "def helper(items):\n    return 1\nif len(__name__) > 0:\n    def helper(items):\n"
        "        items.append(1)\n        return len(items)",
        LOOP.format("outer"),
    ),
    "bound to another": (
        "def helper(items):\n    return 1\ndef grow(items):\n    items.append(1)\n"
        "    return len(items)\nhelper = grow",
        LOOP.format("outer"),
    ),
    "hidden by an argument": (
        "def helper(items):\n    return 1\ndef work(tile, outer, helper):\n"
        "    for i in range(4):\n        put(tile, helper(outer))\n"
        "def grow(items):\n    items.append(1)\n    return len(items)",
        "for i in [1]:\n    work(tile, outer, grow)",
    ),
    "hides a builtin": (
        "def max(items):\n    items.append(1)\n    return len(items)",
        "for i in range(4):\n    put(tile, max(outer))",
    ),
    "hides range": (
        "def range(n):\n    return [3, 1, 2]",
        "for i in range(4):\n    put(tile, i)",
    ),
    "hides range for a while": (
        "",
        "for i in [1]:\n    def range(n):\n        return [n, 5, 1]\n"
        "for i in range(4):\n    put(tile, i)",
    ),
    "range of an object": (
        "class own:\n    def range(n):\n        return [n, 5, 1]",
        "for i in own.range(4):\n    put(tile, i)",
    ),
    "hides a module": (
        "class nl2:\n    def grow(items):\n        items.append(1)\n        return len(items)",
        "math = nl2\nfor i in range(4):\n    put(tile, math.grow(outer))",
    ),
    "method": (
        "class Pool:\n    n = 0\n    def get(self):\n        self.n += 1\n        return self.n\n"
        "pool = Pool()",
        "for i in range(4):\n    put(tile, pool.get())",
    ),
    "property": (
        "class Pool:\n    n = 0\n    @property\n    def next(self):\n        self.n += 1\n"
        "        return self.n\npool = Pool()",
        "for i in range(4):\n    put(tile, pool.next)",
    ),
    "item of an object": (
        "class Pool:\n    n = 0\n    def __getitem__(self, key):\n        self.n += 1\n"
        "        return self.n\npool = Pool()",
        "for i in range(4):\n    put(tile, pool[0])",
    ),
    "a field that is a property": (
        "SEEN = []\nclass Pool:\n    n: int = property(lambda self: SEEN.append(1) or len(SEEN))\n"
        "pool = Pool()",
        "for i in range(4):\n    put(tile, pool.n)",
    ),
    "class decorator": (
        "SEEN = []\ndef counts(kind):\n    class Counting:\n        @property\n"
        "        def n(self):\n            SEEN.append(1)\n            return len(SEEN)\n"
        "    return Counting\n@counts\nclass Pool:\n    n = 0\npool = Pool()",
        "for i in range(4):\n    put(tile, pool.n)",
    ),
    "property given to a class": (
        "SEEN = []\nclass Pool:\n    n = 0\n"
        "Pool.n = property(lambda self: SEEN.append(1) or len(SEEN))\npool = Pool()",
        "for i in range(4):\n    put(tile, pool.n)",
    ),
    "class made by type": (
        "SEEN = []\n"
        "pool = type('Pool', (), {'n': property(lambda s: SEEN.append(1) or len(SEEN))})()",
        "for i in range(4):\n    put(tile, pool.n)",
    ),
    "star parameters": (
        "def helper(*items):\n    return len(items)",
        LOOP.format("1, 2"),
    ),
    "keyword parameters": (
        "def helper(**items):\n    return len(items) + 1",
        LOOP.format("a=1"),
    ),
    "an iterator's next": (
        "numbers = iter([1, 2, 3, 4])\ndef helper():\n    return next(numbers)",
        LOOP.format(""),
    ),
}


@pytest.mark.parametrize(("module", "lines"), HELPERS.values(), ids=HELPERS.keys())
def test_helpers_that_remember(module: str, lines: str) -> None:
    text = kernel_of(lines, f"\n{module}\n")
    assert not any(marks(text))
    same(text)


def test_a_global_of_the_kernel() -> None:
    text = """
    n = 1
    def helper():
        return n
    def kernel():
        global n
        tile = nl.ndarray((64, 64), nl.float32)
        n = 1
        for i in range(4):
            nisa.memset(tile[:, 0:helper()], 0.0)
            n = i + 5
        return nl.ndarray((1,), nl.float32, buffer=nl.shared_hbm)
    """
    same(text)


PLAIN_HELPERS = {
    "tiles": "def helper(n):\n    own = [n]\n    own.append(2)\n    return len(own) + n",
    "branches": "def helper(n):\n    if n > 2:\n        return n\n    return 3 - n",
    "breaks": """
def helper(n):
    k = 0
    for k in range(9):
        if k > n:
            break
    return k
""",
    "raises": "def helper(n):\n    if n > 9:\n        raise ValueError(f'{n}')\n    return n + 1",
    "default": "def helper(n, more=(1, 2)):\n    return n + len(more)",
    "calls": "def helper(n):\n    return other(n, 3)\ndef other(n, m):\n    return max(n, m)",
    "keyword": "def helper(n, *, more=1):\n    more = more + n\n    return more",
    "a class beside it": (
        "class Sizes:\n    def __init__(self):\n        self.n = 3\nSIZES = Sizes()\n"
        "def helper(n):\n    return n + SIZES.n"
    ),
}


@pytest.mark.parametrize("module", PLAIN_HELPERS.values(), ids=PLAIN_HELPERS.keys())
def test_helpers_that_remember_nothing(module: str) -> None:
    text = kernel_of(LOOP.format("i"), f"\n{module}\n")
    assert marks(text)[0]
    assert is_whole(same(text))


def test_kernels_of_several_files() -> None:
    text = kernel_of(
        """
for i in range(4):
    put(tile, 3)
for i in range(4):
    put(tile, tools.grow(outer))
for i in range(4):
    put(tile, pool.get())
""",
        "\nimport tools\nfrom tools import Pool\npool = Pool()\n",
    )
    tools = """
    def grow(items):
        items.append(1)
        return len(items)
    class Pool:
        n = 0
        def get(self):
            self.n += 1
            return self.n
    """
    assert is_whole(same(text, tools=tools))
    magic = tools + "    def __getitem__(self, key):\n            return self.get()\n    "
    assert not is_whole(same(text.replace("pool.get()", "pool[0]"), tools=magic))
    same(text.replace("tools", "math"), math=tools)


def test_names_of_unknown_modules_end_it() -> None:
    text = kernel_of(
        "for i in range(4):\n    put(tile, numbers[0])", "\nimport THIS\nnumbers = [1]\n"
    )
    assert marks(text.replace("THIS", "numpy as np")) == [True]
    assert marks(text.replace("THIS", "collections")) == [False]
    assert marks(text.replace("import THIS", "from nki.language import *")) == [False]
    assert marks(text.replace("import THIS", "import argparse, os, sys")) == [True]


@pytest.mark.parametrize(
    ("lines", "whole"),
    [
        ("import itertools", True),
        ("import itertools\npairs = list(itertools.product((1, 2), (1, 2)))", True),
        ("import itertools\npairs = itertools.product((1, 2), (1, 2))", False),
        ("import itertools\ncount = itertools.count\nnumbers = count()", False),
        ("import itertools as it\nnumbers = it.count()", False),
        ("from itertools import count\nnumbers = count()", False),
    ],
)
def test_iterators_that_a_module_makes(lines: str, whole: bool) -> None:
    text = kernel_of("for i in range(4):\n    put(tile, i + 1)", f"\n{lines}\n")
    assert marks(text) == [whole]


def test_what_a_module_does_as_a_script() -> None:
    script = """
import collections, itertools
if __name__ == "__main__":
    configs = itertools.product((1, 2), (1, 2))
    exec("print(1)")
"""
    text = kernel_of("for i in range(4):\n    put(tile, i + 1)", script)
    assert marks(text) == [False]
    assert marks(text.replace("import collections, ", "import ")) == [True]
    assert marks(text.replace("import collections, ", "import ").replace("==", "!=")) == [False]


def test_what_a_loop_left_behind() -> None:
    """Names of a pass that are used after the loop: as Python has them."""
    same(kernel_of("for i in range(4):\n    n = 2 * i\n    put(tile, i + 1)\nput(tile, n + i)"))
    same(kernel_of("for i in range(4):\n    n = 3 if i < 2 else 5\n    put(tile, n)\nput(tile, n)"))
    same(
        kernel_of(
            """
for i in range(4):
    if i == 1:
        n = 5
    if i == 2:
        m = i
    put(tile, i + 1)
put(tile, n)
put(tile, m)
"""
        )
    )


def test_exceptions_that_the_kernel_catches() -> None:
    """A loop that was left early is recorded as far as it went."""
    text = kernel_of(
        """
try:
    for i in range(4):
        own = nl.ndarray((64, 8), nl.float32)
        nisa.memset(own[:, 0 : 6 + i], 0.0)
except Exception as error:
    count = 1
later = nl.ndarray((64, 8), nl.float32)
nisa.memset(later, 0.0)
"""
    )
    assert marks(text) == [True]
    found = same(text)
    assert [site.looped for site in found.program.sites] == [False, False, True, False]


def test_kernels_that_catch_everything() -> None:
    text = kernel_of(
        """
for i in range(4):
    n = i
    put(tile, i + 1)
try:
    put(tile, n)
except BaseException:
    put(tile, 9)
"""
    )
    assert marks(text) == [True]
    same(text)


def test_messages_name_the_pass_that_failed(tmp_path: Path) -> None:
    text = kernel_of(
        """
for i in range(9):
    for j in range(9):
        if i * j > 11:
            raise ValueError(f"{i} and {j}")
        put(tile, i + j + 1)
"""
    )
    file = tmp_path / "failing.py"
    file.write_text(HEAD + text)
    with pytest.raises(ValueError, match=r"^2 and 6$"):
        run(load_kernel(read_kernel(file, "kernel")), True)
    short = kernel_of("for i in range(9):\n    nisa.memset(tile[:, 10 * i : 10 * i + 10], 0.0)")
    for symbolic in (True, False):
        with pytest.raises(NkiValidationError, match=r"slice 60:70 of dimension 1 "):
            run(loaded(short), symbolic)


def test_bounds_are_whole_numbers() -> None:
    for symbolic in (True, False):
        with pytest.raises(TypeError, match="float"):
            run(loaded(kernel_of("for i in range(4 / 2):\n    put(tile, i + 1)")), symbolic)


def test_kernels_too_long_to_write_out() -> None:
    text = kernel_of(
        "for i in range(9000):\n    for j in range(9000):\n        put(tile, 4)",
    )
    with pytest.raises(NkiValidationError, match="more than 20000000 instructions"):
        run(loaded(text), True)


def test_kernels_that_never_end_are_stopped() -> None:
    text = kernel_of("while True:\n    put(tile, 4)")
    with (
        patch.object(recorder, "MAX_WRITTEN", 1000),
        pytest.raises(NkiValidationError, match="more than 1000 instructions outside simple loops"),
    ):
        run(loaded(text), True)


def test_while_and_with_inside() -> None:
    text = kernel_of(
        """
for i in range(4):
    n = 0
    while n < 3:
        n = n + 1
        put(tile, n + i)
"""
    )
    assert marks(text) == [True]
    assert is_whole(same(text))
    ordered = kernel_of("for i in range(4):\n    with nl.no_reorder():\n        put(tile, i + 1)")
    assert marks(ordered) == [True]


def test_a_loop_in_a_loop_that_carries() -> None:
    text = kernel_of(
        """
for i in range(3):
    count += 1
    for j in range(4):
        put(tile, count + j)
"""
    )
    assert marks(text) == [False, True]
    assert is_whole(same(text))
