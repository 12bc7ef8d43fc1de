"""Arithmetic and conditions over named values: parsed with `ast`, checked against a whitelist.

Search spaces, constraints and exported tables hold such texts. They come from files, so they are
data: a text can fail to parse or to evaluate, but it never runs code.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

from tuner.runtime.errors import TunerError, unknown

TYPE_CHECKING = False  # as in typing, which takes long to import
if TYPE_CHECKING:
    from typing import Any

    Functions = Mapping[str, Callable[..., Any]]
    Evaluator = Callable[[Mapping[str, Any], Functions], Any]
else:
    Functions, Evaluator = Mapping, Callable

__all__ = ["SCALARS", "Expression", "Functions", "round_up"]


MAX_TEXT = 20_000
MAX_EXPONENT = 64
MAX_BITS = 4096
MAX_DEPTH = 100


def _number(value: Any) -> Any:
    """An operand of arithmetic: a truth value counts as 0 or 1, in a column too; a text is none."""
    if isinstance(value, str):
        raise TypeError(f"{value!r} is not a number")
    return value * 1


def _ceil_div(a: Any, b: Any) -> Any:
    return -(-_number(a) // _number(b))


def round_up(value: Any, multiple: Any) -> Any:
    """The smallest multiple of `multiple` that is not below `value`."""
    return _product(_ceil_div(value, multiple), _number(multiple))


def _power(base: Any, exponent: Any) -> Any:
    if not 0 <= exponent <= MAX_EXPONENT:
        raise TunerError(f"exponent {exponent} is outside 0..{MAX_EXPONENT}")
    if isinstance(base, int) and base.bit_length() * exponent > MAX_BITS:
        raise TunerError(f"a power has more than {MAX_BITS} bits")
    result = base**exponent
    if isinstance(result, complex):
        raise TunerError("a root of a negative number")
    return result


def _product(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() + b.bit_length() > MAX_BITS:
        raise TunerError(f"a product has more than {MAX_BITS} bits")
    return a * b


# What the operators and functions mean for plain values; a caller with numpy columns passes its
# own.
SCALARS: Functions = {
    "min": min,
    "max": max,
    "**": _power,
    "ceil_div": _ceil_div,
    "round_up": round_up,
    "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
    "not": operator.not_,
    "in": lambda a, members: a in members,
}
_CALLS = ("min", "max", "ceil_div", "round_up")
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _product,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Expression:
    """One parsed text.

    Attributes:
        text: The text as written, in one line.
        names: Every name it reads; a dotted name such as `device.partitions` is one name.

    Raises:
        TunerError: The text is no expression of the whitelist; names what was found and where.
    """

    __slots__ = ("_evaluate", "names", "text")

    def __init__(self, text: str, where: str = "expression") -> None:
        text = " ".join(text.split())
        if len(text) > MAX_TEXT:
            raise TunerError(f"{where}: longer than {MAX_TEXT} characters")
        for (
            sign
        ) in "#\\":  # a comment would hide what follows it in one line; no text needs escapes
            if sign in text:
                raise TunerError(f"{where}: {text!r}: {sign!r} is not allowed here")
        try:
            root = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise TunerError(f"{where}: {text!r} is not an expression ({error})") from None
        names: set[str] = set()
        try:
            self._evaluate = _compile(root, names, 1)
        except TunerError as error:
            raise TunerError(f"{where}: {text!r}: {error}") from None
        self.text = text
        self.names = frozenset(names)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __reduce__(self) -> tuple[type[Expression], tuple[str]]:
        return Expression, (self.text,)

    def evaluate(self, values: Mapping[str, Any], functions: Functions = SCALARS) -> Any:
        """Returns the value for the named `values`.

        Raises:
            TunerError: A name has no value, or the arithmetic fails (a division by zero).
        """
        try:
            return self._evaluate(values, functions)
        except TunerError as error:
            raise TunerError(f"{self.text!r}: {error}") from None
        except (ArithmeticError, TypeError, ValueError) as error:
            raise TunerError(f"{self.text!r} cannot be evaluated: {error}") from None


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return None


def _compile(node: ast.expr, names: set[str], depth: int) -> Evaluator:
    """Checks a node and returns what evaluates it; adds the names that it reads."""
    if depth > MAX_DEPTH:
        raise TunerError(f"nested deeper than {MAX_DEPTH}")
    name = _dotted(node)
    if name is not None:
        names.add(name)
        return _name(name)

    def compiled(children: Sequence[ast.expr]) -> list[Evaluator]:
        return [_compile(child, names, depth + 1) for child in children]

    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            if isinstance(value, int) and value.bit_length() > MAX_BITS:
                raise TunerError(f"a number has more than {MAX_BITS} bits")
            return lambda v, f: value
        case ast.BinOp(left=left, op=binary, right=right) if type(binary) in (*_BINARY, ast.Pow):
            return _arithmetic(_BINARY.get(type(binary)), *compiled([left, right]))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            (inner,) = compiled([operand])
            return lambda v, f: -_number(inner(v, f))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            (inner,) = compiled([operand])
            return lambda v, f: f["not"](inner(v, f))
        case ast.BoolOp(op=joint, values=parts):
            return _joined("and" if isinstance(joint, ast.And) else "or", compiled(parts))
        case ast.Compare(left=left, ops=ops, comparators=others):
            (before,) = compiled([left])
            steps = []
            for op, other in zip(ops, others, strict=True):
                if isinstance(op, ast.In | ast.NotIn) and isinstance(other, ast.Tuple | ast.List):
                    steps.append(_member(before, compiled(other.elts), isinstance(op, ast.NotIn)))
                elif type(op) in _COMPARE:
                    (after,) = compiled([other])
                    steps.append(_comparison(_COMPARE[type(op)], before, after))
                    before = after
                else:
                    raise TunerError(f"{type(op).__name__} is not allowed here")
            return _joined("and", steps)
        case ast.Call(func=ast.Name(id=function), args=args, keywords=[]):
            if function not in _CALLS:
                raise unknown("function", function, _CALLS)
            if len(args) < 2 or (function in ("ceil_div", "round_up") and len(args) != 2):
                raise TunerError(f"{function} takes two values")
            values = compiled(args)
            return lambda v, f: f[function](*[value(v, f) for value in values])
    raise TunerError(f"{type(node).__name__} is not allowed here")


def _name(name: str) -> Evaluator:
    def evaluate(values: Mapping[str, Any], functions: Functions) -> Any:
        if name not in values:
            raise unknown("name", name, values)
        return values[name]

    return evaluate


def _arithmetic(
    operation: Callable[[Any, Any], Any] | None, left: Evaluator, right: Evaluator
) -> Evaluator:
    """`operation` None is the power, which the functions bring: it is not the same in a column."""

    def evaluate(values: Mapping[str, Any], functions: Functions) -> Any:
        calculate = operation or functions["**"]
        return calculate(_number(left(values, functions)), _number(right(values, functions)))

    return evaluate


def _comparison(
    operation: Callable[[Any, Any], Any], left: Evaluator, right: Evaluator
) -> Evaluator:
    return lambda v, f: operation(left(v, f), right(v, f))


def _member(value: Evaluator, members: list[Evaluator], negated: bool) -> Evaluator:
    def evaluate(values: Mapping[str, Any], functions: Functions) -> Any:
        found = functions["in"](value(values, functions), [m(values, functions) for m in members])
        return functions["not"](found) if negated else found

    return evaluate


def _joined(how: str, parts: list[Evaluator]) -> Evaluator:
    if len(parts) == 1:
        return parts[0]

    def evaluate(values: Mapping[str, Any], functions: Functions) -> Any:
        join = functions[how]
        result = parts[0](values, functions)
        for part in parts[1:]:
            result = join(result, part(values, functions))
        return result

    return evaluate
