"""Looks tuned configs up in an exported table. Standard library only; made for the serving
process.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import (
    DTYPE_BYTES,
    MAX_SIZE,
    Config,
    Constraint,
    Parameter,
    Rules,
    Value,
    workload_key,
)

__all__ = ["SCHEMA", "SCHEMA_VERSION", "Answer", "Kernel", "Record", "Table", "load"]

SCHEMA = "nki-tuner/table"
SCHEMA_VERSION = 1
MAX_FILE_BYTES = 256 << 20
MAX_CACHED_ANSWERS = 65_536
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
}


@dataclass(frozen=True)
class Record:
    """The best trial of one tuning job.

    Attributes:
        kind: "simulated" or "measured": what its times are.
        latency_us: The best config's time, in microseconds.
        default_latency_us: The default config's time on the same workload, None if it failed.
        fingerprint: What the times depend on: kernel and space hash, device, backend and its
            version.
    """

    kernel: str
    sizes: Mapping[str, int]
    dtype: str
    device: str
    backend: str
    kind: str
    config: Config
    latency_us: float
    default_latency_us: float | None
    trials: int
    verified: bool
    fingerprint: Mapping[str, Any]
    command: str


@dataclass(frozen=True)
class Kernel:
    """What the run time must know of a kernel: its dims, its arguments' shapes, and its legal
    configs.
    """

    name: str
    dims: tuple[str, ...]
    dtypes: tuple[str, ...]
    arguments: Mapping[str, str]
    rules: Rules


@dataclass(frozen=True)
class Answer:
    """What a lookup found.

    Attributes:
        config: The parameters to call the kernel with. Shared between lookups: do not change it.
        match: "exact" (tuned for this workload), "nearest" (tuned for a near one and legal for this
            one) or "default" (nothing near enough).
        why: What was asked, what was found and, unless exact, the command that would tune it.
        kind: "simulated" or "measured" times chose it; None for a default.
        record: The record it came from; None for a default.
    """

    config: Config
    match: str
    why: str
    kind: str | None = None
    record: Record | None = None


@dataclass
class Table:
    """Tuned configs of one file. Lookups are thread-safe and remembered."""

    path: str
    kernels: Mapping[str, Kernel]
    devices: Mapping[str, Mapping[str, Value]]
    records: tuple[Record, ...]
    _answers: dict[Any, Answer] = field(default_factory=dict, repr=False)

    def lookup(
        self,
        kernel: str,
        *,
        dtype: str | None = None,
        device: str | None = None,
        backend: str | None = None,
        expect: Mapping[str, Any] | None = None,
        max_distance: float = 1.0,
        **sizes: int,
    ) -> Answer:
        """Finds the config for a workload.

        Args:
            kernel: A kernel of this table.
            dtype: The operands' dtype; may be left out when the kernel's records have only one.
            device: May be left out when the kernel's records have only one.
            backend: Takes records of this backend only; else measured ones go before simulated
                ones.
            expect: Fingerprint entries that a record must have, e.g. `{"kernel_hash": ...}`; others
                are passed over and named in the answer.
            max_distance: How far a "nearest" workload may be: the sum over dims of |log2 of the
                ratio|.
            **sizes: One positive size a dim, e.g. `M=1024, K=4096, N=4096`.

        Returns:
            The answer; `match` and `why` say how it was found.

        Raises:
            TunerError: An unknown kernel, dim, dtype or device, or a missing one.
        """
        types = map(type, sizes.values())  # 1.0 and True are no 1
        key = (kernel, dtype, device, backend, max_distance, *sizes.items(), *types)
        if expect is None:
            answer = self._answers.get(key)
            if answer is not None:
                return answer
        answer = self._find(kernel, sizes, dtype, device, backend, expect or {}, max_distance)
        if expect is None:
            if len(self._answers) >= MAX_CACHED_ANSWERS:
                self._answers.clear()
            self._answers[key] = answer
        return answer

    def _find(
        self,
        name: str,
        sizes: Mapping[str, int],
        dtype: str | None,
        device: str | None,
        backend: str | None,
        expect: Mapping[str, Any],
        max_distance: float,
    ) -> Answer:
        if name not in self.kernels:
            raise unknown("kernel", name, self.kernels)
        kernel = self.kernels[name]
        _check_sizes(kernel, sizes)
        records = [r for r in self.records if r.kernel == name and backend in (None, r.backend)]
        dtype = _only("dtype", dtype, kernel.dtypes, [r.dtype for r in records], name)
        device = _only("device", device, tuple(self.devices), [r.device for r in records], name)
        records = [r for r in records if r.dtype == dtype and r.device == device]
        scope: dict[str, Value] = {**sizes, "dtype_bytes": DTYPE_BYTES[dtype]}
        scope |= {f"device.{fact}": value for fact, value in self.devices[device].items()}

        asked = f"{name} {workload_key(kernel.dims, sizes)} {dtype} on {device}"
        notes = []
        near = sorted(
            (
                (_distance(kernel, r.sizes, sizes), r.kind != "measured", i, r)
                for i, r in enumerate(records)
            ),
            key=lambda entry: entry[:3],
        )
        for how_far, _, _, record in near:
            found = f"{record.kind} record {workload_key(kernel.dims, record.sizes)}"
            stale = [k for k, v in expect.items() if record.fingerprint.get(k) != v]
            if how_far > max_distance:
                notes.append(
                    f"the nearest is the {found}, {how_far:.2f} away, limit {max_distance:g}"
                )
                break
            if stale:
                notes.append(f"the {found} has another {', '.join(stale)}")
            elif how_far == 0:
                return Answer(record.config, "exact", f"{asked}: {found}", record.kind, record)
            else:
                config = kernel.rules.complete(record.config, scope)
                broken = kernel.rules.broken(config, scope)
                if broken is None:
                    tune = _tune(kernel, sizes, dtype, device)
                    why = f"{asked}: nearest {found}, {how_far:.2f} away{tune}"
                    return Answer(config, "nearest", why, record.kind, record)
                notes.append(f"the {found} is not legal here ({broken.why})")
        default = kernel.rules.nearest_legal(kernel.rules.complete({}, scope), scope)
        if default is None:
            raise TunerError(f"{asked}: no config is legal for this workload")
        because = "; ".join(notes[:3]) or "the table has no record of it"
        why = f"{asked}: the default config, because {because}{_tune(kernel, sizes, dtype, device)}"
        return Answer(default, "default", why)


def _tune(kernel: Kernel, sizes: Mapping[str, int], dtype: str, device: str) -> str:
    shape = workload_key(kernel.dims, sizes)
    options = f"--shape {shape} --dtype {dtype} --device {device}"
    return f"; to tune it: nki-tuner tune {kernel.name} {options}"


def _distance(kernel: Kernel, a: Mapping[str, int], b: Mapping[str, int]) -> float:
    return sum(abs(math.log2(a[dim] / b[dim])) for dim in kernel.dims)


def _check_sizes(kernel: Kernel, sizes: Mapping[str, Any]) -> None:
    for dim, size in sizes.items():
        if dim not in kernel.dims:
            raise unknown(f"dim of {kernel.name}:", dim, kernel.dims)
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_SIZE:
            raise TunerError(
                f"{kernel.name}: {dim}={size!r} is not a whole number from 1 to {MAX_SIZE}"
            )
    missing = [dim for dim in kernel.dims if dim not in sizes]
    if missing:
        raise TunerError(f"{kernel.name} needs a size for {', '.join(missing)}")


def _only(
    what: str, given: str | None, known: tuple[str, ...], found: list[str], kernel: str
) -> str:
    if given is not None:
        if given not in known:
            raise unknown(what, given, known)
        return given
    choices = list(dict.fromkeys(found)) or list(known)
    if len(choices) == 1:
        return choices[0]
    raise TunerError(
        f"{kernel}: the table has several {what}s, give {what}= one of {', '.join(choices)}"
    )


def load(path: str | os.PathLike[str]) -> Table:
    """Reads a table that `nki-tuner export` wrote.

    Raises:
        TunerError: There is no such file, or it is no table of a version that this reads.
    """
    name = os.fspath(path)
    try:
        size = os.path.getsize(name)
        if size > MAX_FILE_BYTES:
            raise TunerError(
                f"{name}: {size} bytes, more than the {MAX_FILE_BYTES} that a table may have"
            )
        with open(name, encoding="utf-8") as file:
            data = json.load(file)
    except OSError as error:
        raise TunerError(f"{name}: {error.strerror or error}") from None
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
        wrong = [key for key, kind in _TYPES.items() if not isinstance(entry[key], kind)]
        if wrong:
            raise TunerError(f"records[{i}].{wrong[0]}: {entry[wrong[0]]!r} has the wrong type")
        record = Record(**{**entry, "sizes": dict(entry["sizes"]), "config": dict(entry["config"])})
        kernel = kernels.get(record.kernel)
        if kernel is None or record.device not in devices or record.dtype not in kernel.dtypes:
            raise TunerError(
                f"the record of {record.kernel!r} names a kernel, device or dtype it lacks"
            )
        _check_sizes(kernel, record.sizes)
        values = {parameter.name: parameter.values for parameter in kernel.rules.parameters}
        for key, value in record.config.items():
            if value not in values.get(key, ()):
                raise TunerError(f"records[{i}].config: {key}={value!r} is none of its values")
        records.append(record)
    return Table(path, kernels, devices, tuple(records))


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
    return Kernel(name, tuple(data["dims"]), tuple(data["dtypes"]), dict(data["arguments"]), rules)
