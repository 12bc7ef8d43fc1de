"""Operations: the names that `op=` arguments take, and what they compute.

Arithmetic is float32 throughout; bitwise operations take whole numbers as patterns of bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.nki.errors import NkiValidationError, NotSupportedError
from tuner.nki.tensors.tensor import NkiTensor, Values

__all__ = [
    "ACTIVATIONS",
    "ARITHMETIC",
    "BITWISE",
    "COMPARISONS",
    "EXACT",
    "IDENTITIES",
    "NEWEST",
    "REDUCTIONS",
    "UNARY",
    "Operation",
    "activated",
    "name_of",
]

Bits = npt.NDArray[np.integer[Any]]


class Operation:
    """The name of an operation, as `op=` arguments take it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"nl.{self.name}"

    def __call__(self, *args: Any, **kwargs: Any) -> NkiTensor:
        """Not supported as a function on tiles."""
        raise NotSupportedError(f"nki.language.{self.name} as a function")


_ALIASES = {"max": "maximum", "min": "minimum"}


def name_of(op: Any) -> str:
    """Returns the name of an `op=` argument; nl.max and nl.min stand for maximum and minimum.

    Raises:
        NkiValidationError: It is nothing of nki.language.
    """
    if not isinstance(op, Operation):
        raise NkiValidationError(f"op={op!r}: expected an operation of nki.language")
    return _ALIASES.get(op.name, op.name)


def _truth(operation: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda x, y: operation(x, y).astype(np.float32)


def _abs_max(x: Any, y: Any) -> Any:
    return np.where(np.abs(x) >= np.abs(y), x, y)


def _abs_min(x: Any, y: Any) -> Any:
    return np.where(np.abs(x) <= np.abs(y), x, y)


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}
_LOGICAL: dict[str, Any] = {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": np.power,
    "abs_max": _abs_max,
    "abs_min": _abs_min,
    **{name: _truth(operation) for name, operation in (COMPARISONS | _LOGICAL).items()},
}
NEWEST = frozenset({"abs_max", "abs_min"})
"""Operations that the core has from its fourth generation on."""

UNARY: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "square": np.square,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "bypass": lambda x: x,
}

EXACT = frozenset(ARITHMETIC) - {"power"}
"""Operations that GpSimdE also has in native integer arithmetic."""


def _shifted_right(x: Any, y: Any) -> Any:
    """A logical shift: zeros come in whatever the sign."""
    unsigned = np.dtype(f"uint{8 * x.dtype.itemsize}")
    return (x.view(unsigned) >> np.asarray(y).astype(unsigned)).view(x.dtype)


BITWISE: dict[str, Callable[[Any, Any], Any]] = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": _shifted_right,
    "invert": lambda x, _: np.invert(x),
}

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add.reduce,
    "subtract": np.subtract.reduce,
    "multiply": np.multiply.reduce,
    "maximum": np.maximum.reduce,
    "minimum": np.minimum.reduce,
    "bitwise_and": np.bitwise_and.reduce,
    "bitwise_or": np.bitwise_or.reduce,
    "bitwise_xor": np.bitwise_xor.reduce,
    **{name: operation.reduce for name, operation in _LOGICAL.items()},
}
"""Reductions along axis=1 of an array (partitions, elements)."""

IDENTITIES = {"add": 0.0, "subtract": 0.0, "multiply": 1.0, "maximum": -np.inf, "minimum": np.inf}
"""What reduction registers are reset to."""


def _sigmoid(x: Values) -> Any:
    return 1 / (1 + np.exp(-x))


def _erf(x: Values) -> Any:
    return _each_erf(np.ascontiguousarray(x).reshape(-1)).reshape(x.shape)


def _normal(x: Values) -> Any:
    """The distribution function of the normal distribution, exact in its far tail too."""
    return _each_normal(np.ascontiguousarray(x).reshape(-1)).reshape(x.shape)


@compiled
def _each_erf(x: Any) -> Any:
    found = np.empty_like(x)
    for i in range(len(x)):
        found[i] = math.erf(x[i])
    return found


@compiled
def _each_normal(x: Any) -> Any:
    found = np.empty_like(x)
    for i in range(len(x)):
        found[i] = 0.5 * math.erfc(-x[i] * math.sqrt(0.5))
    return found


def _sigmoid_product_dx(x: Values, slope: float) -> Any:
    """The derivative of x * sigmoid(slope * x)."""
    s = _sigmoid(np.float32(slope) * x)
    return s + np.float32(slope) * x * s * (1 - s)


def _gelu_apprx_tanh(x: Values) -> Any:
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


def _gelu_dx(x: Values) -> Any:
    density = np.exp(-x * x / 2) * np.float32(1 / np.sqrt(2 * np.pi))
    return _normal(x) + x * density


_GELU_SLOPE = 1.702

ACTIVATIONS: dict[str, Callable[[Values], Any]] = {
    "copy": lambda x: x,
    "square": np.square,
    "sigmoid": _sigmoid,
    "relu": UNARY["relu"],
    "gelu": lambda x: x * _normal(x),
    "gelu_dx": lambda x: _normal(x) + x * np.exp(-x * x / 2) * np.float32(1 / np.sqrt(2 * np.pi)),
    "gelu_apprx_tanh": _gelu_apprx_tanh,
    "gelu_apprx_sigmoid": lambda x: x * _sigmoid(np.float32(_GELU_SLOPE) * x),
    "gelu_apprx_sigmoid_dx": lambda x: _sigmoid_product_dx(x, _GELU_SLOPE),
    "silu": lambda x: x * _sigmoid(x),
    "silu_dx": lambda x: _sigmoid_product_dx(x, 1.0),
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(np.float32(0), x),
    "mish": lambda x: x * np.tanh(np.logaddexp(np.float32(0), x)),
    "erf": _erf,
    "erf_dx": lambda x: np.float32(2 / np.sqrt(np.pi)) * np.exp(-x * x),
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "arctan": np.arctan,
    "sqrt": np.sqrt,
    "rsqrt": UNARY["rsqrt"],
    "reciprocal": UNARY["reciprocal"],
    "sign": np.sign,
    "abs": np.abs,
}

_VALID = {
    "log": (2.0**-64, 2.0**64),
    "sin": (-np.pi, np.pi),
    "arctan": (-np.pi / 2, np.pi / 2),
    "sqrt": (2.0**-116, 2.0**118),
    "rsqrt": (2.0**-87, 2.0**97),
    "reciprocal": (2.0**-42, 2.0**42),
}
"""Inputs for which ScalarE's approximations hold; of reciprocal those of the input's magnitude."""


_FAR = np.float32(1e30)
"""Products of x with what vanishes are taken to this far out, where they are at their limit."""


def activated(name: str, x: Values) -> Values:
    """Returns an activation function of float32 values: NaN where ScalarE's result is undefined."""
    inputs = x
    if name.endswith("_dx"):
        inputs = np.clip(x, -_FAR, _FAR)
    elif name in ("silu", "mish") or name.startswith("gelu"):
        inputs = np.maximum(x, -_FAR)
    with np.errstate(all="ignore"):
        found = np.asarray(ACTIVATIONS[name](inputs), np.float32)
    if name in _VALID:
        low, high = (np.float32(bound) for bound in _VALID[name])
        size = np.abs(x) if name == "reciprocal" else x
        found = np.where((low <= size) & (size <= high), found, np.float32(np.nan))
    return found
