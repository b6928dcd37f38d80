"""How good the rows are that a model draws: they are held against rows of data, of which the model
knows which it was trained on.
"""

from __future__ import annotations

__all__ = ["check", "quality_of"]

from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import TableSchema, Values
from ..data.table import Column
from ..synthesis import Quality, Tables, quality
from .model import Model

Array = npt.NDArray[np.float64]


def quality_of(
    model: Model,
    X: Any,
    synthetic: Any = None,
    target: str | None = None,
    seed: int = 0,
    most: int = 100_000,
) -> Quality:
    """Judge synthetic rows.

    Arguments:
        model: The model.
        X: Rows of data: best those it was trained on and others.
        synthetic: Rows that it drew; None draws as many as there are rows of training.
        target: A column to predict.
        seed: Seed of what is drawn.
        most: How many rows are drawn at most.

    Raises:
        ValueError: Rows are no table, do not fit, or there are none for what was asked.
    """
    values = model.values(X)
    _check_rows(values)
    if model.condition is not None and synthetic is None:
        raise ValueError(
            "This is a model of p(x|c): draw rows with the conditions that they are to have, and "
            "pass them as synthetic."
        )
    trained, new, any_seen = _parted(model, values)
    table = model.schema.table
    if synthetic is None:
        synthetic = model.sample(min(len(trained), most), seed=seed)
    made = model.values(synthetic).array
    if table is not None:
        made = table.encode(table.decode(made))  # in the range and rounding of the columns
    names = _names(model)
    if table is None:
        return quality(Tables.of(trained, made, new, names, trained=any_seen), target, seed)
    trained, made = _values(table, trained), _values(table, made)
    if new is not None:
        new = _values(table, new)
    levels = [_has_levels(column) for column in table.in_model]
    return quality(Tables.of(trained, made, new, names, levels, trained=any_seen), target, seed)


def check(model: Model, X: Any, target: str | None = None) -> None:
    """Refuse rows, or a column to predict, that synthetic rows cannot be judged by, before any are
    drawn.

    Arguments:
        model: The model.
        X: Rows of data.
        target: The column.

    Raises:
        ValueError: They are no table or do not fit, or there is no such column; or no row is new
            where one is to be predicted.
    """
    values = model.values(X)
    _check_rows(values)
    if target is None:
        return
    names = _names(model)
    if target not in names:
        raise ValueError(f"target {target!r} is no column. There are: {', '.join(names)}.")
    if _parted(model, values)[1] is None:
        raise ValueError(
            "Usefulness needs rows that were not trained on beside those that were. Hold some out."
        )


def _check_rows(values: Values) -> None:
    """Refuse rows that are no table."""
    if values.array.ndim != 2:
        raise ValueError(
            f"quality is of tables, but this model's rows have shape {values.array.shape[1:]}."
        )


def _names(model: Model) -> list[str]:
    """Return what the columns are called."""
    return [model.schema.feature_name(j) for j in range(model.schema.n_features)]


def _parted(model: Model, values: Values) -> tuple[Array, Array | None, bool]:
    """Return the rows that the model was trained on, others if there are both, and whether it knows
    any of them.
    """
    if model.known is None:
        return values.array, None, True
    seen = model.trained_on(values)
    if seen.any() and not seen.all():
        return values.array[seen], values.array[~seen], True
    return values.array, None, bool(seen.any())


def _has_levels(column: Column) -> bool:
    """Return whether a column holds categories, rather than numbers that may have an order."""
    return column.form in ("text", "truth") or column.kind in ("bernoulli", "categorical")


def _values(table: TableSchema, rows: Array) -> Array:
    """Return the values of numbers (n, d): of ordered levels that are numbers not their index."""
    found = rows.copy()
    for j, column in enumerate(table.in_model):
        if not _has_levels(column):
            found[:, j] = column.decode(rows[:, j])
    return found
