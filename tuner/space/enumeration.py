"""Enumerates the valid configs of a search space, without the product of all values.

Partial configs grow by one parameter at a time, depth first, in chunks of bounded size, and each
constraint is checked as soon as the parameters it names have values. Tightly constrained parameters
come first, those that no condition names are multiplied out at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log, prod
from typing import Any

import numpy as np

from tuner.runtime.errors import TunerError
from tuner.runtime.expressions import Expression
from tuner.runtime.rules import Rules, Scope
from tuner.space.codes import INACTIVE, Bools, Codes, Ints, Radix
from tuner.space.columns import COLUMNS

__all__ = ["enumerate_codes"]

MAX_ROWS = 30_000_000
MAX_CANDIDATES = 50_000_000_000  # some minutes
CHUNK = 1 << 17  # candidates looked at together: a few MB of intermediate values
MAX_TABLE = 1 << 22
SAMPLES = 512

Columns = Mapping[int, Ints]
"""For each parameter that is still needed, the value indices [m] of the partial configs."""


class TooLargeError(TunerError):
    """The space has more configs than can be enumerated."""


class _Condition:
    """A constraint or a `when`: over the columns `earlier`, and the one being added (`own`).

    It is evaluated where it is asked for, until that was done as often as there are combinations of
    the values that it names; from then on it is looked up in a table of them.

    Args:
        vacuous: The verdict where a parameter it names has no value.
        tables: Whether a table may be used; it may need combinations that other constraints forbid.
    """

    def __init__(
        self,
        expr: Expression,
        columns: Mapping[int, tuple[str, Any]],
        own: int | None,
        scope: Scope,
        radix: Radix,
        vacuous: bool,
        tables: bool,
    ) -> None:
        self.expr = expr
        self.earlier = [column for column in columns if column != own]
        self._names = [columns[column] for column in self.earlier]
        if own is not None:
            self._names.append(columns[own])
        self._scope = scope
        self._vacuous = vacuous
        self._bases = [int(radix.counts[column]) + 1 for column in self.earlier]
        self._width = 1 if own is None else int(radix.counts[own])
        self._own = own is not None
        self._entries = prod(self._bases) * self._width
        self._evaluated = 0
        self._table: Bools | None = None
        self._may_have_table = tables and self._entries <= MAX_TABLE

    def narrow(self, candidates: Bools, columns: Columns) -> None:
        """Drops from `candidates` [m, values of own] those for which it does not hold."""
        if self._table is None and self._may_have_table:
            self._evaluated += int(np.count_nonzero(candidates))
            if self._evaluated >= self._entries:
                self._tabulate()
        if self._table is None:
            rows, values = np.nonzero(candidates)
            indices = [columns[column][rows] for column in self.earlier]
            candidates[rows, values] = self._holds(indices + [values] * self._own, len(rows))
        else:
            place = np.zeros(len(candidates), np.int64)
            for column, base in zip(self.earlier, self._bases, strict=True):
                place = place * base + (columns[column] + 1)
            candidates &= self._table.take(place, axis=0)

    def share(self, generator: np.random.Generator, counts: Ints) -> float:
        """Estimates on how many of the combinations of values it holds; 1 where it cannot be."""
        sizes = [int(counts[column]) for column in self.earlier]
        sizes += [self._width] * self._own
        if (size := prod(sizes)) <= SAMPLES:
            places = np.arange(size)
        else:
            places = generator.integers(size, size=SAMPLES)
        try:
            holds = self._holds(np.unravel_index(places, sizes), len(places))
        except TunerError:
            return 1.0
        return max(float(holds.mean()), 0.5 / len(places))

    def _tabulate(self) -> None:
        table = np.empty(self._entries, bool)
        shape = (*self._bases, self._width)
        try:
            for start in range(0, self._entries, CHUNK):
                places = np.arange(start, min(start + CHUNK, self._entries))
                *indices, own = np.unravel_index(places, shape)
                indices = [index + INACTIVE for index in indices]
                table[places] = self._holds(indices + [own] * self._own, len(places))
        except TunerError:
            self._may_have_table = False
        else:
            self._table = table.reshape(-1, self._width)

    def _holds(self, indices: Sequence[Ints], count: int) -> Bools:
        """The verdict [count] for value indices, one array [count] for each name."""
        active = np.ones(count, bool)
        for index in indices:
            active &= index != INACTIVE
        values = dict(self._scope)
        everywhere = bool(active.all())
        for (name, choices), index in zip(self._names, indices, strict=True):
            values[name] = choices[index if everywhere else index[active]]
        with np.errstate(divide="raise", invalid="raise"):
            verdict = np.asarray(self.expr.evaluate(values, COLUMNS), bool)
        holds = np.full(count, self._vacuous)
        holds[active] = verdict
        return holds


@dataclass(frozen=True)
class _Level:
    """One step: the parameter it adds, what decides on it, and the columns needed later."""

    column: int
    when: _Condition | None
    constraints: tuple[_Condition, ...]
    kept: tuple[int, ...]


class _Walk:
    """The conditions of a space by column, and the order in which its parameters are added."""

    def __init__(self, rules: Rules, scope: Scope, radix: Radix, tables: bool) -> None:
        self._radix = radix
        self._scope = scope
        self._tables = tables
        self._names = {
            column: (parameter.name, np.array(parameter.values))
            for column, parameter in enumerate(rules.parameters)
        }
        self._whens = {
            column: (parameter.when, self._named(parameter.when))
            for column, parameter in enumerate(rules.parameters)
            if parameter.when is not None
        }
        self._constraints = [(c.expr, self._named(c.expr)) for c in rules.constraints]

    def _named(self, expr: Expression) -> frozenset[int]:
        return frozenset(i for i, (name, _) in self._names.items() if name in expr.names)

    def _needs(self, columns: frozenset[int]) -> frozenset[int]:
        """The columns, and those that decide whether they have a value."""
        needed = set(columns)
        for column in sorted(self._whens, reverse=True):  # a `when` names earlier parameters
            if column in needed:
                needed |= self._whens[column][1]
        return frozenset(needed)

    def _condition(
        self, expr: Expression, named: frozenset[int], own: int | None, vacuous: bool
    ) -> _Condition:
        columns = {column: self._names[column] for column in sorted(named)}
        return _Condition(expr, columns, own, self._scope, self._radix, vacuous, self._tables)

    def order(self, planned: bool) -> list[int]:
        """Columns that a condition names or decides on, in the order in which to add them.

        Planned, what a constraint needs comes together, and first where the least is left of it;
        else they come in the order of the file.
        """
        last = self._needs(frozenset(self._whens) | frozenset().union(*self._groups()))
        if not planned:
            return sorted(last)
        generator = np.random.default_rng(0)
        pending = [
            (
                self._needs(named),
                log(self._condition(e, named, None, True).share(generator, self._radix.counts)),
            )
            for e, named in self._constraints
            if named
        ]
        done: list[int] = []

        def growth(needs: frozenset[int]) -> float:
            together = needs | set(done)
            size = sum(log(self._radix.counts[column]) for column in needs - set(done))
            return size + sum(share for other, share in pending if other <= together)

        while pending:
            best = min((needs for needs, _ in pending), key=growth)
            done += sorted(best - set(done))
            pending = [(needs, share) for needs, share in pending if not needs <= set(done)]
        return done + sorted(last - set(done))

    def _groups(self) -> list[frozenset[int]]:
        return [named for _, named in self._constraints]

    def levels(self, order: list[int]) -> list[_Level]:
        """What is done at each step of an order."""
        levels: list[_Level] = []
        for step, column in enumerate(order):
            done, later = set(order[: step + 1]), set(order[step + 1 :])
            when = self._whens.get(column)
            decided = [c for c in self._constraints if column in c[1] and c[1] <= done]
            needed = [named for _, named in self._constraints if named & later]
            needed += [self._whens[other][1] for other in later & set(self._whens)]
            kept = frozenset().union(*needed) & done
            levels.append(
                _Level(
                    column,
                    None if when is None else self._condition(*when, None, False),
                    tuple(self._condition(*c, column, True) for c in decided),
                    tuple(sorted(kept)),
                )
            )
        return levels

    def possible(self) -> bool:
        """Whether the constraints that name no parameter hold."""
        free = [expr for expr, named in self._constraints if not named]
        return all(bool(expr.evaluate(self._scope, COLUMNS)) for expr in free)

    def heads(self, order: list[int]) -> Iterator[Codes]:
        """Yields the codes of the valid choices for the columns in `order`, chunk by chunk."""
        levels = self.levels(order)
        looked_at = 0
        stack: list[tuple[int, Codes, Columns]] = [(0, np.zeros(1, np.int64), {})]
        while stack:
            depth, codes, columns = stack.pop()
            if depth == len(levels):
                yield codes
                continue
            size = max(CHUNK // int(self._radix.counts[levels[depth].column]), 1)
            if len(codes) > size:
                rest = {column: index[size:] for column, index in columns.items()}
                stack.append((depth, codes[size:], rest))
                columns = {column: index[:size] for column, index in columns.items()}
                codes = codes[:size]
            looked_at += len(codes) * int(self._radix.counts[levels[depth].column])
            if looked_at > MAX_CANDIDATES:
                raise TooLargeError(
                    f"more than {MAX_CANDIDATES:.0e} partial configs: "
                    "add constraints that name fewer parameters"
                )
            codes, columns = self._step(levels[depth], codes, columns)
            if len(codes):
                stack.append((depth + 1, codes, columns))

    def _step(self, level: _Level, codes: Codes, columns: Columns) -> tuple[Codes, Columns]:
        """Gives the partial configs every value of the level's parameter that is allowed."""
        column, width = level.column, int(self._radix.counts[level.column])
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
        return _collect(_Walk(rules, scope, radix, tables=True), True, rules, radix)
    except TooLargeError:
        raise
    except TunerError:
        # Where one constraint keeps another from, say, a division by zero, their order counts.
        return _collect(_Walk(rules, scope, radix, tables=False), False, rules, radix)


def _collect(walk: _Walk, planned: bool, rules: Rules, radix: Radix) -> Codes:
    if not walk.possible():
        return np.empty(0, np.int64)
    order = walk.order(planned)
    free = sorted(set(range(len(radix.counts))) - set(order))
    times = prod(int(radix.counts[column]) for column in free)
    parts: list[Codes] = []
    found = 0
    for codes in walk.heads(order):
        parts.append(codes)
        found += len(codes)
        if found * times > MAX_ROWS:
            raise TooLargeError(_too_many(rules))
    codes = np.concatenate(parts) if parts else np.empty(0, np.int64)
    for column in free:
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
