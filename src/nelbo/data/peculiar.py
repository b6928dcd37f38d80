"""What makes log p(x) of a table mean less than it seems: repeated values, totals, far cells.

A density has no bound on values that repeat, nor on columns that follow from others; and one far
cell sets the scale of its whole column. `fit` tells of all three, by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nelbo.data.moments import chunks, feature_moments, has_missing

__all__ = ["FarCell", "Peculiar", "Search", "peculiar"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FarCell:
    """A value that is far from all others of its column.

    Attributes:
        column, row: Its place, counting from 0.
        value: The value.
        cells: How many cells hold it; 1 where it makes most of the column's variance by itself.
    """

    column: int
    row: int
    value: float
    cells: int


@dataclass(frozen=True)
class Peculiar:
    """What is peculiar about a table; columns are given by their places, in order.

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


@dataclass(frozen=True)
class Search:
    """What counts as peculiar, and how much is looked at.

    Attributes:
        fewest_rows: The number of rows below which nothing is said.
        enough_rows: The number of rows below which nothing is said of values that repeat: it may be
            chance.
        values, rows: The numbers of values, and of rows, in which repeated values are looked for;
            the rows are evenly spaced.
        few: The number of different values up to which a column takes few.
        some: The number of different values up to which rounded values repeat.
        rows_a_value: The number of rows that have each of those, on average.
        spike: The share of rows from which on a single value repeats, if `rows_a_value` rows have
            it.
        columns: The number of columns up to which those are looked for that follow from others.
        follows: How many times smaller than its variance is what the others leave of such a column.
        most_of_variance: The share of a column's variance that a single far cell makes.
        far: How far a repeated extreme value is from the others, in their standard deviations.
        share_of_far: The share of rows that have it at most.
    """

    fewest_rows: int = 20
    enough_rows: int = 50
    values: int = 2**22
    rows: int = 5_000
    few: int = 10
    some: int = 100
    rows_a_value: int = 10
    spike: float = 1 / 3
    columns: int = 512
    follows: float = 1e5
    most_of_variance: float = 0.5
    far: float = 10.0
    share_of_far: float = 0.3

    def __call__(self, flat: Array) -> Peculiar:
        """Look at rows (n, d) of columns that vary."""
        n, d = flat.shape
        if n < self.fewest_rows:
            return Peculiar()
        rows = min(n, self.rows, max(self.fewest_rows, self.values // d))
        some = flat[:: math.ceil(n / rows)].astype(np.float64)
        single = self._single_cells(flat)
        taken = {cell.column for cell in single}
        few: list[int] = []
        repeated: list[int] = []
        repeats: list[FarCell] = []
        for j in range(d):
            there = some[~np.isnan(some[:, j]), j]
            values, counts = np.unique(there, return_counts=True)
            if len(there) >= self.enough_rows:
                if len(values) <= self.few:
                    few.append(j)
                elif self._repeat(counts):
                    repeated.append(j)
            if len(values) > self.few and j not in taken:
                repeats += self._repeated_cell(flat, j, values, counts)
        return Peculiar(tuple(few), tuple(repeated), self._dependent(some), (*single, *repeats))

    def _repeat(self, counts: Array) -> bool:
        """Return whether values repeat that stand in ``counts`` rows each."""
        rows, most = int(counts.sum()), int(counts.max())
        if len(counts) <= self.some and rows >= self.rows_a_value * len(counts):
            return True
        return most >= self.rows_a_value and most >= self.spike * rows

    def _single_cells(self, flat: Array) -> list[FarCell]:
        """Return the cells that make most of their column's variance."""
        mean, variance = feature_moments(flat)
        there = (~np.isnan(flat)).sum(0) if has_missing(flat) else len(flat)
        farthest, places = np.zeros(flat.shape[1]), np.zeros(flat.shape[1], dtype=np.intp)
        for rows in chunks(*flat.shape):
            away = np.nan_to_num(np.abs(flat[rows] - mean), nan=0.0)
            here = away.argmax(0)
            top = away[here, np.arange(flat.shape[1])]
            places = np.where(top > farthest, rows.start + here, places)
            farthest = np.maximum(top, farthest)
        deviation = np.sqrt(variance * there)
        deviation = np.where(deviation > 0, deviation, np.inf)
        found = np.flatnonzero(farthest > math.sqrt(self.most_of_variance) * deviation)
        return [FarCell(int(j), int(places[j]), float(flat[places[j], j]), 1) for j in found]

    def _repeated_cell(self, flat: Array, j: int, values: Array, counts: Array) -> list[FarCell]:
        """Return the least or greatest value of a column, as -999, if some rows share it.

        Only one that is far from all others is returned.
        """
        for end, others in ((0, slice(1, None)), (-1, slice(None, -1))):
            weights, rest = counts[others], values[others]
            if counts[end] < 2 or counts[end] > self.share_of_far * counts.sum():
                continue
            centre = np.average(rest, weights=weights)
            spread = math.sqrt(np.average((rest - centre) ** 2, weights=weights))
            if abs(values[end] - centre) > self.far * spread:
                where = np.flatnonzero(flat[:, j] == values[end])
                return [FarCell(j, int(where[0]), float(values[end]), len(where))]
        return []

    def _dependent(self, some: Array) -> tuple[int, ...]:
        """Return the columns of which the others leave next to nothing.

        The diagonal of the inverse of the correlations says how much they leave.
        """
        n, d = some.shape
        if d < 2 or d > self.columns or n < d + 2 or has_missing(some):
            return ()
        deviation = some.std(0)
        if not (deviation > 0).all() or not np.isfinite(deviation).all():
            return ()
        t = (some - some.mean(0)) / deviation
        values, vectors = np.linalg.eigh(t.T @ t / n)
        left = 1 / (vectors**2 / np.maximum(values, 1e-12)).sum(1)
        return tuple(int(j) for j in np.flatnonzero(left * self.follows < 1))


def peculiar(flat: Array) -> Peculiar:
    """Look at rows (n, d) of columns that vary, as `Search` does by default."""
    return Search()(flat)
