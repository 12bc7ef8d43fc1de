"""Loops that call functions of a sibling: recorded whole where nothing but those can be meant."""

from __future__ import annotations

import pytest

from tests.nki.kernels import is_whole, same

PURE = "def step(i):\n    return i\n"
COUNT = """
class Count:
    def __init__(self):
        self.n = 0

    def get(self):
        self.n += 1
        return self.n
"""
GROW = "def grow(items, n):\n    items.append(n)\n    return len(items)\n"


def kernel(imports: str, before: str, call: str) -> str:
    return f"""
{imports}

def kernel():
    out = nl.ndarray((64, 8), nl.float32, buffer=nl.shared_hbm)
    tile = nl.ndarray((64, 64), nl.float32, buffer=nl.sbuf)
    {before}
    for i in range(8):
        n = {call}
        nisa.memset(tile[:, n : n + 1], 0.0)
    return out
"""


@pytest.mark.parametrize("imports", ["from one import step", "from one import step as step"])
def test_a_pure_function_of_a_sibling_does_not_keep_a_loop_from_being_whole(imports: str) -> None:
    assert is_whole(same(kernel(imports, "pass", "step(i)"), one=PURE))


def test_nor_does_one_that_calls_another_sibling_s() -> None:
    inner = "def twice(i):\n    return 2 * i\n"
    outer = "from two import twice\ndef step(i):\n    return twice(i)\n"
    found = same(kernel("from one import step", "pass", "step(i)"), one=outer, two=inner)
    assert is_whole(found)


@pytest.mark.parametrize(
    ("imports", "before", "call", "siblings"),
    [
        # a method that changes its object, of a class in the kernel, in a sibling, along a chain
        (
            f"from one import step\n{COUNT}",
            "c = Count()",
            "step(c)",
            {"one": "def step(c):\n    return c.get()\n"},
        ),
        (
            "from one import step\nfrom two import Count",
            "c = Count()",
            "step(c)",
            {"one": "def step(c):\n    return c.get()\n", "two": COUNT},
        ),
        (
            "from one import step, Count",
            "c = Count()",
            "step(c)",
            {
                "one": f"from two import ask\n{COUNT}\ndef step(c):\n    return ask(c)\n",
                "two": "def ask(c):\n    return c.get()\n",
            },
        ),
        # a name that is bound twice
        (
            "from one import step\nfrom functools import reduce as step\nfrom two import grow",
            "items = []",
            "step(grow, (items, 1))",
            {"one": "def step(f, c):\n    return 1\n", "two": GROW},
        ),
        (
            "from one import step",
            "items = []",
            "step(items, i)",
            {"one": f"{GROW}\ndef step(items, n):\n    return 1\nstep = grow\n"},
        ),
        ("from one import grow", "items = []", "grow(items, i)", {"one": GROW}),
    ],
)
def test_state_that_a_sibling_carries_from_pass_to_pass_is_kept(
    imports: str, before: str, call: str, siblings: dict[str, str]
) -> None:
    assert not is_whole(same(kernel(imports, before, call), **siblings))
