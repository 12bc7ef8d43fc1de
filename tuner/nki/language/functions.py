"""Operations: each is what `op=` takes, and on tiles a function that returns a new SBUF tile.

The new tile has the dtype of the first tile unless another is asked; arithmetic is float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuner.neuroncore.program import Space
from tuner.nki import isa
from tuner.nki.errors import NkiValidationError
from tuner.nki.language.memory import ndarray
from tuner.nki.operations import Operation
from tuner.nki.tensors.layout import product
from tuner.nki.tensors.storage import is_float
from tuner.nki.tensors.tensor import NkiTensor

Axes = int | Sequence[int]


def new(like: Any, dtype: str | None, shape: Sequence[int] | None = None) -> NkiTensor:
    """Allocates a function's result."""
    if not isinstance(like, NkiTensor) or like.space == Space.HBM:
        raise NkiValidationError(f"expected a tile in SBUF or PSUM, not {like!r}")
    return ndarray(like.shape if shape is None else shape, dtype or like.dtype)


class Activation(Operation):
    """A function of one tile that ScalarE computes."""

    def __call__(self, x: NkiTensor, dtype: str | None = None) -> NkiTensor:
        """Returns the function of every element."""
        dst = new(x, dtype)
        isa.activation(dst, self, x)
        return dst


class Copy(Operation):
    """The function that changes nothing."""

    def __call__(self, x: NkiTensor, dtype: str | None = None) -> NkiTensor:
        """Returns a copy, in SBUF."""
        dst = new(x, dtype)
        isa.tensor_copy(dst, x)
        return dst


class Reciprocal(Operation):
    """1 / x on VectorE."""

    def __call__(self, x: NkiTensor, dtype: str | None = None) -> NkiTensor:
        """Returns the reciprocal of every element."""
        dst = new(x, dtype)
        isa.reciprocal(dst, x)
        return dst


class Scalar(Operation):
    """A function of one tile that is an operation with a constant."""

    def __init__(self, name: str, by: Operation, constant: Any) -> None:
        super().__init__(name)
        self.by = by
        self.constant = constant

    def __call__(self, x: NkiTensor, dtype: str | None = None) -> NkiTensor:
        """Returns the function of every element."""
        dst = new(x, dtype)
        isa.tensor_scalar(dst, x, self.by, self.constant)
        return dst


class Binary(Operation):
    """A function of two tiles of one shape, or of a tile and a number."""

    def __call__(self, x: Any, y: Any, dtype: str | None = None) -> NkiTensor:
        """Returns the function of every pair of elements."""
        if isinstance(x, NkiTensor) and isinstance(y, NkiTensor):
            dst = new(x, dtype)
            isa.tensor_tensor(dst, x, y, self)
        elif isinstance(x, NkiTensor):
            dst = new(x, dtype)
            isa.tensor_scalar(dst, x, self, y)
        else:
            dst = new(y, dtype)
            isa.tensor_scalar(dst, y, self, x, reverse0=True)
        return dst


class Divide(Operation):
    """x / y, as x times the reciprocal of y."""

    def __call__(self, x: Any, y: Any, dtype: str | None = None) -> NkiTensor:
        """Returns the quotient of every pair of elements."""
        if not isinstance(y, NkiTensor):
            return multiply(x, 1.0 / y, dtype)
        like = x if isinstance(x, NkiTensor) else y
        return multiply(x, reciprocal(y, "float32"), dtype or like.dtype)


class Reduction(Operation):
    """A reduction along the last free dimensions."""

    def __init__(self, name: str, by: Operation) -> None:
        super().__init__(name)
        self.by = by

    def __call__(
        self, x: NkiTensor, axis: Axes, dtype: str | None = None, keepdims: bool = False
    ) -> NkiTensor:
        """Returns the reduction along one or more axes."""
        axes = trailing(x, axis)
        dst = new(x, dtype, reduced_shape(x, axes, keepdims))
        whole = x.shape[: axes[0]]
        reduced = dst.reshape((*whole, *[1] * len(axes)))
        isa.tensor_reduce(reduced, self.by, x, axes, keepdims=True)
        return dst


class All(Reduction):
    """Whether every element is true."""

    def __call__(  # type: ignore[override]
        self, x: NkiTensor, axis: Axes, dtype: str | None = None
    ) -> NkiTensor:
        """Returns 1 where all elements along the axes are true, else 0."""
        return super().__call__(x, axis, dtype)


def trailing(x: NkiTensor, axis: Axes) -> tuple[int, ...]:
    """Returns the axes in rising order.

    Raises:
        NkiValidationError: They are not the last ones, or the partition is among them.
    """
    given = axis if isinstance(axis, Sequence) else (axis,)
    axes = tuple(sorted(a + x.ndim if a < 0 else a for a in given))
    if not axes or axes != tuple(range(x.ndim - len(axes), x.ndim)) or axes[0] < 1:
        raise NkiValidationError(f"axis={axis!r} of {x!r}: expected its last free dimensions")
    return axes


def reduced_shape(x: NkiTensor, axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """Returns the shape without these axes, two dimensions at least."""
    kept = x.shape[: axes[0]]
    ones = len(axes) if keepdims else 2 - len(kept)
    return (*kept, *[1] * ones)


add = Binary("add")
subtract = Binary("subtract")
multiply = Binary("multiply")
divide = Divide("divide")
maximum = Binary("maximum")
minimum = Binary("minimum")
abs_max = Binary("abs_max")
abs_min = Binary("abs_min")
power = Binary("power")
mod = Operation("mod")
fmod = Operation("fmod")

equal = Binary("equal")
not_equal = Binary("not_equal")
less = Binary("less")
less_equal = Binary("less_equal")
greater = Binary("greater")
greater_equal = Binary("greater_equal")
logical_and = Binary("logical_and")
logical_or = Binary("logical_or")
logical_xor = Binary("logical_xor")
logical_not = Scalar("logical_not", equal, 0.0)

bitwise_and = Binary("bitwise_and")
bitwise_or = Binary("bitwise_or")
bitwise_xor = Binary("bitwise_xor")
left_shift = Binary("left_shift")
right_shift = Binary("right_shift")


class Invert(Operation):
    """Every bit the other way."""

    def __call__(self, x: NkiTensor, dtype: str | None = None) -> NkiTensor:
        """Returns the elements with their bits inverted."""
        dst = new(x, dtype)
        unsigned = x.dtype.startswith("uint")
        if is_float(x.dtype):
            raise NkiValidationError(f"invert takes whole numbers, not {x!r}")
        isa.tensor_scalar(dst, x, bitwise_xor, (1 << 8 * x.itemsize) - 1 if unsigned else -1)
        return dst


invert = Invert("invert")
negative = Scalar("negative", multiply, -1.0)

abs = Activation("abs")
arctan = Activation("arctan")
erf = Activation("erf")
erf_dx = Activation("erf_dx")
exp = Activation("exp")
gelu = Activation("gelu")
gelu_apprx_sigmoid = Activation("gelu_apprx_sigmoid")
gelu_apprx_sigmoid_dx = Activation("gelu_apprx_sigmoid_dx")
gelu_apprx_tanh = Activation("gelu_apprx_tanh")
gelu_dx = Activation("gelu_dx")
log = Activation("log")
mish = Activation("mish")
relu = Activation("relu")
rsqrt = Activation("rsqrt")
sigmoid = Activation("sigmoid")
sign = Activation("sign")
silu = Activation("silu")
silu_dx = Activation("silu_dx")
sin = Activation("sin")
softplus = Activation("softplus")
sqrt = Activation("sqrt")
square = Activation("square")
tanh = Activation("tanh")
copy = Copy("copy")
reciprocal = Reciprocal("reciprocal")

# Names that `op=` may take; as functions they are not supported.
average = Operation("average")
bypass = Operation("bypass")
ceil = Operation("ceil")
cos = Operation("cos")
floor = Operation("floor")
prelu = Operation("prelu")
tan = Operation("tan")
trunc = Operation("trunc")

sum = Reduction("sum", add)
max = Reduction("max", maximum)
min = Reduction("min", minimum)
prod = Reduction("prod", multiply)
all = All("all", logical_and)


class Mean(Reduction):
    """The sum along the last free dimensions over their number."""

    def __call__(
        self, x: NkiTensor, axis: Axes, dtype: str | None = None, keepdims: bool = False
    ) -> NkiTensor:
        """Returns the mean along one or more axes."""
        count = product([x.shape[a] for a in trailing(x, axis)])
        total = sum(x, axis, "float32", keepdims)
        return multiply(total, 1.0 / count, dtype or x.dtype)


mean = Mean("mean", add)
