"""Grows partial configs by one parameter at a time, depth first, in chunks of bounded size.

Each constraint is checked as soon as the parameters it names have values, and before that for
whether it can still hold. Tightly constrained parameters come first; those that no condition names
are multiplied out at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import log, prod

import numpy as np

from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import Rules, Scope
from tuner.space.codes import INACTIVE, Codes, Radix
from tuner.space.enumeration.columns import COLUMNS
from tuner.space.enumeration.conditions import CHUNK, Columns, Condition, Names

__all__ = ["enumerate_codes"]

MAX_ROWS = 30_000_000
MAX_CANDIDATES = 4_000_000_000  # minutes, if each has to be evaluated
WORTH_A_LOOK_AHEAD = 1 << 15

Named = frozenset[int]


class TooLargeError(TunerError):
    """The space has more configs than can be enumerated."""


@dataclass(frozen=True)
class _Level:
    """One step: the parameter it adds, what decides on it, and the columns needed later."""

    column: int
    when: Condition | None
    constraints: tuple[Condition, ...]
    kept: tuple[int, ...]


class _Walk:
    """The steps that lead to the valid configs of some rules.

    Args:
        planned: Whether constraints are checked in the order that is quickest; else parameters and
            constraints come in the order of the file.
    """

    def __init__(self, rules: Rules, scope: Scope, radix: Radix, planned: bool) -> None:
        self._radix = radix
        self._names = Names(rules.parameters, scope)
        self._planned = planned
        self._whens = {
            column: (parameter.when, self._named(parameter.when))
            for column, parameter in enumerate(rules.parameters)
            if parameter.when is not None
        }
        self._constraints = [(c.expr, self._named(c.expr)) for c in rules.constraints]
        self.order = self._order()
        self.free = sorted(set(range(len(rules.parameters))) - set(self.order))

    def _named(self, expr: Expression) -> Named:
        return frozenset(i for i, name in enumerate(self._names.names) if name in expr.names)

    def _needs(self, columns: Iterable[int]) -> Named:
        """The columns, and those that decide whether they have a value."""
        needed = set(columns)
        for column in sorted(self._whens, reverse=True):  # a `when` names earlier parameters
            if column in needed:
                needed |= self._whens[column][1]
        return frozenset(needed)

    def _order(self) -> list[int]:
        """The columns that a condition names or decides on, in the order in which to add them.

        Planned, what a constraint needs comes together, and first where the least is left of it.
        """
        in_conditions = self._needs(
            {*self._whens}.union(*(named for _, named in self._constraints))
        )
        if not self._planned:
            return sorted(in_conditions)
        generator = np.random.default_rng(0)
        pending = []
        for expr, named in self._constraints:
            if named:
                condition = Condition(expr, self._names, sorted(named), None)
                pending.append((self._needs(named), log(condition.share(generator))))
        order: list[int] = []

        def growth(needs: Named) -> float:
            together = needs.union(order)
            size = sum(log(self._names.counts[column]) for column in needs.difference(order))
            return size + sum(share for other, share in pending if other <= together)

        while pending:
            best = min((needs for needs, _ in pending), key=growth)
            order += sorted(best.difference(order))
            pending = [(needs, share) for needs, share in pending if not needs.issubset(order)]
        return order + sorted(in_conditions.difference(order))

    def _levels(self) -> list[_Level]:
        levels: list[_Level] = []
        for step, column in enumerate(self.order):
            done, later = set(self.order[: step + 1]), set(self.order[step + 1 :])
            when = self._whens.get(column)
            needed = [named for _, named in self._constraints if named & later]
            needed += [self._whens[other][1] for other in later.intersection(self._whens)]
            levels.append(
                _Level(
                    column,
                    when and Condition(when[0], self._names, sorted(when[1]), None, (), False),
                    tuple(self._checks(column, done)),
                    tuple(sorted(done.intersection(*[set().union(*needed)]))),
                )
            )
        return levels

    def _checks(self, column: int, done: set[int]) -> Iterator[Condition]:
        """What to check when `column` is the last of the columns that are `done`."""
        for expr, named in self._constraints:
            later = named - done
            if column not in named:
                continue
            if later:
                may_come_not_to_apply = bool(later.intersection(self._whens))
                combinations = prod(self._names.counts[other] for other in named)
                if not self._planned or may_come_not_to_apply or combinations < WORTH_A_LOOK_AHEAD:
                    continue
            earlier = sorted(named - later - {column})
            yield Condition(expr, self._names, earlier, column, sorted(later), tables=self._planned)

    def possible(self) -> bool:
        """Whether the constraints that name no parameter hold."""
        free = [expr for expr, named in self._constraints if not named]
        return all(bool(expr.evaluate(self._names.scope, COLUMNS)) for expr in free)

    def heads(self) -> Iterator[Codes]:
        """Yields the codes of the valid choices for the columns in `order`, chunk by chunk."""
        levels = self._levels()
        looked_at = 0
        stack: list[tuple[int, Codes, Columns]] = [(0, np.zeros(1, np.int64), {})]
        while stack:
            depth, codes, columns = stack.pop()
            if depth == len(levels):
                yield codes
                continue
            width = self._names.counts[levels[depth].column]
            size = max(CHUNK // width, 1)
            if len(codes) > size:
                rest = {column: index[size:] for column, index in columns.items()}
                stack.append((depth, codes[size:], rest))
                columns = {column: index[:size] for column, index in columns.items()}
                codes = codes[:size]
            looked_at += len(codes) * width
            if looked_at > MAX_CANDIDATES:
                raise TooLargeError(
                    f"gave up after {MAX_CANDIDATES:.0e} partial configs: add constraints that "
                    "name fewer parameters, or take away values"
                )
            codes, columns = self._step(levels[depth], codes, columns)
            if len(codes):
                stack.append((depth + 1, codes, columns))

    def _step(self, level: _Level, codes: Codes, columns: Columns) -> tuple[Codes, Columns]:
        """Gives the partial configs every value of the level's parameter that is allowed."""
        column, width = level.column, self._names.counts[level.column]
        candidates = np.ones((len(codes), width), bool)
        if level.when is not None:
            active = np.ones((len(codes), 1), bool)
            level.when.narrow(active, columns)
            candidates &= active
        for constraint in level.constraints:
            constraint.narrow(candidates, columns)
        parents, values = np.divmod(np.flatnonzero(candidates), width)
        if level.when is not None:
            without = np.flatnonzero(~active[:, 0])
            parents = np.concatenate([parents, without])
            values = np.concatenate([values, np.full(len(without), INACTIVE)])
        digits = values + int(self._radix.optional[column])
        kept = {other: columns[other][parents] for other in level.kept if other != column}
        if column in level.kept:
            kept[column] = values.astype(self._radix.dtype)
        return codes[parents] + digits * int(self._radix.weights[column]), kept


def enumerate_codes(rules: Rules, scope: Scope, radix: Radix) -> Codes:
    """Returns the codes [n] of all valid configs, rising.

    Raises:
        TunerError: There are more than MAX_ROWS, or a constraint cannot be evaluated.
    """
    try:
        return _collect(_Walk(rules, scope, radix, planned=True), rules, radix)
    except TooLargeError:
        raise
    except TunerError:
        # Where one constraint keeps another from, say, a division by zero, their order counts.
        return _collect(_Walk(rules, scope, radix, planned=False), rules, radix)


def _collect(walk: _Walk, rules: Rules, radix: Radix) -> Codes:
    if not walk.possible():
        return np.empty(0, np.int64)
    times = prod(int(radix.counts[column]) for column in walk.free)
    parts = [np.empty(0, np.int64)]
    found = 0
    for codes in walk.heads():
        parts.append(codes)
        found += len(codes)
        if found * times > MAX_ROWS:
            raise TooLargeError(_too_many(rules))
    codes = np.concatenate(parts)
    for column in walk.free:
        digits = np.arange(radix.counts[column]) * radix.weights[column]
        codes = (codes[:, None] + digits).ravel()
    codes.sort()
    return codes


def _too_many(rules: Rules) -> str:
    largest = max(rules.parameters, key=lambda parameter: len(parameter.values))
    raw = prod(len(parameter.values) for parameter in rules.parameters)
    return (
        f"more than {MAX_ROWS} configs are valid (of {raw:.1e} combinations): add constraints or "
        f"take away values (most values: parameter {largest.name!r}, {len(largest.values)})"
    )
