"""Workloads: the sizes and dtype that a kernel runs on, and the shapes of its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import DTYPE_BYTES, Value
from tuner.runtime.sizes import MAX_SIZE, Variants, checked_sizes, workload_key
from tuner.space.checks import parse_expression

__all__ = ["Argument", "ArgumentSpec", "Workload", "parse_argument", "parse_params", "parse_sizes"]

MAX_DIGITS = 10
_ARGUMENT = re.compile(r"(?P<dtype>\w+)\[(?P<shape>[^\[\]]+)\]")
_ALTERNATIVE = re.compile(
    r"\s*(?P<dtype>\w+)\s*\[(?P<shape>[^\[\]]+)\]\s*(?:\bif\b(?P<when>.+))?", re.DOTALL
)


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
class Alternative:
    """What an argument may be: `dtype[1,N] if epilogue == 'bias'`, where `dtype` is the
    workload's.
    """

    dtype: str
    shape: tuple[Expression, ...]
    when: Expression | None
    text: str

    @staticmethod
    def parse(name: str, text: str, dims: Iterable[str], variants: Variants) -> Alternative:
        """Reads one; raises TunerError where it is wrong."""
        match = _ALTERNATIVE.fullmatch(text)
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
        when = None
        if match["when"] is not None:
            known = {*dims, *variants, "dtype_bytes"}
            when = parse_expression(match["when"], f"the condition of {name}", known, variants)
        return Alternative(dtype, shape, when, text)


@dataclass(frozen=True)
class ArgumentSpec:
    """An argument before the workload is known: of its alternatives the first counts whose
    condition holds.
    """

    name: str
    alternatives: tuple[Alternative, ...]

    @staticmethod
    def parse(
        name: str,
        texts: str | Sequence[str],
        dims: Iterable[str],
        variants: Variants | None = None,
    ) -> ArgumentSpec:
        """Reads `dtype[K,M]`, or a list of such; the shape's entries are expressions over the
        dims.

        Raises:
            TunerError: One has another form, or can never be chosen.
        """
        listed = [texts] if isinstance(texts, str) else texts
        found = tuple(Alternative.parse(name, text, dims, variants or {}) for text in listed)
        if not found:
            raise TunerError(f"{name} = []: expected at least one alternative")
        for before, after in pairwise(found):
            if before.when is None:
                raise TunerError(
                    f"{name}: {after.text!r} is never chosen, {before.text!r} before it has no "
                    "condition"
                )
        return ArgumentSpec(name, found)

    @property
    def text(self) -> str | list[str]:
        """What it was read from."""
        texts = [alternative.text for alternative in self.alternatives]
        return texts if len(texts) > 1 else texts[0]

    def bind(self, values: Mapping[str, Value], dtype: str) -> Argument | None:
        """Returns the argument of a workload, None where no alternative is for it.

        Args:
            values: Dims and variants.
            dtype: The workload's.

        Raises:
            TunerError: Its shape is not whole, or empty.
        """
        scope = {**values, "dtype_bytes": DTYPE_BYTES[dtype]}
        for chosen in self.alternatives:
            if chosen.when is None or chosen.when.evaluate(scope):
                break
        else:
            return None
        shape = tuple(size.evaluate(values) for size in chosen.shape)
        if not all(isinstance(size, int) and size >= 1 for size in shape):
            raise TunerError(f"{self.name} = {chosen.text!r}: its shape here is {list(shape)}")
        return Argument(self.name, shape, dtype if chosen.dtype == "dtype" else chosen.dtype)


@dataclass(frozen=True)
class Workload:
    """What a kernel runs on, and in which dtype.

    Attributes:
        sizes: (dim, size) in the order of the kernel's dims, then (variant, word) of the variants
            that are not at their default.
    """

    kernel: str
    sizes: tuple[tuple[str, int | str], ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.kernel} {self.shape} {self.dtype}"

    @property
    def shape(self) -> str:
        """The sizes as the command line takes them."""
        return workload_key(dict(self.sizes))

    @staticmethod
    def of(
        kernel: str,
        dims: tuple[str, ...],
        dtypes: tuple[str, ...],
        sizes: Mapping[str, Any],
        dtype: str,
        variants: Variants | None = None,
    ) -> Workload:
        """Checks sizes and dtype against what the kernel takes.

        Raises:
            TunerError: An unknown or missing dim, a size outside 1..2**31, an unknown variant or
                word of one, or a dtype it does not take.
        """
        checked = checked_sizes(kernel, dims, variants or {}, sizes)
        if dtype not in dtypes:
            raise unknown(f"dtype of {kernel}:", dtype, dtypes)
        return Workload(kernel, tuple(checked.items()), dtype)


def _digits(text: str) -> bool:
    return text.isdecimal() and len(text) <= MAX_DIGITS


def parse_sizes(text: str) -> dict[str, int | str]:
    """Reads `M=1024,K=4096,N=4096,epilogue=bias`: whole numbers, else words.

    Raises:
        TunerError: Names the part that is neither.
    """
    sizes: dict[str, int | str] = {}
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not name.isidentifier() or not (_digits(value) or value.isidentifier()):
            raise TunerError(
                f"shape {text!r}: {part!r} is not DIM=WHOLE NUMBER or VARIANT=WORD, as in "
                "M=1024,K=4096,N=4096"
            )
        if name in sizes:
            raise TunerError(f"shape {text!r}: {name} is given twice")
        sizes[name] = int(value) if _digits(value) else value
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
