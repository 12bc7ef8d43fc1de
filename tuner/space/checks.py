"""Checks of what a search space says: its names, variants, parameters and expressions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import Parameter, Value
from tuner.runtime.sizes import Variants

__all__ = ["RESERVED", "check_names", "make_parameters", "make_variants", "parse_expression"]

MAX_VALUES = 1000
RESERVED = {"dtype", "device", "backend", "expect", "max_distance", "kernel", "dtype_bytes"}


def check_names(
    dims: Iterable[str],
    variants: Iterable[str],
    parameters: Iterable[str],
    keywords_besides: Iterable[str],
) -> None:
    """Refuses a name that means two things: dims, variants and parameters are asked for together,
    and all but dims are keywords of the kernel.

    Raises:
        TunerError: Names it and what it is.
    """
    kinds: dict[str, str] = {}
    listed = (("a dim", dims), ("a variant", variants), ("a parameter", parameters))
    for kind, names in listed:
        for name in names:
            if not name.isidentifier() or name in RESERVED:
                raise TunerError(f"{name!r} cannot be the name of a dim, variant or parameter")
            if name in kinds:
                raise TunerError(f"{name!r} is both {kinds[name]} and {kind}")
            kinds[name] = kind
    for name in keywords_besides:
        if kinds.get(name, "a dim") != "a dim":
            raise TunerError(f"{name!r} is both an input and {kinds[name]}")


def make_variants(entries: Mapping[str, Sequence[str]]) -> Variants:
    """Checks variants, given by name as words, the default first.

    Raises:
        TunerError: Names the variant and what was expected.
    """
    for name, words in entries.items():
        where = f"workload.variants.{name}"
        if not words or len(set(words)) != len(words):
            raise TunerError(f"{where}: expected at least one word, each once")
        for word in words:
            if not word.isidentifier():
                raise TunerError(f"{where}: {word!r} is no word of letters, digits and _")
    return {name: tuple(words) for name, words in entries.items()}


def make_parameters(
    entries: Mapping[str, tuple[Sequence[Value], Value, str | None]],
    scope: set[str],
    variants: Variants,
) -> tuple[Parameter, ...]:
    """Checks parameters, given by name as values, default and `when`; numbers are sorted.

    Args:
        entries: The parameters, in order.
        scope: Names that a `when` may use besides the parameters before.
        variants: Those among them that are words.

    Raises:
        TunerError: Names the parameter and what was expected.
    """
    if not entries:
        raise TunerError("parameters: expected at least one")
    parameters: list[Parameter] = []
    for name, (listed, default, condition) in entries.items():
        where = f"parameters.{name}"
        kinds = {type(value) for value in listed}
        if not 1 <= len(listed) <= MAX_VALUES or len(kinds) != 1:
            raise TunerError(f"{where}.values: expected 1 to {MAX_VALUES} values of one type")
        if len(set(listed)) != len(listed):
            raise TunerError(f"{where}.values: a value stands twice")
        if default not in listed or type(default) not in kinds:
            raise TunerError(f"{where}.default: {default!r} is none of its values {listed}")
        values: list[Value] = list(listed)
        if kinds <= {int, float}:
            values.sort(key=float)
        when = None
        if condition is not None:
            earlier: dict[str, Sequence[Value]] = {p.name: p.values for p in parameters}
            choices = {**variants, **earlier}
            when = parse_expression(condition, f"{where}.when", scope | set(earlier), choices)
        parameters.append(Parameter(name, tuple(values), default, when))
    return tuple(parameters)


def parse_expression(
    text: str, where: str, known: set[str], choices: Mapping[str, Sequence[Value]]
) -> Expression:
    """Parses a text that may use the `known` names, where `device.*` stands for all of these.

    Args:
        text: The text.
        where: Its place, for messages.
        known: The names.
        choices: What some of them may be: a comparison with another word could never hold.

    Raises:
        TunerError: It is no expression, uses another name, or compares one with a word that it
            never is.
    """
    expression = Expression(text, where)
    for name in sorted(expression.names):
        if name not in known and (not name.startswith("device.") or "device.*" not in known):
            raise unknown(f"name in {where}:", name, sorted(known))
    for node in ast.walk(ast.parse(expression.text, mode="eval")):
        if isinstance(node, ast.Compare):
            _check_words(node, where, choices)
    return expression


def _check_words(node: ast.Compare, where: str, choices: Mapping[str, Sequence[Value]]) -> None:
    operands = [node.left, *node.comparators]
    names = [operand.id for operand in operands if isinstance(operand, ast.Name)]
    for operand in operands:
        members = operand.elts if isinstance(operand, ast.Tuple | ast.List) else [operand]
        words = [each.value for each in members if isinstance(each, ast.Constant)]
        for name in names:
            for word in words:
                if isinstance(word, str) and word not in choices.get(name, (word,)):
                    raise unknown(f"value of {name} in {where}:", word, choices[name])
