"""The tables that are compared, as arrays: numbers as they are, levels by index, NaN missing."""

from __future__ import annotations

__all__ = ["Tables", "spaced"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..brief import Brief

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Tables(Brief):
    """Rows of data, synthetic ones, and rows of data that the model has not seen.

    Attributes:
        names: What the columns are called.
        levels: Which columns hold levels, rather than numbers, (d,).
        data: The rows that the model was trained on, (n, d).
        synthetic: Rows that it made, (m, d).
        held_out: Rows of data that it was not trained on; None where there are none.
        trained: Whether the model was trained on ``data``: else these rows are new themselves.
    """

    names: tuple[str, ...]
    levels: npt.NDArray[np.bool_]
    data: Array
    synthetic: Array
    held_out: Array | None = None
    trained: bool = True

    @classmethod
    def of(
        cls,
        data: Any,
        synthetic: Any,
        held_out: Any = None,
        names: Sequence[str] | None = None,
        levels: Sequence[bool] | None = None,
        trained: bool = True,
    ) -> Tables:
        """Take arrays, and check that they fit together.

        Arguments:
            data, synthetic, held_out: Of shape (rows, d).
            names: What the columns are called; None numbers them.
            levels: Which columns hold levels; None are none.
            trained: Whether the model was trained on ``data``.

        Raises:
            ValueError: An array has no rows, another number of columns, or infinite values.
        """
        first = _rows("data", data)
        d = first.shape[1]
        if names is None:
            names = [f"x{j}" for j in range(d)]
        if levels is None:
            levels = [False] * d
        for what, given in (("names", names), ("levels", levels)):
            if len(given) != d:
                raise ValueError(f"{what} must be of {d} columns, got {len(given)}.")
        others = {"synthetic": synthetic, "held_out": held_out}
        found = {what: _rows(what, x, d) for what, x in others.items() if x is not None}
        which = np.asarray(levels, dtype=np.bool_)
        return cls(tuple(names), which, first, found["synthetic"], found.get("held_out"), trained)

    @property
    def any_new(self) -> bool:
        """Whether there are rows of data that the model has not seen."""
        return self.held_out is not None or not self.trained

    @property
    def unseen(self) -> Array:
        """The rows of data to judge by: those that the model has not seen, where there are any."""
        if self.held_out is None:
            return self.data
        return self.held_out


def spaced(rows: Array, most: int) -> Array:
    """Return at most so many rows, evenly spaced."""
    return rows[:: max(1, -(-len(rows) // most))]


def _rows(name: str, x: Any, columns: int | None = None) -> Array:
    found = np.asarray(x, dtype=np.float64)
    if found.ndim != 2 or not len(found):
        raise ValueError(f"{name} must be rows, of shape (n, d), got shape {found.shape}.")
    if columns is not None and found.shape[1] != columns:
        raise ValueError(f"{name} has {found.shape[1]} columns, but data has {columns}.")
    if np.isinf(found).any():
        raise ValueError(f"{name} holds infinite values. Remove them, or make them missing (NaN).")
    return found
