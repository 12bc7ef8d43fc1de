"""Operations: the names that `op=` arguments take, and what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tuner.nki.errors import NotSupportedError
from tuner.nki.tensor import NkiTensor, Values

__all__ = ["ACTIVATIONS", "BINARY", "Operation"]


class Operation:
    """The name of an operation, as `op=` arguments take it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"nl.{self.name}"

    def __call__(self, *args: Any, **kwargs: Any) -> NkiTensor:
        """Not supported as a function on tiles."""
        raise NotSupportedError(f"nki.language.{self.name} as a function")


BINARY: dict[str, Callable[[Values, Values], Values]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def _sigmoid(x: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


ACTIVATIONS: dict[str, Callable[[Values], Values]] = {
    "copy": lambda x: x,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "exp": np.exp,
    "square": np.square,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
}
