"""Columns that take few values, and which of these few rows have."""

from __future__ import annotations

__all__ = ["distinct", "rare"]

from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]


def distinct(
    column: Column, rounding: float = 1e-5
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the different values of a column, ascending, and how many rows have each.

    Arguments:
        column: The values, (n,).
        rounding: The share of the column's range within which two values are one: scaled there and
            back, they may differ by rounding.
    """
    ordered = np.sort(np.asarray(column, dtype=np.float64))
    apart = np.diff(ordered) > rounding * (ordered[-1] - ordered[0])
    group = np.concatenate([[0], np.cumsum(apart)])
    counts = np.bincount(group)
    return np.bincount(group, ordered) / counts, counts


def rare(column: Column, few: int = 20, share: float = 0.1, least: int = 5) -> list[int]:
    """Return which of the `distinct` values are rare, by number.

    Arguments:
        column: The values, (n,).
        few: The number of different values that are looked at one by one; a column that takes more
            has none that are rare.
        share: The share of rows up to which a value is rare.
        least: The number of rows that must have it to say anything.
    """
    n, (_, counts) = len(column), distinct(column)
    if not 2 <= len(counts) <= min(few, n // least):
        return []
    return [int(i) for i in np.flatnonzero((counts >= least) & (counts <= share * n))]
