"""Names, parameters, their order and defaults are those of NKI's own stub files."""

from __future__ import annotations

import inspect
import json
from enum import Enum, EnumType
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tuner.nki as nki
import tuner.nki.collectives as ncc
import tuner.nki.isa as nisa
import tuner.nki.language as nl
from tuner.nki import NotSupportedError
from tuner.nki.isa.unsupported import Refused
from tuner.nki.operations import Operation
from tuner.nki.tensors.tensor import Buffer, NkiTensor

OFFICIAL = json.loads((Path(__file__).parents[1] / "data" / "nki_signatures.json").read_text())
MODULES: dict[str, ModuleType] = {
    "nki": nki,
    "nki.language": nl,
    "nki.isa": nisa,
    "nki.collectives": ncc,
}
FUNCTIONS = [(module, name) for module, names in OFFICIAL["functions"].items() for name in names]
OURS = {"nki": {"isa", "language", "typing", "lent", "HazardError", "HazardWarning"}}
"""Names beside NKI's that a kernel does not ask for."""


def refuses(function: Any) -> bool:
    """Whether something takes whatever it is given, to refuse it."""
    if isinstance(function, Refused):
        return True
    if function is range or function is nki.jit:
        return False
    return {"args", "kwargs"} == set(inspect.signature(function).parameters)


def signature(function: Any) -> str:
    """Names, order and defaults, as the stub files write them."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        default, stars = parameter.default, ""
        if parameter.kind == inspect.Parameter.KEYWORD_ONLY:  # ours, beside NKI's
            continue
        if parameter.kind == inspect.Parameter.VAR_KEYWORD:
            stars = "**"
        else:
            assert parameter.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD
        if default is inspect.Parameter.empty:
            found.append(stars + parameter.name)
        else:
            found.append(f"{parameter.name}={written(default)}")
    return ", ".join(found)


def written(default: Any) -> str:
    if default is ...:
        return "..."
    if isinstance(default, Enum):
        return str(default)
    if isinstance(default, str) and default in vars(nl):  # a dtype
        return default
    return repr(default).removeprefix("nl.")


@pytest.mark.parametrize(("module", "name"), FUNCTIONS)
def test_function_is_nki_s_or_refuses(module: str, name: str) -> None:
    function = vars(MODULES[module])[name]
    if function is range:  # takes start, stop and step as NKI's ranges do
        assert OFFICIAL["functions"][module][name] == "start, stop=None, step=1"
    elif not refuses(function):
        assert signature(function) == OFFICIAL["functions"][module][name]
    else:
        with pytest.raises(NotSupportedError, match=rf"^{module}\.{name}\b.* is not supported"):
            function(1, 2, axis=3)


SUPPORTED = (
    "activation activation_reduce affine_select bn_aggr bn_stats dma_compute dma_copy dma_transpose"
    " exponential get_nc_version iota max8 memset nc_matmul nc_stream_shuffle nc_transpose"
    " range_select reciprocal scalar_tensor_tensor select_reduce tensor_copy tensor_copy_predicated"
    " tensor_reduce tensor_scalar tensor_scalar_cumulative tensor_scalar_reduce tensor_tensor"
    " tensor_tensor_scan"
)


def test_instructions_that_are_simulated() -> None:
    names = OFFICIAL["functions"]["nki.isa"]
    found = sorted(name for name in names if not refuses(vars(nisa)[name]))
    assert " ".join(found) == SUPPORTED


def test_members_of_enums() -> None:
    for path, members in OFFICIAL["members"].items():
        module, _, name = path.rpartition(".")
        found = vars(MODULES[module])[name]
        if isinstance(found, EnumType):
            values: list[Any] = list(found)
            assert {member.name: member.value for member in values} == members
        else:  # MemoryRegion: our buffers
            assert {member: getattr(found, member).name for member in members} == members


def test_every_other_name_exists() -> None:
    for module, names in OFFICIAL["others"].items():
        assert set(names) <= set(vars(MODULES[module]))


def test_no_name_is_invented() -> None:
    members = {path.rpartition(".")[2] for path in OFFICIAL["members"]}
    for module, names in OFFICIAL["others"].items():
        known = {*names, *OFFICIAL["functions"][module], *members, *OURS.get(module, ())}
        known |= {"NkiValidationError", "NotSupportedError"}
        assert set(getattr(MODULES[module], "__all__", ())) <= known
        for name, value in vars(MODULES[module]).items():
            if not name.startswith("_") and isinstance(value, Operation | Buffer | Enum | Refused):
                assert name in known


@pytest.mark.parametrize("name", OFFICIAL["NkiTensor"]["methods"])
def test_methods_of_tensors(name: str) -> None:
    assert signature(getattr(NkiTensor, name)) == OFFICIAL["NkiTensor"]["methods"][name]


def test_attributes_of_tensors_and_tile_sizes() -> None:
    assert [n for n in OFFICIAL["NkiTensor"]["attributes"] if not hasattr(NkiTensor, n)] == []
    assert [n for n in OFFICIAL["tile_size"] if not hasattr(type(nl.tile_size), n)] == []
