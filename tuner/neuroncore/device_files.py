"""Device files: TOML tables of constants, each with its tag and source; what is not stated comes
from the device that the file inherits from.

The shipped ones have a name, a user's own is a path that ends in `.toml`.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tuner.runtime.errors import TunerError, unknown

__all__ = [
    "SUFFIX",
    "TAGS",
    "Constant",
    "DeviceFile",
    "constants_text",
    "device_names",
    "is_file",
    "parse",
    "quoted",
    "read",
    "text_of",
]

_FOLDER = Path(__file__).resolve().parent / "devices"
SUFFIX = ".toml"
TAGS = {"D": "documented", "M": "measured", "R": "derived", "A": "assumed"}
_WORDS = ("core", "inherits", "note")
_ENTRY = ("value", "tag", "source", "range")
_MAY_BE_ZERO = ("_ns", "_us", "_cycles", "_percent", "_threshold", "run_bytes_min")
_LARGEST = 1e9


@dataclass(frozen=True)
class Constant:
    """One constant with where it comes from; `range` is where calibration may look."""

    name: str
    value: float | bool
    tag: str
    source: str
    range: tuple[float, float] | None


@dataclass(frozen=True)
class DeviceFile:
    """The content of a device file together with what it inherits.

    Attributes:
        name: The device's name: the stem of the file.
        core: The NeuronCore's version.
        constants: In the order of the file, those of its parent first.
        note: What to know of its times, a sentence without its dot; may be empty.
    """

    name: str
    core: str
    constants: tuple[Constant, ...]
    note: str = ""


def device_names() -> list[str]:
    """Returns the names of the shipped devices."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{SUFFIX}"))


def is_file(name: str) -> bool:
    """Whether a device is named by the path of its file."""
    return name.endswith(SUFFIX)


def read(name: str, known: Iterable[str]) -> DeviceFile:
    """Reads a shipped device by its name, or a device file by its path.

    Args:
        name: A shipped name, or a path that ends in `.toml`.
        known: The names that a constant may have.

    Raises:
        TunerError: There is no such device, or something in its file is wrong.
    """
    return _read(name, tuple(known), ())


def parse(text: str, name: str, known: Iterable[str]) -> DeviceFile:
    """Reads a device file's text; it may inherit from a shipped device only.

    Raises:
        TunerError: Something in it is wrong.
    """
    label = f"device file {name}"
    stem = Path(name).stem if is_file(name) else name
    return _resolved(_tables(text, label), stem, label, None, tuple(known), ())


def text_of(file: DeviceFile) -> str:
    """Returns the text of a device file that states every constant and inherits nothing."""
    note = f"note = {quoted(file.note)}\n" if file.note else ""
    return f"core = {quoted(file.core)}\n{note}{constants_text(file.constants)}"


def constants_text(constants: Iterable[Constant]) -> str:
    """Writes constants as the tables of a device file, each table once."""
    sections: dict[str, list[str]] = {}
    for constant in constants:
        section, _, key = constant.name.partition(".")
        span = constant.range
        limits = "" if span is None else f", range = [{quoted(span[0])}, {quoted(span[1])}]"
        told = f'tag = "{constant.tag}", source = {quoted(constant.source)}'
        line = f"{key} = {{ value = {quoted(constant.value)}, {told}{limits} }}"
        sections.setdefault(section, []).append(line)
    return "".join(
        f"\n[{section}]\n" + "".join(f"{line}\n" for line in lines)
        for section, lines in sections.items()
    )


def quoted(value: str | float) -> str:
    """Writes a value as TOML does: as JSON, which escapes one character less."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(name: str, known: tuple[str, ...], heirs: tuple[Path, ...]) -> DeviceFile:
    """Reads a device; `heirs` are the files that inherit from it, the first asked for first."""
    if not is_file(name):
        if name not in device_names():
            raise unknown("device", name, device_names())
        return _shipped(_FOLDER, name, known)
    path = Path(name)
    label = f"device file {name}"
    if path.stem in device_names():
        raise TunerError(f"{label}: {path.stem} is a shipped device; give the file another name")
    chain = (*heirs, path.resolve())
    if path.resolve() in heirs:
        circle = " -> ".join(each.name for each in chain)
        raise TunerError(f"{label} inherits from itself: {circle}")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TunerError(f"{label}: {error.strerror or error}") from None
    except ValueError as error:
        raise TunerError(f"{label}: not a text file ({error})") from None
    return _resolved(_tables(text, label), path.stem, label, path.parent, known, chain)


@cache
def _shipped(folder: Path, name: str, known: tuple[str, ...]) -> DeviceFile:
    text = (folder / f"{name}{SUFFIX}").read_text(encoding="utf-8")
    label = f"device file {name}{SUFFIX}"
    return _resolved(_tables(text, label), name, label, None, known, ())


def _tables(text: str, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TunerError(f"{label}: {error}") from None


def _resolved(
    data: dict[str, Any],
    name: str,
    label: str,
    folder: Path | None,
    known: tuple[str, ...],
    heirs: tuple[Path, ...],
) -> DeviceFile:
    """Checks a file's content and adds what it inherits; paths in it begin at `folder`."""
    core, note, parent = _word(data, "core", label), _word(data, "note", label), None
    if (inherits := _word(data, "inherits", label)) is not None:
        if is_file(inherits):
            if folder is None:
                raise TunerError(f"{label}: inherits = {inherits!r}: expected a shipped device")
            inherits = str(folder / inherits)
        parent = _read(inherits, known, heirs)
    if core is None:
        if parent is None:
            raise TunerError(f"{label}: needs core = ... or inherits = ..., as in 'trn2'")
        core = parent.core
    if note is None and parent is not None and parent.core == core:
        note = parent.note
    found: dict[str, Constant] = {}
    if parent is not None:
        found = {c.name: _inherited(c, parent, core) for c in parent.constants}
    for section, entries in data.items():
        if section in _WORDS:
            continue
        if not isinstance(entries, dict):
            raise unknown(f"key in {label}:", section, [*_WORDS, *_sections(known)])
        for key, entry in entries.items():
            stated = f"{section}.{key}"
            if stated not in known:
                raise unknown(f"constant in {label}:", stated, known)
            found[stated] = _constant(stated, entry, label)
    missing = [each for each in known if each not in found]
    if missing:
        raise TunerError(f"{label}: without inherits it needs every constant, lacks {missing[0]}")
    return DeviceFile(name, core, tuple(found.values()), note or "")


def _sections(known: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(each.partition(".")[0] for each in known))


def _word(data: dict[str, Any], key: str, label: str) -> str | None:
    value = data.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise TunerError(f"{label}: {key} = {value!r}: expected a text")
    return value


def _inherited(constant: Constant, parent: DeviceFile, core: str) -> Constant:
    """What is known of a core is assumed of another one."""
    if core == parent.core:
        return constant
    source = f"as on {parent.name}: {constant.source}"
    return Constant(constant.name, constant.value, "A", source, constant.range)


def _constant(name: str, entry: Any, label: str) -> Constant:
    where = f"{label}: {name}"
    if not isinstance(entry, dict) or "value" not in entry:
        form = '{ value = ..., tag = "M", source = "...", range = [low, high] }'
        raise TunerError(f"{where}: expected {form}")
    for key in entry:
        if key not in _ENTRY:
            raise unknown(f"key of {where}:", key, _ENTRY)
    value, tag, source = entry["value"], entry.get("tag"), entry.get("source")
    if tag not in TAGS or not isinstance(source, str) or not source.strip():
        raise TunerError(f"{where} needs a tag ({', '.join(TAGS)}) and a source")
    span = entry.get("range")
    if span is not None:
        if not isinstance(span, list) or len(span) != 2 or not all(map(_is_number, span)):
            raise TunerError(f"{where}: range = {span!r}: expected [low, high]")
        if not span[0] < span[1]:
            raise TunerError(f"{where}: range = {span!r}: the first must be below the second")
        if not _is_number(value) or not span[0] <= value <= span[1]:
            raise TunerError(f"{where} = {value!r} is outside its range {span[0]} .. {span[1]}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        rate = name.endswith("bytes_per_ns") or not name.endswith(_MAY_BE_ZERO)
        if not 0 <= value <= _LARGEST or (rate and value == 0):
            least = "more than 0" if rate else "0 or more"
            raise TunerError(
                f"{where} = {value!r}: expected a finite number, {least}, up to {_LARGEST:g}"
            )
    return Constant(name, value, tag, source, None if span is None else (span[0], span[1]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
