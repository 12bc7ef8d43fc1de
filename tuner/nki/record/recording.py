"""What a recorder wrote down: each instruction once, for all passes of the loops around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.neuroncore.compiled import compiled
from tuner.neuroncore.program import Program, Site, Work
from tuner.nki.record.symbolic import Index, Loop, NotSymbolicError, Term, Variable, Whole

__all__ = ["Recording", "Stack"]

ROW, BYTE = range(2)


class Stack:
    """The loops around a piece of the kernel, outermost first, and what is computed of them."""

    __slots__ = ("loops", "number", "terms")

    def __init__(self, loops: tuple[Loop, ...], number: int) -> None:
        self.loops = loops
        self.number = number
        self.terms: dict[Term, int] = {}

    def variable(self, variable: Variable) -> int:
        """Returns the number of a variable: a loop's depth, or -1 - the number of a term.

        Raises:
            NotSymbolicError: It belongs to a loop that is over.
        """
        if type(variable) is Loop:
            if variable.open:
                return variable.depth
            raise NotSymbolicError
        if not all(loop.open for loop, _ in variable.passes):  # type: ignore[union-attr]
            raise NotSymbolicError
        return -1 - self.terms.setdefault(variable, len(self.terms))  # type: ignore[arg-type]


@dataclass
class Recording:
    """Instructions and tensors as recorded; positions are those of the first pass of all loops.

    Attributes:
        instructions: (stack, position, first access, accesses, work, line) of each.
        accesses: (tensor, depth of the tensor's loops, mode, row, rows, byte, bytes) of each, in
            the order of the instructions.
        factors: (access, ROW or BYTE, variable, factor) where a row or byte differs by pass.
        tensors: (stack, number, space, rows, bytes of a row, site) of each.
        total: Instructions, accesses and tensors of all passes.
    """

    works: dict[Work, int] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)
    instructions: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    accesses: list[tuple[int, int, int, int, int, int, int]] = field(default_factory=list)
    factors: list[tuple[int, int, int, int]] = field(default_factory=list)
    tensors: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    total: tuple[int, int, int] = (0, 0, 0)

    def access(
        self,
        stack: Stack,
        tensor: tuple[int, int],
        mode: int,
        where: tuple[Whole, int, Whole, int, int],
    ) -> None:
        """Appends an access: first row, rows, first element, elements, bytes of each; what is first
        may differ by pass.
        """
        row, rows, column, elements, itemsize = where
        number = len(self.accesses)
        if type(row) is Index:
            for variable, factor in row.factors.items():
                self.factors.append((number, ROW, stack.variable(variable), factor))
            row = row.constant
        if type(column) is Index:
            for variable, factor in column.factors.items():
                self.factors.append((number, BYTE, stack.variable(variable), factor * itemsize))
            column = column.constant
        self.accesses.append(
            (*tensor, mode, row, rows, column * itemsize, elements * itemsize)  # type: ignore[arg-type]
        )

    def work_counts(self) -> dict[Work, int]:
        """Returns how often each piece of work is done, without writing them out."""
        passes = [1] * len(self.stacks)
        for stack in self.stacks:
            for loop in stack.loops:
                passes[stack.number] *= loop.count
        counts = [0] * len(self.works)
        for stack_number, _, _, _, work, _ in self.instructions:
            counts[work] += passes[stack_number]
        return dict(zip(self.works, counts, strict=True))

    @cached_property
    def _depth(self) -> int:
        return max((len(stack.loops) for stack in self.stacks), default=0)

    def program(self) -> Program:
        """Returns every instruction of every pass, in program order."""
        loops, counts, terms = self._tables()
        instructions, accesses, tensors = self.total
        factors = self._factor_table(terms.shape[1])
        work_of = np.empty(instructions, np.int32)
        line_of = np.empty(instructions, np.int32)
        first_access = np.empty(instructions + 1, np.int64)
        first_access[-1] = accesses
        written_out = np.empty((accesses, 6), np.int32)
        _expand_instructions(
            _rows(self.instructions, 6),
            _rows(self.accesses, 7),
            factors,
            loops,
            counts,
            terms,
            work_of,
            line_of,
            first_access,
            written_out,
        )
        shapes = np.empty((tensors, 4), np.int64)
        _expand_tensors(_rows(self.tensors, 6), loops, counts, shapes)
        return Program(
            works=tuple(self.works),
            work_of=work_of,
            lines=tuple(self.lines),
            line_of=line_of,
            first_access=first_access,
            accesses=written_out,
            sites=tuple(self.sites),
            space=shapes[:, 0].astype(np.int8),
            rows=shapes[:, 1].astype(np.int32),
            row_bytes=shapes[:, 2].copy(),
            site=shapes[:, 3].astype(np.int32),
        )

    def _tables(self) -> tuple[Any, Any, Any]:
        """Arrays of the stacks: (passes, instructions, accesses, tensors a pass) of their loops;
        number of loops and terms; constant, divisor, remainder or not, factors of their terms.
        """
        depth = self._depth
        widest = max((len(stack.terms) for stack in self.stacks), default=0)
        loops = np.zeros((len(self.stacks), depth, 4), np.int64)
        counts = np.zeros((len(self.stacks), 2), np.int64)
        terms = np.zeros((len(self.stacks), widest, 3 + depth), np.int64)
        for stack in self.stacks:
            counts[stack.number] = len(stack.loops), len(stack.terms)
            for loop in stack.loops:
                loops[stack.number, loop.depth] = (
                    loop.count,
                    loop.instructions,
                    loop.accesses,
                    loop.tensors,
                )
            for term, number in stack.terms.items():
                row = terms[stack.number, number]
                row[:3] = term.constant, term.divisor, term.remainder
                for loop, factor in term.passes:
                    row[3 + loop.depth] = factor
        return loops, counts, terms

    def _factor_table(self, terms: int) -> npt.NDArray[np.int64]:
        """Factors of every access: shape (accesses, 2, depth + terms)."""
        table = np.zeros((len(self.accesses), 2, self._depth + terms), np.int64)
        if self.factors:
            access, kind, variable, factor = np.array(self.factors, np.int64).T
            column = np.where(variable < 0, self._depth - 1 - variable, variable)
            table[access, kind, column] = factor
        return table


def _rows(rows: list[Any], width: int) -> npt.NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(-1, width)


@compiled
def _expand_instructions(
    instructions: Any,
    accesses: Any,
    factors: Any,
    loops: Any,
    counts: Any,
    terms: Any,
    work_of: Any,
    line_of: Any,
    first_access: Any,
    out: Any,
) -> None:
    """Fills in the instructions of all passes: `variables` are the passes, then the terms."""
    depth_max, width = loops.shape[1], factors.shape[2]
    variables = np.zeros(max(1, width), np.int64)
    begin = 0
    for r in range(len(instructions)):
        stack, position, first, own, work, line = instructions[r]
        depth, n_terms = counts[stack]
        passes = 1
        for d in range(depth):
            passes *= loops[stack, d, 0]
        variables[:] = 0
        for _ in range(passes):
            place, access = position, first
            for d in range(depth):
                place += variables[d] * loops[stack, d, 1]
                access += variables[d] * loops[stack, d, 2]
            for t in range(n_terms):
                total = terms[stack, t, 0]
                for d in range(depth):
                    total += variables[d] * terms[stack, t, 3 + d]
                divisor = terms[stack, t, 1]
                quotient = total // divisor
                variables[depth_max + t] = (
                    total - quotient * divisor if terms[stack, t, 2] else quotient
                )
            work_of[place] = work
            line_of[place] = line
            first_access[place] = access
            for a in range(begin, begin + own):
                tensor, row, byte = accesses[a, 0], accesses[a, 3], accesses[a, 5]
                for d in range(accesses[a, 1]):
                    tensor += variables[d] * loops[stack, d, 3]
                for v in range(width):
                    row += variables[v] * factors[a, 0, v]
                    byte += variables[v] * factors[a, 1, v]
                out[access, 0] = tensor
                out[access, 1] = accesses[a, 2]
                out[access, 2] = row
                out[access, 3] = row + accesses[a, 4]
                out[access, 4] = byte
                out[access, 5] = byte + accesses[a, 6]
                access += 1
            for d in range(depth - 1, -1, -1):
                variables[d] += 1
                if variables[d] < loops[stack, d, 0]:
                    break
                variables[d] = 0
        begin += own


@compiled
def _expand_tensors(tensors: Any, loops: Any, counts: Any, out: Any) -> None:
    passes_of = np.zeros(max(1, loops.shape[1]), np.int64)
    for r in range(len(tensors)):
        stack, first, space, rows, row_bytes, site = tensors[r]
        depth = counts[stack, 0]
        passes = 1
        for d in range(depth):
            passes *= loops[stack, d, 0]
        passes_of[:] = 0
        for _ in range(passes):
            number = first
            for d in range(depth):
                number += passes_of[d] * loops[stack, d, 3]
            out[number, 0] = space
            out[number, 1] = rows
            out[number, 2] = row_bytes
            out[number, 3] = site
            for d in range(depth - 1, -1, -1):
                passes_of[d] += 1
                if passes_of[d] < loops[stack, d, 0]:
                    break
                passes_of[d] = 0
