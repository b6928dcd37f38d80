"""Columns that take few values, and which of these few rows have."""

from __future__ import annotations

__all__ = ["distinct", "rare"]

from typing import Any

import numpy as np
import numpy.typing as npt

FEW = 20
"""Different values of a column that are looked at one by one."""
RARE, LEAST = 0.1, 5
"""The share up to which a value is rare, and how many rows must have it to say anything."""
ROUNDING = 1e-5
"""Share of a column's range within which two values are one: scaled there and back they may differ
by rounding.
"""

Column = npt.NDArray[Any]


def distinct(column: Column) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the different values of a column (n,), ascending, and how many rows have each."""
    ordered = np.sort(np.asarray(column, dtype=np.float64))
    apart = np.diff(ordered) > ROUNDING * (ordered[-1] - ordered[0])
    group = np.concatenate([[0], np.cumsum(apart)])
    counts = np.bincount(group)
    return np.bincount(group, ordered) / counts, counts


def rare(column: Column) -> list[int]:
    """Return which of the `distinct` values are rare, by number; none where a column takes many
    values.
    """
    _, counts = distinct(column)
    if not 2 <= len(counts) <= min(FEW, len(column) // LEAST):
        return []
    return [int(i) for i in np.flatnonzero((counts >= LEAST) & (counts <= RARE * len(column)))]
