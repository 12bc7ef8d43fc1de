"""Reads Kernel Tuner's two JSON formats: T4 results and cache files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuner.backends.base import Status
from tuner.backends.recording.recorded import PHASES, Recording
from tuner.backends.recording.values import parameters_of, sorted_values
from tuner.runtime import files
from tuner.runtime.errors import TunerError, unknown
from tuner.space import SearchSpace

__all__ = ["read_json"]

MAX_VALUES = 30_000_000
TIME = "time"
FAILED_TIME = 1e20
"""Older files give this as the time of what failed."""

_STATUS = {
    "InvalidConfig": Status.CONSTRAINTS,
    "CompilationFailedConfig": Status.COMPILE,
    "RuntimeFailedConfig": Status.RUNTIME,
    "ErrorConfig": Status.RUNTIME,
}
_MILLISECONDS = {
    "": 1.0,
    "ms": 1.0,
    "miliseconds": 1.0,  # as all files of the benchmark hub spell it
    "milliseconds": 1.0,
    "s": 1e3,
    "seconds": 1e3,
    "us": 1e-3,
    "microseconds": 1e-3,
    "ns": 1e-6,
    "nanoseconds": 1e-6,
}


@dataclass(frozen=True)
class _Entry:
    """A config with what became of it; times in milliseconds, costs as in `PHASES`."""

    config: Mapping[str, Any]
    status: Status
    time_ms: float = math.inf
    runs_ms: Sequence[float] = ()
    reason: str = ""
    costs_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)


def read_json(path: Path, text: str) -> Recording:
    """Reads a T4 results or cache file; raises TunerError without the file's name."""
    data = _parsed(text)
    if isinstance(data, dict) and isinstance(data.get("results"), list):
        return _t4(path, data)
    if isinstance(data, dict) and isinstance(data.get("cache"), dict):
        return _cache(path, data)
    raise TunerError("expected T4 results ('results': [...]) or a cache file ('cache': {...})")


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        raise TunerError("no recording: neither npz nor JSON")
    try:
        return files.read_json(text, MAX_VALUES)
    except RecursionError:
        raise TunerError("nested too deeply") from None
    except ValueError as error:
        told = str(error)
    try:  # a cache file is written line by line, and closed at the end only
        return files.read_json(text.rstrip().removesuffix(",") + "}}", MAX_VALUES)
    except (ValueError, RecursionError):
        raise TunerError(f"not JSON ({told[:200]})") from None


def _t4(path: Path, data: Mapping[str, Any]) -> Recording:
    metadata = data.get("metadata")
    unit = str(metadata.get("timeunit", "")) if isinstance(metadata, dict) else ""
    entries = [_t4_entry(f"results[{i}]", one, unit) for i, one in enumerate(data["results"])]
    meta = {"source": path.name, "schema_version": str(data.get("schema_version", ""))}
    return _recording(path, entries, {}, meta)


def _t4_entry(where: str, result: Any, unit: str) -> _Entry:
    result = _object(where, result)
    times = _object(f"{where}.times", result.get("times", {}))
    word = result.get("invalidity")
    by_word = {status.value: status for status in Status}
    if not isinstance(word, str) or word not in by_word:
        raise unknown(f"word in {where}.invalidity:", word, by_word)
    measured = result.get("measurements", [])
    if not isinstance(measured, list):
        raise TunerError(f"{where}.measurements: expected a list")
    found = {
        str(each.get("name")): each
        for i, each in enumerate(measured)
        if _object(f"{where}.measurements[{i}]", each)
    }
    took = found.get(TIME, {})
    scale = _milliseconds(f"{where}.measurements", took.get("unit") or unit)
    config = _object(f"{where}.configuration", result.get("configuration"))
    scale_runs = _milliseconds("metadata", unit)
    runs = [run * scale_runs for run in _runs(f"{where}.times.runtimes", times.get("runtimes", []))]
    bench = _number(where, times, "benchmark") if "benchmark" in times else sum(runs)
    costs = (
        _number(where, times, "compilation", "compilation_time"),
        bench + _number(where, times, "validation"),
        _number(where, times, "framework"),
    )
    status = by_word[word]
    if status != Status.CORRECT:
        value = took.get("value", "")
        return _Entry(
            config, status, reason=value if isinstance(value, str) else "", costs_ms=costs
        )
    if TIME not in found:
        there = ", ".join(found) or "none"
        raise TunerError(f"{where}.measurements: {there}; expected one with the name {TIME!r}")
    time_ms = _time(f"{where}.measurements", took.get("value")) * scale
    return _Entry(config, status, time_ms, runs, costs_ms=costs)


def _cache(path: Path, data: Mapping[str, Any]) -> Recording:
    listed = _object("tune_params", data.get("tune_params"))
    names = data.get("tune_params_keys", list(listed))
    if not isinstance(names, list) or set(map(str, names)) != set(listed):
        raise TunerError("tune_params_keys: expected the names of tune_params")
    entries = [_cache_entry(f"cache[{k!r:.60}]", e, names) for k, e in data["cache"].items()]
    values = {name: listed[name] for name in names}
    for name, given in values.items():
        if not isinstance(given, list):
            raise TunerError(f"tune_params.{name}: expected a list")
    meta = {
        "device": _text(data.get("device_name")),
        "kernel": _text(data.get("kernel_name")),
        "problem_size": _text(data.get("problem_size")),
        "source": path.name,
    }
    return _recording(path, entries, values, meta)


def _cache_entry(where: str, entry: Any, names: Sequence[str]) -> _Entry:
    entry = _object(where, entry)
    missing = [name for name in names if name not in entry]
    if missing:
        raise TunerError(f"{where}: no value of parameter {missing[0]!r}")
    config = {name: entry[name] for name in names}
    bench = _number(where, entry, "benchmark_time") + _number(where, entry, "verification_time")
    costs = (
        _number(where, entry, "compile_time"),
        bench,
        _number(where, entry, "framework_time"),
    )
    told = [entry[key] for key in ("__error__", TIME) if isinstance(entry.get(key), str)]
    if told:
        if told[0] not in _STATUS:
            raise unknown(f"error in {where}:", told[0][:40], _STATUS)
        return _Entry(config, _STATUS[told[0]], reason=told[0], costs_ms=costs)
    if TIME not in entry:
        raise TunerError(f"{where}: no {TIME!r}, expected milliseconds")
    time_ms = _time(where, entry[TIME])
    if not time_ms < FAILED_TIME:  # nor NaN
        return _Entry(config, Status.RUNTIME, costs_ms=costs)
    runs = _runs(f"{where}.times", entry.get("times", []))
    return _Entry(config, Status.CORRECT, time_ms, runs, costs_ms=costs)


def _recording(
    path: Path,
    entries: Sequence[_Entry],
    listed: Mapping[str, Sequence[Any]],
    meta: Mapping[str, Any],
) -> Recording:
    """Builds the recording; of a config that stands several times the first counts."""
    if not entries:
        raise TunerError("no config in it")
    names = list(listed) or list(entries[0].config)
    for number, entry in enumerate(entries):
        if set(entry.config) != set(names):
            raise TunerError(f"config {number} has other parameters than {', '.join(names)}")
    every = {
        name: sorted_values(name, [*listed.get(name, ()), *(e.config[name] for e in entries)])
        for name in names
    }
    values = {name: given for name, given in every.items() if len(given) > 1}
    if not values:
        raise TunerError("no parameter has more than one value")
    places = {name: {value: i for i, value in enumerate(v)} for name, v in values.items()}
    rows = np.array([[places[name][e.config[name]] for name in values] for e in entries], np.int64)
    rows, first = np.unique(rows, axis=0, return_index=True)
    space = SearchSpace.of_rows(parameters_of(values), rows)
    kept = [entries[number] for number in first[np.argsort(space.rows_of(rows))]]
    costs = dict(zip(PHASES, np.array([entry.costs_ms for entry in kept]).T / 1000, strict=True))
    return Recording(
        name=path.name.removesuffix(".gz").removesuffix(".json"),
        space=space,
        time_us=np.array([entry.time_ms for entry in kept]) * 1000,
        spread_us=np.array([_spread_ms(entry) for entry in kept]) * 1000,
        status=tuple(entry.status for entry in kept),
        kind="measured",
        device=str(meta.get("device", "")),
        kernel=str(meta.get("kernel", "")),
        cost_s=sum(costs.values(), start=np.zeros(len(kept))),
        meta={**meta, "fixed": {name: v[0] for name, v in every.items() if name not in values}},
        reasons=tuple(entry.reason for entry in kept),
        costs_s=costs,
    )


def _spread_ms(entry: _Entry) -> float:
    return float(np.std(entry.runs_ms, ddof=1)) if len(entry.runs_ms) > 1 else math.nan


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TunerError(f"{where}: expected an object")
    return value


def _text(value: Any) -> str:
    """Texts as they are; sizes, which may be numbers or lists, as JSON."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(where: str, values: Mapping[str, Any], *names: str) -> float:
    """The first of these that is there, 0 where none is."""
    for name in names:
        if name in values:
            value = values[name]
            if not _is_number(value) or not 0 <= value < FAILED_TIME:
                raise TunerError(f"{where}: {name} is {str(value)[:40]!r}, expected milliseconds")
            return float(value)
    return 0.0


def _time(where: str, value: Any) -> float:
    if not _is_number(value):
        raise TunerError(f"{where}: the time is {str(value)[:40]!r}, expected a number")
    return float(value) if abs(value) < FAILED_TIME else math.inf


def _runs(where: str, values: Any) -> list[float]:
    if not isinstance(values, list) or not all(_is_number(value) for value in values):
        raise TunerError(f"{where}: expected a list of numbers")
    return [float(value) for value in values if abs(value) < FAILED_TIME]


def _milliseconds(where: str, unit: Any) -> float:
    if not isinstance(unit, str) or unit not in _MILLISECONDS:
        raise unknown(f"unit of time in {where}:", unit, [u for u in _MILLISECONDS if u])
    return _MILLISECONDS[unit]
