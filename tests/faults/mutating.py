"""Mutations of real files: of their bytes, and of the values that they hold."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from hypothesis import strategies as st

__all__ = ["Mutation", "bytes_mutations", "mutated_bytes", "mutated_values", "toml", "values"]

DEEP = 3000
TEXTS = [
    "",
    "0",
    "-1",
    "1e999",
    "nan",
    "-inf",
    "9" * 3000,
    "9" * 5000,
    "x" * 100_000,
    "\0",
    "\ud800",
    "\u2028\x1b[31m\n",
    "../../../escaped",
    "/proc/self/mem",
    "/dev/zero",
    "/etc/passwd",
    "device.partitions",
    "9**9**9",
    "9**64**1",
    "*".join(["9" * 300] * 50),
    "(" * DEEP,
    "-" * DEEP + "1",
    "not " * DEEP + "1",
    "(" * 90 + "M" + ")" * 90,
    "1 if 1 else 2",
    "1//0",
    "round_up(M, 0)",
    "max(1, 'a')",
    "M in (1, 'a')",
    "__import__('os').mkdir('escaped')",
    "[" * DEEP,
    "{" * DEEP,
    '{"a":' * DEEP,
    "x = " + "[" * DEEP,
    "a." * DEEP + "a = 1",
    "%s%n; touch escaped #",
    "M=1,N=9999999999999999999999",
    "--resume",
]
SCALARS: list[Any] = [0, -1, 1, 2**31, 2**63, 2**64, 10**400, 1e308, 5e-324, -0.0]
SCALARS += [float("nan"), float("inf"), True, None, [], {}, [[]], {"": {}}]

Mutation = tuple[str, float, float, Any]
"""What is done, at which share of the file, with which other place or what."""

_place = st.floats(0, 1, exclude_max=True, allow_subnormal=False)


def bytes_mutations() -> st.SearchStrategy[list[Mutation]]:
    """One to four changes of bytes."""
    what = st.sampled_from(["flip", "cut", "repeat", "insert", "move", "end", "token", "number"])
    one = st.tuples(what, _place, _place, st.sampled_from(TEXTS))
    return st.lists(one, min_size=1, max_size=4)


def mutated_bytes(data: bytes, mutations: list[Mutation]) -> bytes:
    """Returns the data with the changes made one after the other."""
    for what, at, other, text in mutations:
        start = int(at * len(data))
        length = int(other**4 * len(data)) + 1
        chunk = text.encode(errors="surrogatepass")
        if what == "flip" and data:
            data = data[:start] + bytes([data[start] ^ (1 << int(other * 8))]) + data[start + 1 :]
        elif what == "cut":
            data = data[:start] + data[start + length :]
        elif what == "repeat":
            data = data[:start] + data[start : start + length] * 3 + data[start + length :]
        elif what == "insert":
            data = data[:start] + chunk + data[start:]
        elif what == "move":
            there = int(other * len(data))
            data = data[:start] + data[there : there + 64] + data[start + 64 :]
        elif what == "end":
            data = data[:start]
        else:
            data = _replaced_token(data, rb'"[^"]*"' if what == "token" else rb"\d+", at, chunk)
    return data


def _replaced_token(data: bytes, pattern: bytes, at: float, chunk: bytes) -> bytes:
    found = list(re.finditer(pattern, data))
    if not found:
        return data
    match = found[int(at * len(found))]
    quotes = b'"' if data[match.start() : match.start() + 1] == b'"' else b""
    return data[: match.start()] + quotes + chunk + quotes + data[match.end() :]


def values() -> st.SearchStrategy[list[Mutation]]:
    """One to four changes of a tree of values, such as JSON holds."""
    what = st.sampled_from(["put", "drop", "rename", "deepen", "swap", "many", "key"])
    given = st.sampled_from([*SCALARS, *TEXTS])
    return st.lists(st.tuples(what, _place, _place, given), min_size=1, max_size=4)


def mutated_values(tree: Any, mutations: list[Mutation]) -> Any:
    """Returns a copy of the tree with the changes made one after the other."""
    root = [copy.deepcopy(tree)]
    for what, at, other, given in mutations:
        places = list(_places(root))
        holder, key = places[int(at * len(places))]
        if what == "put":
            holder[key] = given
        elif what == "drop" and holder is not root:
            del holder[key]
        elif what == "rename" and isinstance(holder, dict):
            holder[str(given)] = holder.pop(key)
        elif what == "deepen":
            for _ in range(int(other * 200)):
                holder[key] = [holder[key]]
        elif what == "swap":
            elsewhere, name = places[int(other * len(places))]
            holder[key] = copy.deepcopy(elsewhere[name])
        elif what == "many" and isinstance(holder[key], list):
            holder[key] = holder[key] * int(1 + other * 300)
        elif what == "key" and isinstance(holder[key], dict):
            holder[key][str(given)] = given
    return root[0]


def _places(tree: Any) -> Any:
    """Every (holder, key) of a tree, the outermost first."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(entries):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def toml(tree: Any) -> str:
    """Writes a tree as TOML, whatever it holds: each entry of the root in one line."""
    entries = tree if isinstance(tree, dict) else {"x": tree}
    return "".join(f"{_toml(str(key))} = {_toml(value)}\n" for key, value in entries.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{_toml(str(key))} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=True)
