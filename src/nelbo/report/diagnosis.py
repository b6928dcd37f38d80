"""A fitted model diagnosed in the units of its data."""

from __future__ import annotations

__all__ = ["examine"]

from typing import Any

from ..diagnose import Diagnosis, diagnose
from ..estimator import VariationalAutoencoder, options


def examine(
    model: VariationalAutoencoder, rows: Any, train: Any | None = None, limit: int = 1000, seed: int = 0
) -> Diagnosis:
    """Diagnose a fitted model.

    Arguments:
        model: The model.
        rows: An array or data frame in data units, best of rows it has not seen.
        train: The rows it was fitted to, likewise, or None.
        limit: How many rows to look at.
        seed: Of everything drawn.

    Raises:
        ValueError: Rows that do not fit or are too few.
    """
    known = None if train is None else options.rows(model, train, "hash")
    units = options.units(model.schema_)
    return diagnose(model.model_, options.rows(model, rows, "hash"), known, rows=limit, units=units, seed=seed)
