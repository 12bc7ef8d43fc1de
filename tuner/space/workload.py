"""Workloads: the sizes and dtype that a kernel runs on, and the shapes of its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import DTYPE_BYTES, MAX_SIZE, Value, workload_key

__all__ = ["Argument", "ArgumentSpec", "Workload", "parse_argument", "parse_params", "parse_sizes"]

MAX_DIGITS = 10
_ARGUMENT = re.compile(r"(?P<dtype>\w+)\[(?P<shape>[^\[\]]+)\]")


@dataclass(frozen=True)
class Argument:
    """One tensor a kernel takes: its keyword, shape (elements) and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Size in memory."""
        total = DTYPE_BYTES[self.dtype]
        for size in self.shape:
            total *= size
        return total


@dataclass(frozen=True)
class ArgumentSpec:
    """An argument before the sizes are known: `dtype[K,M]`, where `dtype` is the workload's."""

    name: str
    dtype: str
    shape: tuple[Expression, ...]
    text: str

    @staticmethod
    def parse(name: str, text: str, dims: Iterable[str]) -> ArgumentSpec:
        """Reads `dtype[K,M]` or `float32[1,N]`; the shape's entries are expressions over the
        dims.
        """
        match = _ARGUMENT.fullmatch(text.replace(" ", ""))
        if match is None:
            raise TunerError(
                f"{name} = {text!r}: expected something like 'dtype[{','.join(dims)}]'"
            )
        dtype = match["dtype"]
        if dtype != "dtype" and dtype not in DTYPE_BYTES:
            raise unknown(f"dtype of {name}:", dtype, ["dtype", *DTYPE_BYTES])
        shape = tuple(Expression(size, name) for size in match["shape"].split(","))
        for size in shape:
            for used in size.names - set(dims):
                raise unknown(f"dim of {name}:", used, dims)
        return ArgumentSpec(name, dtype, shape, text)

    def bind(self, sizes: Mapping[str, int], dtype: str) -> Argument:
        """Returns the argument for these sizes; raises TunerError when its shape is not whole or
        empty.
        """
        shape = tuple(size.evaluate(sizes) for size in self.shape)
        if not all(isinstance(size, int) and size >= 1 for size in shape):
            raise TunerError(f"{self.name} = {self.text!r}: its shape here is {list(shape)}")
        return Argument(self.name, shape, dtype if self.dtype == "dtype" else self.dtype)


@dataclass(frozen=True)
class Workload:
    """The sizes, in the order of the kernel's dims, and the dtype a kernel runs on."""

    kernel: str
    sizes: tuple[tuple[str, int], ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.kernel} {self.shape} {self.dtype}"

    @property
    def shape(self) -> str:
        """The sizes as the command line takes them."""
        return workload_key([dim for dim, _ in self.sizes], dict(self.sizes))

    @staticmethod
    def of(
        kernel: str,
        dims: tuple[str, ...],
        dtypes: tuple[str, ...],
        sizes: Mapping[str, Any],
        dtype: str,
    ) -> Workload:
        """Checks sizes and dtype against what the kernel takes.

        Raises:
            TunerError: An unknown or missing dim, a size outside 1..2**31, or a dtype it does not
                take.
        """
        for dim, size in sizes.items():
            if dim not in dims:
                raise unknown(f"dim of {kernel}:", dim, dims)
            if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_SIZE:
                raise TunerError(
                    f"{kernel}: {dim}={size!r}: expected a whole number from 1 to {MAX_SIZE}"
                )
        missing = [dim for dim in dims if dim not in sizes]
        if missing:
            raise TunerError(
                f"{kernel} needs a size for {', '.join(missing)} (its dims: {', '.join(dims)})"
            )
        if dtype not in dtypes:
            raise unknown(f"dtype of {kernel}:", dtype, dtypes)
        return Workload(kernel, tuple((dim, sizes[dim]) for dim in dims), dtype)


def _digits(text: str) -> bool:
    return text.isdecimal() and len(text) <= MAX_DIGITS


def parse_sizes(text: str) -> dict[str, int]:
    """Reads `M=1024,K=4096,N=4096`.

    Raises:
        TunerError: Names the part that is not `DIM=WHOLE NUMBER`.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        dim, equals, number = part.partition("=")
        dim = dim.strip()
        if not equals or not dim.isidentifier() or not _digits(number.strip()):
            raise TunerError(
                f"shape {text!r}: {part!r} is not DIM=WHOLE NUMBER, as in M=1024,K=4096,N=4096"
            )
        if dim in sizes:
            raise TunerError(f"shape {text!r}: {dim} is given twice")
        sizes[dim] = int(number)
    return sizes


def parse_argument(text: str) -> Argument:
    """Reads `lhsT=bfloat16[4096,1024]`.

    Raises:
        TunerError: The text has another form, an unknown dtype or a size below 1.
    """
    name, _, spec = text.partition("=")
    match = _ARGUMENT.fullmatch(spec.replace(" ", ""))
    sizes = [] if match is None else match["shape"].split(",")
    if match is None or not name.isidentifier() or not all(map(_digits, sizes)):
        raise TunerError(f"argument {text!r}: expected something like lhsT=bfloat16[4096,1024]")
    if match["dtype"] not in DTYPE_BYTES:
        raise unknown("dtype", match["dtype"], DTYPE_BYTES)
    shape = tuple(int(size) for size in sizes)
    if not all(1 <= size <= MAX_SIZE for size in shape):
        raise TunerError(f"argument {text!r}: a size is outside 1..{MAX_SIZE}")
    return Argument(name, shape, match["dtype"])


def parse_params(texts: Iterable[str]) -> dict[str, Value]:
    """Reads `tiles_m=4`: whole numbers, numbers, true, false, else text.

    Raises:
        TunerError: A text is not NAME=VALUE, or a name stands twice.
    """
    params: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or not value:
            raise TunerError(f"parameter {text!r}: expected NAME=VALUE, as in tiles_m=4")
        if name in params:
            raise TunerError(f"parameter {name!r} is given twice")
        params[name] = _value(value)
    return params


def _value(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
