"""Files of facts: hardware, systems and models, shipped ones by name, a user's own by path."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from tuner.neuroncore.device_files import SUFFIX, Constant, is_file
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.files import read_text

__all__ = [
    "Count",
    "Facts",
    "Positive",
    "Share",
    "ZeroOrMore",
    "facts_of",
    "kept",
    "names",
    "table_of",
    "to_struct",
]

Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
ZeroOrMore = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]

MAX_FILE_BYTES, MAX_HEIRS = 1 << 20, 8
LARGEST = 1e9
FOLDER = Path(__file__).resolve().parent / "data"
_WORDS = ("kind", "inherits", "constants")
_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_Read = TypeVar("_Read")


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    value: int | float
    tag: Literal["D", "M", "R", "A"]
    source: Annotated[str, msgspec.Meta(min_length=1)]
    range: tuple[float, float] | None = None


class Facts(msgspec.Struct, frozen=True):
    """The content of a file of constants together with what it inherits.

    Attributes:
        name: The stem of the file.
        label: What messages call the file.
        constants: By name, each with its source.
    """

    name: str
    kind: str
    label: str
    constants: dict[str, Constant]


def names(folder: str) -> list[str]:
    """Returns the names of the shipped files of a folder."""
    return sorted(path.stem for path in (FOLDER / folder).glob(f"*{SUFFIX}"))


def kept(read: Callable[[str], _Read]) -> Callable[[str], _Read]:
    """Makes a reader of files read each shipped one once; a user's own may change meanwhile."""
    once = cache(read)
    return wraps(read)(lambda name: read(name) if is_file(name) else once(name))


def table_of(what: str, name: str, folder: str) -> tuple[dict[str, Any], str, Path]:
    """Reads the TOML of a shipped file by its name, or of a file by its path.

    Args:
        what: What messages call its content, e.g. "system".
        name: A shipped name, or a path that ends in `.toml`.
        folder: Where the shipped ones are.

    Returns:
        What it holds, what messages call it, and where it is.

    Raises:
        TunerError: There is no such file, or it is no TOML.
    """
    if not is_file(name):
        if name not in names(folder):
            raise unknown(what, name, names(folder))
        path = FOLDER / folder / f"{name}{SUFFIX}"
        return dict(_shipped(path)), f"{what} {name}", path
    label = f"{what} {name}"
    try:
        text = read_text(name, MAX_FILE_BYTES)
    except TunerError as error:
        raise TunerError(f"{what} {error}") from None
    return _parsed(text, label), label, Path(name)


@cache
def _shipped(path: Path) -> dict[str, Any]:
    return _parsed(path.read_text(encoding="utf-8"), path.name)


def _parsed(text: str, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # of TOML, of a number with thousands of digits
        raise TunerError(f"{label}: {error}") from None
    except RecursionError:
        raise TunerError(f"{label}: nested too deeply") from None


def facts_of(what: str, name: str, folder: str, heirs: tuple[Path, ...] = ()) -> Facts:
    """Reads a file of constants; what it does not state comes from the file that it inherits from.

    Raises:
        TunerError: There is no such file, or something in it is wrong.
    """
    table, label, path = table_of(what, name, folder)
    chain = (*heirs, path.resolve())
    if path.resolve() in heirs or len(chain) > MAX_HEIRS:
        circle = " -> ".join(each.name for each in chain)
        raise TunerError(f"{label} inherits from itself, or too long a line: {circle}")
    for key in table:
        if key not in _WORDS:
            raise unknown(f"key in {label}:", key, _WORDS)
    found: dict[str, Constant] = {}
    kind, inherits, constants = (table.get(word) for word in _WORDS)
    if not isinstance(kind, str):
        raise TunerError(f"{label}: needs kind = ..., e.g. 'gpu'")
    if inherits is not None:
        if not isinstance(inherits, str):
            raise TunerError(f"{label}: inherits = {inherits!r}: expected a name or a path")
        if is_file(inherits):
            inherits = str(path.parent / inherits)
        parent = facts_of(what, inherits, folder, chain)
        if parent.kind != kind:
            raise TunerError(
                f"{label}: a {kind} cannot inherit from {parent.label}, a {parent.kind}"
            )
        found |= parent.constants
    if constants is not None and not isinstance(constants, dict):
        raise TunerError(f"{label}: constants = {constants!r}: expected a table")
    for key, entry in (constants or {}).items():
        found[key] = _constant(key, entry, f"{label}: {key}")
    return Facts(path.stem, kind, label, found)


def _constant(name: str, entry: Any, where: str) -> Constant:
    try:
        given = msgspec.convert(entry, _Entry)
    except msgspec.ValidationError as error:
        form = '{ value = ..., tag = "M", source = "...", range = [low, high] }'
        raise TunerError(f"{where}: {error}; expected {form}") from None
    low, high = given.range or (0.0, LARGEST)
    if not low <= given.value <= high:
        raise TunerError(f"{where} = {given.value!r}: expected {low:g} to {high:g}")
    return Constant(name, given.value, given.tag, given.source, given.range)


def to_struct(facts: Facts, struct: type[_Struct]) -> _Struct:
    """Returns the values of a file as a struct whose other fields are `name` and `constants`.

    Raises:
        TunerError: A constant is missing, unknown, or of another type.
    """
    given = [field.name for field in msgspec.structs.fields(struct)]
    fields = [name for name in given if name not in ("name", "constants")]
    for key in facts.constants:
        if key not in fields:
            raise unknown(f"constant in {facts.label}:", key, fields)
    values = {key: constant.value for key, constant in facts.constants.items()}
    for key in fields:
        if key not in values:
            raise TunerError(f"{facts.label}: lacks {key}")
    try:
        made = msgspec.convert({**values, "name": facts.name}, struct)
    except msgspec.ValidationError as error:
        raise TunerError(f"{facts.label}: {error}") from None
    return msgspec.structs.replace(made, constants=tuple(facts.constants.values()))
