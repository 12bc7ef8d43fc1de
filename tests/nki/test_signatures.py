"""Names, parameters and defaults are those of NKI's own stub files."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from enum import Enum, EnumType
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tuner.nki.errors import NotSupportedError
from tuner.nki.operations import Operation
from tuner.nki.tensor import Buffer

OFFICIAL = json.loads((Path(__file__).parents[1] / "data" / "nki_signatures.json").read_text())
MODULES: dict[str, ModuleType] = {"nki.isa": nisa, "nki.language": nl}

REST = {"args", "kwargs"}
"""Parameters of functions that only refuse."""


def functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The module's own public functions, and operations that are functions too."""
    found = {}
    for name, value in vars(module).items():
        own = getattr(value, "__module__", "").startswith(module.__name__)
        function = inspect.isfunction(value) and set(inspect.signature(value).parameters) != REST
        computes = isinstance(value, Operation) and type(value) is not Operation
        if own and (function or computes) and not name.startswith("_"):
            found[name] = value
    return found


def parameters(function: Callable[..., Any]) -> list[list[str | None]]:
    """Names and defaults, the latter as the stub files write them."""
    found: list[list[str | None]] = []
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD
        default = parameter.default
        if default is inspect.Parameter.empty:
            found.append([parameter.name, None])
        else:
            text = str(default) if isinstance(default, Enum) else repr(default)
            text = "..." if default is ... else text
            text = (
                default if isinstance(default, str) and default in vars(nl) else text
            )  # a dtype, by its name
            found.append([parameter.name, text.removeprefix("nl.")])
    return found


def test_functions_and_their_parameters() -> None:
    for name, module in MODULES.items():
        found = {n: parameters(function) for n, function in functions(module).items()}
        assert found == OFFICIAL["functions"][name]


def test_members_of_enums() -> None:
    for name, members in OFFICIAL["members"].items():
        assert {member.name: member.value for member in vars(nisa)[name]} == members


def test_no_name_is_invented() -> None:
    for name, module in MODULES.items():
        values = {n: value for n, value in vars(module).items() if not n.startswith("_")}
        plain = {n for n, v in values.items() if isinstance(v, str | Operation | Buffer | Enum)}
        types = [v for v in values.values() if isinstance(v, EnumType)]
        enums = {v.__name__ for v in types if v.__module__.startswith("tuner.nki")}
        assert plain <= set(OFFICIAL["names"][name])
        assert enums <= set(OFFICIAL["members"])


def test_every_other_name_of_nki_can_be_called_and_refuses() -> None:
    for module, names in OFFICIAL["names"].items():
        for name in set(names) - set(vars(MODULES[module])):
            with pytest.raises(Exception, match=rf"{module}\.{name}.* is not supported"):
                getattr(MODULES[module], name)(1, 2, axis=3)


def test_what_only_refuses_says_so() -> None:
    for name in ("rand", "dropout", "fori_loop", "while_loop", "dynamic_range", "ceil", "mod"):
        with pytest.raises(NotSupportedError, match=rf"nki\.language\.{name}.* is not supported"):
            getattr(nl, name)(1, 2)
