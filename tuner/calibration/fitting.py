"""Fits constants of a device to measured times by least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tuner.calibration.model import Recorded, with_values
from tuner.neuroncore import Device
from tuner.runtime.errors import TunerError, unknown

__all__ = ["FELT", "PULL", "Parameter", "felt", "fit", "open_parameters"]

PULL = 0.1
"""What moving a constant across its whole range counts in the fit: as much as an error of 10 % in
one measurement. That is what least squares ask for when predictions and measurements are 3 % apart
for reasons that no constant explains, and a constant is 30 % of its range away from where it was
published. Constants that the measurements say little about so stay, and of two that do the same
both move a little.
"""

FELT = 0.002
"""A kernel feels a constant whose range moves its predicted time by this share or more."""

STEP = 0.05
"""Share of the range over which a slope is taken. The model is piecewise linear, and small steps
see its kinks: the order of two events that turns over.
"""

MAX_ROUNDS = 20
DIGITS = 3
"""Fitted values are told to about so many digits of their range."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Parameter:
    """A constant that calibration may change.

    Attributes:
        name: As in "dma.issue_interval_ns".
        published: Its value on the device that is calibrated.
        low: Least value of its range.
        high: Greatest value of its range.
        whole: It is a whole number.
    """

    name: str
    published: float
    low: float
    high: float
    whole: bool

    def at(self, share: float) -> float:
        """Returns the value at a share of the range, from 0 to 1."""
        return self.low + (self.high - self.low) * share

    @property
    def share(self) -> float:
        """Where in the range the published value lies."""
        return (self.published - self.low) / (self.high - self.low)

    def told(self, share: float) -> float:
        """Returns the value at a share as a device file has it: rounded, inside the range."""
        value = self.at(share)
        if self.whole:
            return round(value)
        decimals = DIGITS - math.ceil(math.log10(self.high - self.low))
        return float(min(max(round(value, decimals), self.low), self.high))


def open_parameters(base: Device, names: Sequence[str] = ()) -> list[Parameter]:
    """Returns the numeric constants that have a range, or those of them that are named.

    Raises:
        TunerError: A name is of no constant with a range.
    """
    whole = _whole_constants(base)
    found = {
        c.name: Parameter(c.name, c.value, c.range[0], c.range[1], c.name in whole)
        for c in base.constants
        if c.range is not None and not isinstance(c.value, bool) and not _about_errors(c.name)
    }
    for name in names:
        if name not in found and name in {c.name for c in base.constants}:
            raise TunerError(f"{name} of {base.name} has no range to fit it in")
        if name not in found:
            raise unknown(f"constant of {base.name} with a range:", name, found)
    return [found[name] for name in found if not names or name in names]


def _about_errors(name: str) -> bool:
    return name.startswith("error.")


def _whole_constants(base: Device) -> set[str]:
    return {c.name for c in base.constants if type(_value(base, c.name)) is int}


def _value(base: Device, name: str) -> object:
    section, _, key = name.partition(".")
    return getattr(getattr(base, section), key)


def felt(
    kernels: Sequence[Recorded], base: Device, parameters: Sequence[Parameter]
) -> dict[str, float]:
    """Returns by how much of its time each constant moves the kernel that feels it most, when the
    constant alone goes to an end of its range.
    """
    plain = [kernel.latency_us(base) for kernel in kernels]
    strongest = {}
    for parameter in parameters:
        ends = [with_values(base, {parameter.name: v}) for v in (parameter.low, parameter.high)]
        strongest[parameter.name] = max(
            abs(kernel.latency_us(end) / before - 1)
            for kernel, before in zip(kernels, plain, strict=True)
            for end in ends
        )
    return strongest


def fit(
    kernels: Sequence[Recorded], base: Device, parameters: Sequence[Parameter]
) -> dict[str, float]:
    """Returns the values with which the kernels' predicted times are nearest to the measured ones.

    Minimised is the weighted sum of squares of log(predicted / measured), plus `PULL` times each
    constant's distance from its published value as a share of its range, squared.
    """
    from scipy.optimize import least_squares

    if not kernels or not parameters:
        return {p.name: p.published for p in parameters}
    model = _Residuals(kernels, base, parameters)
    found = least_squares(
        model.residuals,
        model.start,
        jac=model.slopes,
        bounds=(0.0, 1.0),
        method="trf",
        xtol=1e-3,
        ftol=1e-4,
        max_nfev=MAX_ROUNDS,
    )
    return {p.name: p.told(float(x)) for p, x in zip(parameters, found.x, strict=True)}


class _Residuals:
    """What is minimised, as a function of each constant's place in its range."""

    def __init__(
        self, kernels: Sequence[Recorded], base: Device, parameters: Sequence[Parameter]
    ) -> None:
        self._kernels, self._base, self._parameters = kernels, base, parameters
        self.start = np.array([p.share for p in parameters])
        self._weights = np.sqrt([kernel.row.weight for kernel in kernels])
        self._measured = np.log([kernel.row.measured_us for kernel in kernels])

    def residuals(self, shares: Floats) -> Floats:
        return np.concatenate([self._errors(shares), PULL * (shares - self.start)])

    def _errors(self, shares: Floats) -> Floats:
        values = {p.name: p.at(x) for p, x in zip(self._parameters, shares, strict=True)}
        changed = with_values(self._base, values)
        predicted = np.log([kernel.latency_us(changed) for kernel in self._kernels])
        weighted: Floats = self._weights * (predicted - self._measured)
        return weighted

    def slopes(self, shares: Floats) -> Floats:
        """Slopes of the residuals over steps that stay inside the ranges."""
        columns = []
        for i in range(len(shares)):
            low, high = shares.copy(), shares.copy()
            low[i], high[i] = max(shares[i] - STEP, 0.0), min(shares[i] + STEP, 1.0)
            rise = self._errors(high) - self._errors(low)
            columns.append(rise / (high[i] - low[i]))
        return np.vstack([np.column_stack(columns), PULL * np.eye(len(shares))])
