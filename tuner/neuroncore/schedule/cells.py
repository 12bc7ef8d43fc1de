"""Cuts every tensor into cells, so that accesses overlap exactly where they share one.

The cuts are the bounds of all accesses, of rows and of bytes apart: each access covers a whole
rectangle of cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tuner.neuroncore.compiled import compiled, lean
from tuner.neuroncore.program import (
    BYTE_HIGH,
    BYTE_LOW,
    MODE,
    READ,
    ROW_HIGH,
    ROW_LOW,
    TENSOR,
    Space,
)

__all__ = ["BYTE_CELLS", "COUNT", "FIRST", "cells", "span"]

FIRST, COUNT, BYTE_CELLS, ROW_SHIFT, ROW_TABLE, BYTE_SHIFT, BYTE_TABLE, _ = range(8)
"""Columns of the grid: a tensor's first cell (-1: nobody need wait for it), its cells, those side
by side, and how bounds become cells: shifted right, then looked up (-1: not)."""

_HBM = int(Space.HBM)
_EVEN_MAX = 8
"""Up to so many cells a tensor's rows or bytes are cut at even distances, without a table."""


@compiled
def cells(accesses: Any, space: Any, rows: Any, row_bytes: Any) -> Any:
    """Returns (grid, table, cells): the grid of each tensor, shape (tensors, 8)."""
    tensors = len(space)
    inner = np.zeros((tensors, 2), np.int64)  # all inner bounds of rows and of bytes, or-ed
    modes = np.zeros(tensors, np.int8)
    _bounds(accesses, rows, row_bytes, inner, modes)
    grid = np.full((tensors, 8), -1, np.int32)
    table_size = 0
    for t in range(tensors):
        if modes[t] == 0 or (space[t] == _HBM and modes[t] != 3):
            continue
        grid[t, FIRST] = 0
        table_size = _cut(grid[t], ROW_SHIFT, inner[t, 0], rows[t], table_size)
        table_size = _cut(grid[t], BYTE_SHIFT, inner[t, 1], row_bytes[t], table_size)
    table = np.zeros(table_size, np.int32)
    if table_size:
        _number(accesses, grid, table, rows, row_bytes)
    return grid, table, _place(grid, table, rows, row_bytes)


@lean
def _bounds(accesses: Any, rows: Any, row_bytes: Any, inner: Any, modes: Any) -> None:
    """Finds what bounds of accesses lie inside each tensor, and whether it is read and written."""
    for a in range(len(accesses)):
        t = accesses[a, TENSOR]
        modes[t] |= 1 if accesses[a, MODE] == READ else 2
        low, high = accesses[a, ROW_LOW], accesses[a, ROW_HIGH]
        if low > 0 or high < rows[t]:
            inner[t, 0] |= low | (high if high < rows[t] else 0)
        low, high = accesses[a, BYTE_LOW], accesses[a, BYTE_HIGH]
        if low > 0 or high < row_bytes[t]:
            inner[t, 1] |= low | (high if high < row_bytes[t] else 0)


@lean
def _cut(grid: Any, column: Any, inner: Any, extent: Any, table_size: Any) -> Any:
    """Chooses the largest power of two that divides all inner bounds; makes room for a table where
    that leaves many cells.
    """
    shift = 0
    if inner == 0:
        while (1 << shift) < extent:
            shift += 1
    else:
        while inner & (1 << shift) == 0:
            shift += 1
    grid[column] = shift
    units = _units(extent, shift)
    if units > _EVEN_MAX:
        grid[column + 1] = table_size
        table_size += units + 1
    return table_size


@lean
def _units(extent: Any, shift: Any) -> Any:
    return (extent + (1 << shift) - 1) >> shift


@lean
def _number(accesses: Any, grid: Any, table: Any, rows: Any, row_bytes: Any) -> None:
    """Fills the tables: the number of the cell that begins at each bound."""
    for a in range(len(accesses)):
        t = accesses[a, TENSOR]
        if grid[t, FIRST] < 0:
            continue
        for side in range(2):
            base = grid[t, ROW_TABLE + 2 * side]
            if base >= 0:
                shift = grid[t, ROW_SHIFT + 2 * side]
                table[base + (accesses[a, ROW_LOW + 2 * side] >> shift)] = 1
                table[base + _units(accesses[a, ROW_HIGH + 2 * side], shift)] = 1
    for t in range(len(grid)):
        for side in range(2):
            base = grid[t, ROW_TABLE + 2 * side]
            if base < 0:
                continue
            extent = rows[t] if side == 0 else row_bytes[t]
            last = base + _units(extent, grid[t, ROW_SHIFT + 2 * side])
            table[base] = 0
            table[last] = 1
            for unit in range(base + 1, last + 1):
                table[unit] += table[unit - 1]


@lean
def _place(grid: Any, table: Any, rows: Any, row_bytes: Any) -> Any:
    """Gives each tensor its cells; returns how many there are."""
    used = 0
    for t in range(len(grid)):
        if grid[t, FIRST] < 0:
            continue
        high = _units(rows[t], grid[t, ROW_SHIFT])
        wide = _units(row_bytes[t], grid[t, BYTE_SHIFT])
        if grid[t, ROW_TABLE] >= 0:
            high = table[grid[t, ROW_TABLE] + high]
        if grid[t, BYTE_TABLE] >= 0:
            wide = table[grid[t, BYTE_TABLE] + wide]
        grid[t, FIRST] = used
        grid[t, COUNT] = high * wide
        grid[t, BYTE_CELLS] = wide
        used += high * wide
    return used


@lean
def span(access: Any, grid: Any, table: Any) -> Any:
    """Returns the rectangle of cells that an access covers: first cell, rows of cells, cells a
    row.
    """
    row_shift, byte_shift = grid[ROW_SHIFT], grid[BYTE_SHIFT]
    top = access[ROW_LOW] >> row_shift
    bottom = _units(access[ROW_HIGH], row_shift)
    left = access[BYTE_LOW] >> byte_shift
    right = _units(access[BYTE_HIGH], byte_shift)
    if grid[ROW_TABLE] >= 0:
        top, bottom = table[grid[ROW_TABLE] + top], table[grid[ROW_TABLE] + bottom]
    if grid[BYTE_TABLE] >= 0:
        left, right = table[grid[BYTE_TABLE] + left], table[grid[BYTE_TABLE] + right]
    return grid[FIRST] + top * grid[BYTE_CELLS] + left, bottom - top, right - left
