"""Reads the tables that `nki-tuner export` writes. They are data: a wrong one is an error, never
code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.expressions import Expression
from tuner.runtime.files import read_json, read_text
from tuner.runtime.rules import DTYPE_BYTES, Constraint, Parameter, Rules, Value
from tuner.runtime.shipped import file_or_shipped
from tuner.runtime.table import Kernel, Record, Table, check_sizes

TYPE_CHECKING = False  # as in typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SCHEMA", "SCHEMA_VERSION", "load"]

SCHEMA = "nki-tuner/table"
SCHEMA_VERSION = 1
MAX_FILE_BYTES = 256 << 20
MAX_VALUES = 10_000_000
_TYPES: Mapping[str, Any] = {
    "kernel": str,
    "dtype": str,
    "device": str,
    "backend": str,
    "kind": str,
    "config": dict,
    "latency_us": int | float,
    "default_latency_us": int | float | None,
    "trials": int,
    "verified": bool,
    "fingerprint": dict,
    "command": str,
    "error_percent": int | float | None,
    "default_config": dict | None,
    "roofline_us": int | float | None,
}
"""Of every entry of a record; where None will do it may be missing."""


def load(path: str | os.PathLike[str]) -> Table:
    """Reads a table that `nki-tuner export` wrote.

    Args:
        path: Its path, or the bare name of one that comes with the package: "trn2".

    Raises:
        TunerError: There is no such file, or it is no table of a version that this reads.
    """
    name = file_or_shipped(os.fspath(path), "table", ".json")
    try:
        data = read_json(read_text(name, MAX_FILE_BYTES), MAX_VALUES)
    except (ValueError, RecursionError) as error:
        raise TunerError(f"{name}: not a JSON table ({error})") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise TunerError(f"{name}: not a table of nki-tuner (its `schema` is not {SCHEMA!r})")
    if data.get("schema_version") != SCHEMA_VERSION:
        version = data.get("schema_version")
        raise TunerError(f"{name}: schema version {version!r}, this reads version {SCHEMA_VERSION}")
    try:
        return _table(name, data)
    except TunerError as error:
        raise TunerError(f"{name}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TunerError(f"{name}: a broken table ({type(error).__name__}: {error})") from None


def _table(path: str, data: Mapping[str, Any]) -> Table:
    kernels = {name: _kernel(name, value) for name, value in data["kernels"].items()}
    devices = {name: dict(facts) for name, facts in data["devices"].items()}
    for name, facts in devices.items():
        if not all(isinstance(value, Value) for value in facts.values()):
            raise TunerError(f"device {name!r} has a fact that is no plain value")
    records = []
    for i, entry in enumerate(data["records"]):
        wrong = [key for key, kind in _TYPES.items() if not isinstance(entry.get(key), kind)]
        if wrong:
            told = f"{entry[wrong[0]]!r} has the wrong type" if wrong[0] in entry else "missing"
            raise TunerError(f"records[{i}].{wrong[0]}: {told}")
        kernel = kernels.get(entry["kernel"])
        if kernel is None or entry["device"] not in devices or entry["dtype"] not in kernel.dtypes:
            raise TunerError(
                f"the record of {entry['kernel']!r} names a kernel, device or dtype it lacks"
            )
        sizes = check_sizes(kernel, dict(entry["sizes"]))
        record = Record(**{**entry, "sizes": sizes, "config": dict(entry["config"])})
        for key, value in record.config.items():
            if not isinstance(value, Value):
                raise TunerError(f"records[{i}].config: {key}={value!r} is no plain value")
        records.append(record)
    command = data.get("command", "")
    if not isinstance(command, str):
        raise TunerError(f"command: {command!r} is no text")
    return Table(path, kernels, devices, tuple(records), command)


def _kernel(name: str, data: Mapping[str, Any]) -> Kernel:
    unknown_dtypes = [dtype for dtype in data["dtypes"] if dtype not in DTYPE_BYTES]
    if unknown_dtypes:
        raise unknown("dtype", unknown_dtypes[0], DTYPE_BYTES)
    parameters = tuple(
        Parameter(
            p["name"],
            tuple(p["values"]),
            p["default"],
            None if p.get("when") is None else Expression(p["when"], f"{p['name']}.when"),
        )
        for p in data["parameters"]
    )
    for p in parameters:
        if p.default not in p.values or not all(isinstance(value, Value) for value in p.values):
            raise TunerError(f"parameter {p.name!r}: its default is none of its values")
    if not all(isinstance(key, str) for key in (*data["dims"], *(p.name for p in parameters))):
        raise TunerError(f"kernel {name!r}: the name of a dim or parameter is no text")
    constraints = tuple(Constraint(Expression(c["expr"]), c["why"]) for c in data["constraints"])
    rules = Rules(parameters, constraints)
    if not isinstance(data["space"], str):
        raise TunerError(f"kernel {name!r}: its search space is no text")
    return Kernel(
        name,
        data["space"],
        tuple(data["dims"]),
        tuple(data["dtypes"]),
        dict(data["arguments"]),
        rules,
        _variants(name, data.get("variants", {})),
    )


def _variants(name: str, data: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """Reads what a kernel may compute; tables from before there were variants say nothing."""
    for variant, words in data.items():
        if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
            raise TunerError(f"kernel {name!r}: the values of variant {variant!r} are no words")
    return {variant: tuple(words) for variant, words in data.items()}
