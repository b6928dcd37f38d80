"""What makes log p(x) of a table mean less than it seems: few or repeated values, copies and
totals, far cells.

A density has no bound on values that repeat, nor on columns that follow from others; and one far
cell sets the scale of its whole column. `fit` tells of all three, by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.moments import chunks, feature_moments

__all__ = ["FarCell", "Peculiar", "peculiar"]

Array = npt.NDArray[Any]

FEWEST_ROWS = 20
"""Of fewer rows nothing is said."""
ENOUGH_ROWS = 50
"""Of fewer nothing is said of values that repeat: they may be chance."""
LOOKED_AT, MOST_ROWS = 2**22, 5_000
"""Values, and rows, in which repeated values are looked for: rows evenly spaced."""
FEW_VALUES = 10
"""Different values up to which a column takes few."""
SOME_VALUES, ROWS_A_VALUE = 100, 10
"""A column repeats its values where it has at most so many, each in so many rows on average."""
SPIKE = 1 / 3
"""Or where one value stands in such a share of the rows, and in `ROWS_A_VALUE` rows at least."""
MOST_COLUMNS = 512
"""Wider tables are not searched for columns that follow from others."""
FOLLOWS = 1e5
"""How many times smaller than its variance is what the other columns leave of a column that follows
from them.
"""
MOST_OF_VARIANCE = 0.5
"""Share of a column's variance that a single cell makes."""
FAR, SHARE_OF_FAR = 10.0, 0.3
"""Standard deviations of the others that a repeated extreme value is away from them, and the share
of rows it has.
"""


@dataclass(frozen=True)
class FarCell:
    """A value that is far from all others of its column.

    Attributes:
        column, row: Its place, counting from 0.
        value: It.
        cells: How many cells hold it; 1 where it makes most of the column's variance by itself.
    """

    column: int
    row: int
    value: float
    cells: int


@dataclass(frozen=True)
class Peculiar:
    """Columns, as places in order.

    Attributes:
        few: Those that take few values.
        repeated: Others whose values repeat a lot.
        dependent: Those that follow (almost) exactly from others.
        far: Cells that are far from all others.
    """

    few: tuple[int, ...] = ()
    repeated: tuple[int, ...] = ()
    dependent: tuple[int, ...] = ()
    far: tuple[FarCell, ...] = ()


def peculiar(flat: Array) -> Peculiar:
    """Look at rows (n, d) of columns that vary."""
    n, d = flat.shape
    if n < FEWEST_ROWS:
        return Peculiar()
    rows = min(n, MOST_ROWS, max(FEWEST_ROWS, LOOKED_AT // d))
    step = math.ceil(n / rows)
    some = flat[::step].astype(np.float64)
    mean, variance = feature_moments(flat)
    single = _single_cells(flat, mean, variance)
    taken = {cell.column for cell in single}
    few, repeated = [], []
    repeats: list[FarCell] = []
    for j in range(d):
        values, counts = np.unique(some[:, j], return_counts=True)
        if len(some) < ENOUGH_ROWS:
            pass
        elif len(values) <= FEW_VALUES:
            few.append(j)
        elif _repeat(values, counts):
            repeated.append(j)
        if len(values) > FEW_VALUES and j not in taken:
            repeats += _repeated_cell(flat, j, values, counts)
    return Peculiar(tuple(few), tuple(repeated), _dependent(some), (*single, *repeats))


def _repeat(values: Array, counts: Array) -> bool:
    rows, most = int(counts.sum()), int(counts.max())
    rounded = len(values) <= SOME_VALUES and rows >= ROWS_A_VALUE * len(values)
    return rounded or (most >= ROWS_A_VALUE and most >= SPIKE * rows)


def _single_cells(flat: Array, mean: Array, variance: Array) -> list[FarCell]:
    """Cells that make most of their column's variance."""
    farthest, places = np.zeros(flat.shape[1]), np.zeros(flat.shape[1], dtype=np.intp)
    for rows in chunks(*flat.shape):
        away = np.abs(flat[rows] - mean)
        here = away.argmax(0)
        top = away[here, np.arange(flat.shape[1])]
        places = np.where(top > farthest, rows.start + here, places)
        farthest = np.maximum(top, farthest)
    deviation = np.sqrt(variance * len(flat))
    found = np.flatnonzero(
        farthest > math.sqrt(MOST_OF_VARIANCE) * np.where(deviation > 0, deviation, np.inf)
    )
    return [FarCell(int(j), int(places[j]), float(flat[places[j], j]), 1) for j in found]


def _repeated_cell(flat: Array, j: int, values: Array, counts: Array) -> list[FarCell]:
    """The least or greatest value of a column, where it stands in some rows and far from all
    others: as -999 does.
    """
    for end, others in ((0, slice(1, None)), (-1, slice(None, -1))):
        weights, rest = counts[others], values[others]
        if counts[end] < 2 or counts[end] > SHARE_OF_FAR * counts.sum():
            continue
        centre = np.average(rest, weights=weights)
        spread = math.sqrt(np.average((rest - centre) ** 2, weights=weights))
        if abs(values[end] - centre) > FAR * spread:
            where = np.flatnonzero(flat[:, j] == values[end])
            return [FarCell(j, int(where[0]), float(values[end]), len(where))]
    return []


def _dependent(some: Array) -> tuple[int, ...]:
    """Columns of which the others leave next to nothing: by the diagonal of the inverse of the
    correlations.
    """
    n, d = some.shape
    if d < 2 or d > MOST_COLUMNS or n < d + 2:
        return ()
    deviation = some.std(0)
    if not (deviation > 0).all() or not np.isfinite(deviation).all():
        return ()
    t = (some - some.mean(0)) / deviation
    values, vectors = np.linalg.eigh(t.T @ t / n)
    left = 1 / (vectors**2 / np.maximum(values, 1e-12)).sum(1)
    return tuple(int(j) for j in np.flatnonzero(left * FOLLOWS < 1))
