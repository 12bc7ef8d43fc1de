"""The valid configs of a search space for one workload and device, enumerated as small integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import MAX_EXPONENT, SCALARS, Expression, Functions
from tuner.runtime.rules import CHANGE_COST, Config, Parameter, Rules, Scope, Value

__all__ = ["INACTIVE", "SearchSpace"]

INACTIVE = -1
MAX_ROWS = 8_000_000

Rows = npt.NDArray[np.int16]


def _columns(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Where an argument is a column `function`, else the one for plain values, which is exact."""

    def apply(*values: Any) -> Any:
        columns = any(isinstance(value, np.ndarray) for value in values)
        return function(*values) if columns else SCALARS[name](*values)

    return apply


def _member(value: Any, members: list[Any]) -> Any:
    return reduce(_COLUMNS["or"], [value == member for member in members], False)


def _power(base: Any, exponent: Any) -> Any:
    if not np.all((exponent >= 0) & (exponent <= MAX_EXPONENT)):
        raise TunerError(f"an exponent is outside 0..{MAX_EXPONENT}")
    result = base**exponent
    if result.dtype.kind == "i" and np.any(np.abs(np.float_power(base, exponent)) >= 2.0**63):
        raise TunerError("a power is 2**63 or more")
    return result


_COLUMNS: Functions = {
    **SCALARS,
    "min": _columns("min", lambda *values: reduce(np.minimum, values)),
    "max": _columns("max", lambda *values: reduce(np.maximum, values)),
    "**": _columns("**", _power),
    "and": _columns("and", np.logical_and),
    "or": _columns("or", np.logical_or),
    "not": _columns("not", np.logical_not),
    "in": _member,
}


class SearchSpace:
    """Every config that is legal for one workload on one device.

    Attributes:
        parameters: The parameters, in the file's order.
        scope: The values of dims, `dtype_bytes` and `device.*`.
        rows: Shape (configs, parameters): for each valid config the index of each parameter's
            value, or `INACTIVE` where it has none.

    Raises:
        TunerError: No config is valid, or there are more than can be enumerated.
    """

    def __init__(self, rules: Rules, scope: Scope) -> None:
        self.rules = rules
        self.parameters = rules.parameters
        self.scope = dict(scope)
        self._values = [np.array(parameter.values) for parameter in self.parameters]
        self.rows = self._enumerate()
        if not len(self.rows):
            raise TunerError(f"no config is valid here: {self._why_empty()}")

    @classmethod
    def of_rows(
        cls,
        parameters: Sequence[Parameter],
        rows: npt.NDArray[Any],
        default: Mapping[str, Value] | None = None,
    ) -> SearchSpace:
        """Returns the space of explicit configs, e.g. of a recording: no constraints are known."""
        space = cls.__new__(cls)
        space.rules = Rules(tuple(parameters), ())
        space.parameters = space.rules.parameters
        space.scope = {}
        space._values = [np.array(parameter.values) for parameter in space.parameters]
        space.rows = np.ascontiguousarray(rows, np.int16)
        start = {p.name: p.default for p in parameters}
        space.__dict__["default"] = space.nearest(start) if default is None else space.row(default)
        return space

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def raw_size(self) -> int:
        """Configs before constraints: the product of the numbers of values."""
        size = 1
        for parameter in self.parameters:
            size *= len(parameter.values)
        return size

    @cached_property
    def default(self) -> int:
        """Row of the default config, or of the valid config nearest to it."""
        start = self.rules.complete({}, self.scope)
        config = self.rules.nearest_legal(start, self.scope)
        return self.nearest(start) if config is None else self.row(config)

    def config(self, row: int) -> Config:
        """Returns the config of a row: the values of its active parameters."""
        indices = self.rows[row].tolist()
        return {
            parameter.name: parameter.values[index]
            for parameter, index in zip(self.parameters, indices, strict=True)
            if index != INACTIVE
        }

    def row(self, config: Mapping[str, Value]) -> int:
        """Returns the row of a config.

        Raises:
            KeyError: The config is not valid here.
        """
        indices = np.array([_index(parameter, config) for parameter in self.parameters], np.int16)
        found = self._row_of.get(indices.tobytes())
        if found is None or len(config) != np.count_nonzero(indices != INACTIVE):
            raise KeyError(f"not a valid config: {dict(config)}")
        return found

    def nearest(
        self, config: Mapping[str, Value], taken: npt.NDArray[np.bool_] | None = None
    ) -> int:
        """Returns the row nearest to `config` (which may be invalid) among those not `taken`.

        Distance is as in `Rules.nearest_legal`: the sum, over the row's parameters, of the steps
        from the value in `config` (the default where it lacks one) as a share of the range, plus a
        fixed cost for each that differs; the lowest row wins a tie.
        """
        target = np.array([p.values.index(config.get(p.name, p.default)) for p in self.parameters])
        span = np.array([max(len(p.values) - 1, 1) for p in self.parameters])
        differs = (self.rows != target) & (self.rows != INACTIVE)
        away = (differs * (np.abs(self.rows - target) / span + CHANGE_COST)).sum(axis=1)
        if taken is not None:
            away[taken] = np.inf
        return int(np.argmin(away))

    @cached_property
    def _row_of(self) -> dict[bytes, int]:
        return {row.tobytes(): number for number, row in enumerate(self.rows)}

    def _enumerate(self) -> Rows:
        """Adds one parameter at a time and drops what a constraint forbids as soon as it is
        decided.
        """
        rows: Rows = np.empty((1, 0), np.int16)
        pending = list(self.rules.constraints)
        names: list[str] = []
        parameter_names = {parameter.name for parameter in self.parameters}
        for parameter in self.parameters:
            active = self._active(parameter, rows)
            count = len(parameter.values)
            if int(active.sum()) * count + int((~active).sum()) > MAX_ROWS:
                raise TunerError(
                    f"more than {MAX_ROWS} configs at parameter {parameter.name!r}: add constraints"
                )
            with_value = np.repeat(rows[active], count, axis=0)
            choice = np.tile(np.arange(count, dtype=np.int16), int(active.sum()))
            without = np.full(int((~active).sum()), INACTIVE, np.int16)
            rows = np.vstack(
                [
                    np.column_stack([with_value, choice]),
                    np.column_stack([rows[~active], without]),
                ]
            )
            names.append(parameter.name)
            decided = [c for c in pending if c.expr.names & parameter_names <= set(names)]
            pending = [c for c in pending if c not in decided]
            for constraint in decided:
                rows = rows[self._holds(constraint.expr, rows)]
        order = np.lexsort(rows.T[::-1])
        return np.ascontiguousarray(rows[order])

    def _active(self, parameter: Parameter, rows: Rows) -> npt.NDArray[np.bool_]:
        if parameter.when is None:
            return np.ones(len(rows), bool)
        return self._holds(parameter.when, rows, vacuous=False)

    def _holds(self, expr: Expression, rows: Rows, vacuous: bool = True) -> npt.NDArray[np.bool_]:
        """Where `expr` holds; `vacuous` is the verdict where a parameter it names has no value."""
        known = self.parameters[: rows.shape[1]]
        named = [i for i, p in enumerate(known) if p.name in expr.names]
        active = (rows[:, named] != INACTIVE).all(axis=1)
        values: dict[str, Any] = dict(self.scope)
        for column in named:
            values[known[column].name] = self._values[column][rows[active, column]]
        holds = np.full(len(rows), vacuous)
        with np.errstate(divide="raise", invalid="raise"):
            holds[active] = np.asarray(expr.evaluate(values, _COLUMNS), bool)
        return holds

    def _why_empty(self) -> str:
        broken = self.rules.broken(self.rules.complete({}, self.scope), self.scope)
        return (
            "the constraints exclude each other"
            if broken is None
            else f"{broken.expr.text!r}: {broken.why}"
        )


def _index(parameter: Parameter, config: Mapping[str, Value]) -> int:
    if parameter.name not in config:
        return INACTIVE
    value = config[parameter.name]
    return parameter.values.index(value) if value in parameter.values else len(parameter.values)
