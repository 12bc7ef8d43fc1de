"""Arithmetic and conditions over named values: parsed with `ast`, checked against a whitelist.

Search spaces, constraints and exported tables hold such texts. They come from files, so they are
data: a text can fail to parse or to evaluate, but it never runs code.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from tuner.runtime.errors import TunerError, unknown

__all__ = ["SCALARS", "Expression", "Functions", "round_up"]

Functions = Mapping[str, Callable[..., Any]]

MAX_TEXT = 2000
MAX_EXPONENT = 64
MAX_POWER_BITS = 4096
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
    return _ceil_div(value, multiple) * _number(multiple)


def _power(base: Any, exponent: Any) -> Any:
    if not 0 <= exponent <= MAX_EXPONENT:
        raise TunerError(f"exponent {exponent} is outside 0..{MAX_EXPONENT}")
    if isinstance(base, int) and base.bit_length() * exponent > MAX_POWER_BITS:
        raise TunerError(f"a power has more than {MAX_POWER_BITS} bits")
    return base**exponent


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
    ast.Mult: operator.mul,
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

    __slots__ = ("_root", "names", "text")

    def __init__(self, text: str, where: str = "expression") -> None:
        text = " ".join(text.split())
        if len(text) > MAX_TEXT:
            raise TunerError(f"{where}: longer than {MAX_TEXT} characters")
        if "#" in text:  # a comment: in one line it would hide what follows it
            raise TunerError(f"{where}: {text!r}: '#' is not allowed here")
        try:
            root = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise TunerError(f"{where}: {text!r} is not an expression ({error})") from None
        names: set[str] = set()
        try:
            _check(root, names, 1)
        except TunerError as error:
            raise TunerError(f"{where}: {text!r}: {error}") from None
        self.text = text
        self.names = frozenset(names)
        self._root = root

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, values: Mapping[str, Any], functions: Functions = SCALARS) -> Any:
        """Returns the value for the named `values`.

        Raises:
            TunerError: A name has no value, or the arithmetic fails (a division by zero).
        """
        try:
            return _evaluate(self._root, values, functions)
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


def _check(node: ast.expr, names: set[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TunerError(f"nested deeper than {MAX_DEPTH}")
    name = _dotted(node)
    if name is not None:
        names.add(name)
        return
    children: list[ast.expr]
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            children = []
        case ast.BinOp(left=left, op=binary, right=right) if type(binary) in (*_BINARY, ast.Pow):
            children = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            children = [operand]
        case ast.BoolOp(values=values):
            children = values
        case ast.Compare(left=left, ops=ops, comparators=right_sides):
            children = [left]
            for op, right in zip(ops, right_sides, strict=True):
                if isinstance(op, ast.In | ast.NotIn) and isinstance(right, ast.Tuple | ast.List):
                    children += right.elts
                elif type(op) in _COMPARE:
                    children.append(right)
                else:
                    raise TunerError(f"{type(op).__name__} is not allowed here")
        case ast.Call(func=ast.Name(id=function), args=args, keywords=[]):
            if function not in _CALLS:
                raise unknown("function", function, _CALLS)
            if len(args) < 2 or (function in ("ceil_div", "round_up") and len(args) != 2):
                raise TunerError(f"{function} takes two values")
            children = args
        case _:
            raise TunerError(f"{type(node).__name__} is not allowed here")
    for child in children:
        _check(child, names, depth + 1)


def _evaluate(node: ast.expr, values: Mapping[str, Any], functions: Functions) -> Any:
    name = _dotted(node)
    if name is not None:
        if name not in values:
            raise unknown("name", name, values)
        return values[name]
    match node:
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=binary, right=right):
            calculate = _BINARY.get(type(binary), functions["**"])
            a = _number(_evaluate(left, values, functions))
            return calculate(a, _number(_evaluate(right, values, functions)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_evaluate(operand, values, functions))
        case ast.UnaryOp(operand=operand):
            return functions["not"](_evaluate(operand, values, functions))
        case ast.BoolOp(op=op, values=parts):
            join = functions["and" if isinstance(op, ast.And) else "or"]
            result = _evaluate(parts[0], values, functions)
            for part in parts[1:]:
                result = join(result, _evaluate(part, values, functions))
            return result
        case ast.Compare():
            return _compare(node, values, functions)
        case ast.Call(func=ast.Name(id=function), args=args):
            return functions[function](*(_evaluate(arg, values, functions) for arg in args))
    raise AssertionError(f"{type(node).__name__} passed the check")  # pragma: no cover


def _compare(node: ast.Compare, values: Mapping[str, Any], functions: Functions) -> Any:
    left = _evaluate(node.left, values, functions)
    result: Any = None
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right: Any
        if isinstance(op, ast.In | ast.NotIn):
            assert isinstance(right_node, ast.Tuple | ast.List)
            right = [_evaluate(element, values, functions) for element in right_node.elts]
            step = functions["in"](left, right)
            step = functions["not"](step) if isinstance(op, ast.NotIn) else step
        else:
            right = _evaluate(right_node, values, functions)
            step = _COMPARE[type(op)](left, right)
        result = step if result is None else functions["and"](result, step)
        left = right
    return result
