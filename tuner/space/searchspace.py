"""The valid configs of a search space for one workload and device, enumerated as small integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.rules import CHANGE_COST, Config, Constraint, Parameter, Rules, Scope, Value
from tuner.space.checks import make_parameters, parse_expression
from tuner.space.codes import INACTIVE, Bools, Codes, Ints, Radix, Rows, lookup
from tuner.space.enumeration import enumerate_codes
from tuner.space.neighbourhood import Neighbourhood, nearest_row

__all__ = ["INACTIVE", "SearchSpace"]


class SearchSpace:
    """Every config that is legal for one workload on one device.

    Attributes:
        parameters: The parameters, in the file's order.
        rules: They and the constraints; none for a space `of_rows`.
        scope: The values of dims, `dtype_bytes` and `device.*`.
        rows: Shape [configs, parameters], int8 or int16: for each valid config the index of each
            parameter's value, or `INACTIVE` where it has none; in lexicographic order.
        codes: Shape [configs], int64: a number for each row, rising; see `Radix`.
        counts: Shape [parameters]: the number of values.
        ordered: Shape [parameters]: whether steps between values mean something: rising numbers.

    Raises:
        TunerError: No config is valid, or there are more than can be enumerated.
    """

    def __init__(self, rules: Rules, scope: Scope) -> None:
        optional = np.array([parameter.when is not None for parameter in rules.parameters])
        radix = Radix(rules.parameters, optional)
        self._open(rules, scope, radix, enumerate_codes(rules, scope, radix), None)

    def _open(
        self, rules: Rules, scope: Scope, radix: Radix, codes: Codes, start: Config | None
    ) -> None:
        """`start` is the default config of a space of explicit rows, None for one by rules."""
        self.rules = rules
        self.parameters = rules.parameters
        self.scope = dict(scope)
        self.counts = radix.counts
        self.ordered = np.array([_is_ordered(parameter) for parameter in rules.parameters])
        self.codes = codes
        self._radix = radix
        self._start = start
        if not len(codes):
            raise TunerError(f"no config is valid here: {self._why_empty()}")
        self.rows: Rows = radix.decode(codes)

    @classmethod
    def of_rows(
        cls,
        parameters: Sequence[Parameter],
        rows: npt.ArrayLike,
        default: Mapping[str, Value] | None = None,
    ) -> SearchSpace:
        """Returns the space of exactly these configs, of which no constraints are known.

        Rows are sorted; `rows_of(rows)` of the new space says where each of the given ones is.

        Args:
            parameters: The parameters; their `when` is not looked at.
            rows: Shape [n, parameters]: the index of each value, `INACTIVE` where there is none.
            default: The default config, else the defaults of the parameters; where that is no row,
                the nearest one is the default.

        Raises:
            TunerError: There is no row, one stands twice, or an index or a default is none.
        """
        indices = np.asarray(rows)
        if indices.ndim != 2 or indices.shape[1] != len(parameters) or not indices.size:
            raise TunerError(
                f"rows of shape {indices.shape}: expected one row or more of {len(parameters)} "
                "value indices, one a parameter"
            )
        for parameter in parameters:
            if parameter.default not in parameter.values:
                raise unknown(
                    f"default of parameter {parameter.name!r}:", parameter.default, parameter.values
                )
        radix = Radix(parameters, (indices == INACTIVE).any(axis=0))
        codes = radix.encode(indices)
        if (codes == -1).any():
            wrong = int(np.argmax(codes == -1))
            raise TunerError(f"row {wrong}: {indices[wrong].tolist()} is outside the values")
        order = np.argsort(codes, kind="stable")
        again = np.flatnonzero(np.diff(codes[order]) == 0)
        if len(again):
            first, second = order[again[0]], order[again[0] + 1]
            raise TunerError(f"rows {first} and {second} are the same config")
        space = cls.__new__(cls)
        space._open(Rules(tuple(parameters), ()), {}, radix, codes[order], dict(default or {}))
        return space

    @classmethod
    def of_values(
        cls,
        values: Mapping[str, Sequence[Value]],
        constraints: Sequence[str] = (),
        default: Mapping[str, Value] | None = None,
        when: Mapping[str, str] | None = None,
    ) -> SearchSpace:
        """Returns the space of the combinations of `values` for which all `constraints` hold.

        Args:
            values: The values of each parameter, of one type; numbers are sorted.
            constraints: Expressions over the parameters, as in search space files.
            default: The default config; a parameter's first value where it names none.
            when: For some parameters, the condition under which they have a value; it may name
                the parameters before.

        Raises:
            TunerError: Says what is wrong with which parameter or expression, or that no config is
                valid.
        """
        for given, what in ((default or {}, "default"), (when or {}, "when")):
            for name in given:
                if name not in values:
                    raise unknown(f"parameter in {what}:", name, values)
        entries = {
            name: (
                list(choices),
                (default or {}).get(name, next(iter(choices), "")),
                (when or {}).get(name),
            )
            for name, choices in values.items()
        }
        parameters = make_parameters(entries, set(), {})
        listed = []
        for number, text in enumerate(constraints):
            where = f"constraints[{number}]"
            listed.append(Constraint(parse_expression(text, where, set(values), values), where))
        return cls(Rules(parameters, tuple(listed)), {})

    def __getstate__(self) -> dict[str, Any]:
        derived = {"codes", "counts", "ordered", "default", "_neighbourhood"}
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.counts = self._radix.counts
        self.ordered = np.array([_is_ordered(parameter) for parameter in self.parameters])
        self.codes = self._radix.encode(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def raw_size(self) -> int:
        """Configs before constraints: the product of the numbers of values."""
        return prod(len(parameter.values) for parameter in self.parameters)

    @cached_property
    def default(self) -> int:
        """Row of the default config, or of the valid config nearest to it."""
        if self._start is None:
            start = self.rules.complete({}, self.scope)
            config = self.rules.nearest_legal(start, self.scope)
        else:
            start = config = self._start
        try:
            return self.nearest(start) if config is None else self.row(config)
        except KeyError:
            return self.nearest(start)

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
        indices = np.array([[_index(parameter, config) for parameter in self.parameters]])
        found = int(self.rows_of(indices)[0])
        if found == -1 or len(config) != np.count_nonzero(indices != INACTIVE):
            raise KeyError(f"not a valid config: {dict(config)}")
        return found

    def rows_of(self, indices: Ints) -> Codes:
        """Returns the rows [k] of value indices [k, parameters], -1 where they are not valid."""
        return lookup(self.codes, self._radix.encode(np.asarray(indices)))

    def neighbours(self, row: int, adjacent: bool = False) -> Codes:
        """Returns the rows, rising, that are one change away from a row.

        Two rows are neighbours when exactly one of the parameters that have a value in both
        differs. So a change may switch parameters off, and those that it switches on take every
        value; only their defaults where those would be more than 32 combinations, and then the
        relation is one-sided.

        Args:
            row: The row to change.
            adjacent: Of an `ordered` parameter take only the next lower and the next higher value
                that neighbours have.
        """
        return self._neighbourhood.of(row, adjacent)

    @cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(
            self.parameters, self.rows, self.codes, self._radix, self.ordered, self._start is None
        )

    def sample(
        self, generator: np.random.Generator, count: int, taken: Bools | None = None
    ) -> Codes:
        """Returns rows drawn uniformly without replacement from those not `taken` [n].

        Returns:
            Shape [count], in the order of drawing; fewer where fewer are left.
        """
        left = len(self) - (0 if taken is None else int(np.count_nonzero(taken)))
        if 8 * left < len(self) or 4 * count > left:  # else most draws hit, and few hit twice
            free = np.arange(len(self)) if taken is None else np.flatnonzero(~taken)
            return free[generator.choice(left, min(count, left), replace=False)]
        drawn = np.empty(0, np.int64)
        while len(drawn) < count:
            more = generator.integers(len(self), size=2 * (count - len(drawn)) + 8)
            if taken is not None:
                more = more[~taken[more]]
            drawn = np.concatenate([drawn, more])
            drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
        return drawn[:count]

    def nearest(self, config: Mapping[str, Value], taken: Bools | None = None) -> int:
        """Returns the row nearest to `config` (which may be invalid) among those not `taken`.

        Distance is as in `Rules.nearest_legal`: the sum, over the row's parameters, of the steps
        from the value in `config` (the default where it lacks one) as a share of the range, plus a
        fixed cost for each that differs; the lowest row wins a tie.

        Raises:
            TunerError: A value of `config` is none of its parameter.
            ValueError: All rows are taken.
        """
        costs = [_costs(parameter, config) for parameter in self.parameters]
        row = nearest_row(self.rows, self.codes, self._radix, costs, taken)
        if row == -1:
            raise ValueError("every row is taken")
        return row

    def _why_empty(self) -> str:
        broken = self.rules.broken(self.rules.complete({}, self.scope), self.scope)
        return "the constraints exclude each other" if broken is None else str(broken)


def _is_ordered(parameter: Parameter) -> bool:
    values = parameter.values
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return False
    return all(a < b for a, b in pairwise(values))  # type: ignore[operator]


def _index(parameter: Parameter, config: Mapping[str, Value]) -> int:
    if parameter.name not in config:
        return INACTIVE
    value = config[parameter.name]
    return parameter.values.index(value) if value in parameter.values else len(parameter.values)


def _costs(parameter: Parameter, config: Mapping[str, Value]) -> npt.NDArray[np.float64]:
    """How far each value is from that in `config`, by index; 0 last, where INACTIVE reads."""
    value = config.get(parameter.name, parameter.default)
    if value not in parameter.values:
        raise unknown(f"value of parameter {parameter.name!r}:", value, parameter.values)
    steps = np.abs(np.arange(len(parameter.values)) - parameter.values.index(value))
    costs = steps / max(len(parameter.values) - 1, 1) + CHANGE_COST * (steps > 0)
    return np.append(costs, 0.0)
