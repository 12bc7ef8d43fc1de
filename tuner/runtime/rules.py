"""Which configs of a kernel are legal for a workload: parameters, constraints and the nearest legal
config.

Search spaces are read into these rules, exported tables carry them, so that the check at run time
is the check that the search made.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.expressions import Expression

__all__ = [
    "DTYPE_BYTES",
    "Config",
    "Constraint",
    "Parameter",
    "Rules",
    "Scope",
    "Value",
    "distance",
    "shown",
]

Value = int | float | bool | str
Config = dict[str, Value]
Scope = Mapping[str, Value]
"""Values of the names that are no parameters: dims, variants, `dtype_bytes`, `device.*`."""

DTYPE_BYTES = {
    "float32": 4,
    "tfloat32": 4,
    "int32": 4,
    "uint32": 4,
    "bfloat16": 2,
    "float16": 2,
    "int16": 2,
    "uint16": 2,
    "float8_e4m3": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}

MAX_SHOWN = 120
CHANGE_COST = 0.25
MAX_EXPANSIONS = 20_000


@dataclass(frozen=True)
class Parameter:
    """One tunable choice.

    Attributes:
        name: The kernel's keyword.
        values: The allowed values, numbers in rising order.
        default: The value of the default config.
        when: The parameter has a value only where this holds; None means always.
    """

    name: str
    values: tuple[Value, ...]
    default: Value
    when: Expression | None = None


@dataclass(frozen=True)
class Constraint:
    """A condition that every legal config meets, and the reason for it in words.

    It does not apply to a config in which one of the parameters it names has no value.
    """

    expr: Expression
    why: str

    def __str__(self) -> str:
        return f"{shown(self.expr.text)!r}: {self.why}"


def shown(text: str) -> str:
    """An expression as messages show it: a long one is cut."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 4]} ..."


def distance(parameter: Parameter, a: Value, b: Value) -> float:
    """How far two values of a parameter are apart: steps as a share of the range, plus a fixed
    cost.
    """
    if a == b:
        return 0.0
    steps = abs(parameter.values.index(a) - parameter.values.index(b))
    return CHANGE_COST + steps / max(len(parameter.values) - 1, 1)


@dataclass(frozen=True)
class Rules:
    """The parameters of a kernel and the constraints between them."""

    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...]

    def complete(self, chosen: Mapping[str, Value], scope: Scope) -> Config:
        """Returns the config that has the `chosen` values, defaults elsewhere, and no inactive
        parameter.
        """
        values: dict[str, Value] = dict(scope)
        config: Config = {}
        for parameter in self.parameters:
            if parameter.when is not None and not self._applies(parameter.when, values):
                continue
            value = chosen.get(parameter.name, parameter.default)
            config[parameter.name] = values[parameter.name] = value
        return config

    def _applies(self, when: Expression, values: Mapping[str, Value]) -> bool:
        names = {parameter.name for parameter in self.parameters}
        return all(name in values for name in when.names & names) and bool(when.evaluate(values))

    def broken(self, config: Mapping[str, Value], scope: Scope) -> Constraint | None:
        """Returns the first constraint that `config` breaks, or None when it is legal."""
        values = {**scope, **config}
        inactive = {parameter.name for parameter in self.parameters} - set(config)
        for constraint in self.constraints:
            if not constraint.expr.names & inactive and not constraint.expr.evaluate(values):
                return constraint
        return None

    def checked(self, chosen: Mapping[str, Value], scope: Scope) -> Config:
        """Returns the completed config.

        Raises:
            TunerError: An unknown parameter, a value that is not in its list, or a broken
                constraint.
        """
        by_name = {parameter.name: parameter for parameter in self.parameters}
        listed: Config = {}
        for name, value in chosen.items():
            if name not in by_name:
                raise unknown("parameter", name, by_name)
            if value not in by_name[name].values:
                raise unknown(f"value of parameter {name!r}:", value, by_name[name].values)
            listed[name] = by_name[name].values[by_name[name].values.index(value)]  # 2, not 2.0
        config = self.complete(listed, scope)
        for name in chosen:
            if name not in config:
                when = by_name[name].when
                asked = shown(when.text) if when else ""
                raise TunerError(f"parameter {name!r} has a value only when {asked}")
        broken = self.broken(config, scope)
        if broken is not None:
            near = self.nearest_legal(config, scope)
            changed = {k: v for k, v in (near or {}).items() if config.get(k) != v}
            hint = (
                "; nearest legal: " + ", ".join(f"{k}={v}" for k, v in changed.items())
                if changed
                else ""
            )
            raise TunerError(f"config breaks {broken}{hint}")
        return config

    def nearest_legal(self, start: Mapping[str, Value], scope: Scope) -> Config | None:
        """Returns the legal config with the least summed `distance` from `start`, None if there is
        none.

        The sum is over the config's parameters; where `start` lacks one, from its default.

        A legal config differs from an illegal one in a parameter of the broken constraint, so only
        those are changed, cheapest first.
        """
        counter = 0
        queue: list[tuple[float, int, dict[str, Value], frozenset[str]]] = [
            (0.0, 0, dict(start), frozenset())
        ]
        seen: set[tuple[tuple[str, Value], ...]] = set()
        while queue and len(seen) < MAX_EXPANSIONS:
            cost, _, chosen, fixed = heapq.heappop(queue)
            config = self.complete(chosen, scope)
            broken = self.broken(config, scope)
            if broken is None:
                return config
            for changed, name, more in self._changes(broken, chosen, config, fixed):
                key = tuple(sorted(changed.items()))
                if key not in seen:
                    seen.add(key)
                    counter += 1
                    heapq.heappush(queue, (cost + more, counter, changed, fixed | {name}))
        return None

    def _changes(
        self,
        broken: Constraint,
        chosen: Mapping[str, Value],
        config: Config,
        fixed: frozenset[str],
    ) -> Iterator[tuple[dict[str, Value], str, float]]:
        names = set(broken.expr.names)
        for parameter in reversed(self.parameters):  # a `when` names earlier parameters
            if parameter.name in names and parameter.when is not None:
                names |= parameter.when.names  # switching a parameter off also mends its constraint
        for parameter in self.parameters:
            if (
                parameter.name not in names
                or parameter.name in fixed
                or parameter.name not in config
            ):
                continue
            now = config[parameter.name]
            for value in parameter.values:
                if value != now:
                    yield (
                        {**chosen, parameter.name: value},
                        parameter.name,
                        distance(parameter, now, value),
                    )
