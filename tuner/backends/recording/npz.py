"""Reads and writes recordings as compressed numpy archives (`.npz`)."""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tuner.backends.base import Status
from tuner.backends.recording.recorded import PHASES, Floats, Recording
from tuner.backends.recording.values import parameters_of, sorted_values
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.files import read_json
from tuner.runtime.rules import Config, Value
from tuner.space import INACTIVE, SearchSpace

__all__ = ["read_npz", "write_npz"]

MAX_UNPACKED_BYTES = 512 << 20
MAX_VALUES = 10_000_000
UNKNOWN_FAILURE = Status.RUNTIME
"""The status of a failed config where the file has no status words."""

_UNREADABLE = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
_FIELDS = {"X": "iu", "time_ms": "f", "time_sd_ms": "f", "meta": "U", "status": "U"}
_FIELDS |= {f"{phase}_ms": "f" for phase in PHASES}
_FIELDS |= {"active": "b", "reason": "iu", "error_percent": "f"}
_REQUIRED = ("X", "time_ms", "meta")


def read_npz(path: Path, file: BinaryIO) -> Recording:
    """Reads a recording from a file that is open; raises TunerError that says what is wrong,
    without the file's name.
    """
    arrays = _arrays(file)
    meta = _meta(arrays["meta"])
    rows, values = _rows(arrays, meta)
    space = SearchSpace.of_rows(parameters_of(values), rows, _default(meta, values))
    order = np.argsort(space.rows_of(rows))  # a space has its own
    arrays = {name: array[order] if array.shape else array for name, array in arrays.items()}
    with np.errstate(over="ignore"):  # what is no time is refused as such
        time_us = arrays["time_ms"].astype(np.float64) * 1000
    costs = {p: _seconds(arrays[f"{p}_ms"]) for p in PHASES if f"{p}_ms" in arrays}
    reasons = _reasons(arrays, meta)
    error_percent = arrays.get("error_percent")
    return Recording(
        name=_text(meta, "name") or path.stem,
        space=space,
        time_us=time_us,
        spread_us=_spread(arrays, len(rows)),
        status=_statuses(arrays, time_us),
        kind=_text(meta, "kind") or "measured",
        device=_text(meta, "device"),
        kernel=_text(meta, "kernel"),
        cost_s=sum(costs.values(), start=np.zeros(len(rows))),
        meta=meta,
        reasons=reasons,
        costs_s=costs,
        error_percent=None if error_percent is None else error_percent.astype(np.float64),
    )


def _arrays(file: BinaryIO) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MAX_UNPACKED_BYTES:
                raise TunerError(f"more than {MAX_UNPACKED_BYTES >> 20} MiB unpacked")
            there = {name for name in _FIELDS if f"{name}.npy" in archive.namelist()}
            missing = [name for name in _REQUIRED if name not in there]
            if missing:
                raise TunerError(f"no array {missing[0]!r}, expected {', '.join(_REQUIRED)}")
            arrays = {name: _array(archive, name) for name in _FIELDS if name in there}
    except _UNREADABLE as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise TunerError(f"not a readable npz archive ({told})") from None
    _check_forms(arrays)
    return arrays


def _array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """Reads one array; what its header declares must be what there is, before memory is taken."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0", None)
        if read_header is None:
            raise TunerError(f"{name} is of npy version {version[0]}, expected 1 or 2")
        shape, _, dtype = read_header(file)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise TunerError(f"{name} declares shape {shape} of {dtype}, more than there is of it")
    with archive.open(member) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _check_forms(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    shape = arrays["X"].shape
    if len(shape) != 2 or not min(shape):
        raise TunerError(f"X has shape {shape}, expected (configs, parameters)")
    for name, array in arrays.items():
        expected = {"X": shape, "active": shape, "meta": ()}.get(name, shape[:1])
        if array.shape != expected:
            raise TunerError(f"{name} has shape {array.shape}, expected {expected}")
        if array.dtype.kind not in _FIELDS[name]:
            kinds = {"iu": "integers", "f": "floats", "U": "text", "b": "booleans"}
            raise TunerError(f"{name} is {array.dtype}, expected {kinds[_FIELDS[name]]}")


def _meta(text: npt.NDArray[Any]) -> dict[str, Any]:
    try:
        meta = read_json(str(text), MAX_VALUES)
    except (ValueError, RecursionError) as error:
        raise TunerError(f"meta is not JSON ({str(error)[:100]})") from None
    if not isinstance(meta, dict) or not isinstance(meta.get("values"), dict):
        raise TunerError("meta: expected an object with 'values': parameter -> its values")
    return meta


def _text(meta: Mapping[str, Any], name: str) -> str:
    value = meta.get(name, "")
    if not isinstance(value, str):
        raise TunerError(f"meta.{name}: expected text")
    return value


def _rows(
    arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]
) -> tuple[npt.NDArray[np.int64], dict[str, tuple[Value, ...]]]:
    """Returns the rows with the indices of sorted values, and these values."""
    rows = arrays["X"].astype(np.int64)
    listed: dict[str, Any] = meta["values"]
    if len(listed) != rows.shape[1]:
        raise TunerError(f"X has {rows.shape[1]} columns, meta.values {len(listed)} parameters")
    values = {}
    for column, (name, given) in enumerate(listed.items()):
        if not isinstance(given, list):
            raise TunerError(f"meta.values.{name}: expected a list")
        values[name] = sorted_values(name, given)
        if len(values[name]) != len(given):
            raise TunerError(f"meta.values.{name}: a value stands twice")
        if rows[:, column].min() < 0 or rows[:, column].max() >= len(given):
            raise TunerError(f"X, column {column} ({name}): expected 0 to {len(given) - 1}")
        place = np.array([values[name].index(value) for value in given])
        rows[:, column] = place[rows[:, column]]
    if "active" in arrays:
        rows[~arrays["active"]] = INACTIVE
    return rows, values


def _default(meta: Mapping[str, Any], values: Mapping[str, tuple[Value, ...]]) -> Config | None:
    default = meta.get("default")
    if default is not None and not isinstance(default, dict):
        raise TunerError("meta.default: expected a config")
    fixed = meta.get("fixed")
    known: dict[str, Any] = fixed if isinstance(fixed, dict) else {}
    for name, value in (default or {}).items():
        if value not in values.get(name, (known.get(name),)):
            raise TunerError(f"meta.default: {name}={str(value)[:40]} is none of its values")
    return None if default is None else {k: v for k, v in default.items() if k in values}


def _spread(arrays: Mapping[str, npt.NDArray[Any]], configs: int) -> Floats:
    if "time_sd_ms" not in arrays:
        return np.full(configs, np.nan)
    with np.errstate(over="ignore"):
        spread: Floats = arrays["time_sd_ms"].astype(np.float64) * 1000
    return spread


def _seconds(milliseconds: npt.NDArray[Any]) -> Floats:
    return np.nan_to_num(milliseconds.astype(np.float64) / 1000, posinf=0, neginf=0)


def _statuses(arrays: Mapping[str, npt.NDArray[Any]], time_us: Floats) -> tuple[Status, ...]:
    if "status" not in arrays:
        timed = np.isfinite(time_us).tolist()
        return tuple(Status.CORRECT if each else UNKNOWN_FAILURE for each in timed)
    by_word = {status.value: status for status in Status}
    words = arrays["status"].tolist()
    for word in set(words):
        if word not in by_word:
            raise unknown("status", word[:40], by_word)
    return tuple(by_word[word] for word in words)


def _reasons(arrays: Mapping[str, npt.NDArray[Any]], meta: dict[str, Any]) -> tuple[str, ...]:
    """Takes the texts out of `meta`."""
    texts = meta.pop("reasons", [])
    if "reason" not in arrays:
        return ()
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TunerError("meta.reasons: expected a list of texts")
    numbers = arrays["reason"].astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= len(texts):
        raise TunerError(f"reason: expected 0 to {len(texts) - 1}, the texts of meta.reasons")
    return tuple(texts[number] for number in numbers.tolist())


def write_npz(recording: Recording, path: Path) -> None:
    """Writes a recording; the file is replaced as a whole or not at all.

    Raises:
        TunerError: It cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise TunerError(f"{path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **_written(recording))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            raise TunerError(f"{path}: {error.strerror or error}") from None
        raise


def _written(recording: Recording) -> dict[str, Any]:
    rows, parameters = recording.space.rows, recording.space.parameters
    fixed = [len(p.values) == 1 and INACTIVE not in rows[:, i] for i, p in enumerate(parameters)]
    fixed[0] &= not all(fixed)  # no file can be read that has no parameter
    varied = [i for i, one in enumerate(fixed) if not one]
    rows = rows[:, varied]
    active = rows != INACTIVE
    kept = [parameters[i] for i in varied]
    widest = max((len(parameter.values) for parameter in kept), default=1)
    costs = recording.costs_s or {"bench": recording.cost_s}
    nothing = np.zeros(len(rows))
    arrays: dict[str, Any] = {
        "X": np.where(active, rows, 0).astype(np.uint8 if widest <= 256 else np.uint16),
        "time_ms": _milliseconds(recording.time_us),
        "time_sd_ms": (recording.spread_us / 1000).astype(np.float32),
        **{f"{p}_ms": (costs.get(p, nothing) * 1000).astype(np.float32) for p in PHASES},
        "status": np.array([status.value for status in recording.status]),
    }
    if not active.all():
        arrays["active"] = active
    if recording.error_percent is not None:
        arrays["error_percent"] = recording.error_percent.astype(np.float32)
    meta: dict[str, Any] = {
        "problem_size": "",
        "source": "",
        **recording.meta,
        "name": recording.name,
        "device": recording.device,
        "kernel": recording.kernel,
        "kind": recording.kind,
        "values": {parameter.name: list(parameter.values) for parameter in kept},
        "fixed": {
            **recording.meta.get("fixed", {}),
            **{p.name: p.values[0] for p, one in zip(parameters, fixed, strict=True) if one},
        },
    }
    if recording.reasons:
        texts = {text: number for number, text in enumerate(dict.fromkeys(recording.reasons))}
        arrays["reason"] = np.array([texts[text] for text in recording.reasons], np.uint32)
        meta["reasons"] = list(texts)
    return {**arrays, "meta": np.array(json.dumps(meta))}


def _milliseconds(time_us: Floats) -> Floats:
    """Milliseconds that give, times 1000, the same microseconds again, where there are such."""
    time_ms = time_us / 1000
    timed = np.isfinite(time_ms)
    for limit in (0, np.inf):
        other = np.where(timed, np.nextafter(time_ms, limit), 0)
        better = timed & (time_ms * 1000 != time_us) & (other * 1000 == time_us)
        time_ms = np.where(better, other, time_ms)
    return time_ms
