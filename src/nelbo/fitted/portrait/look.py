"""How rows are to be shown, and which columns of a table say most."""

from __future__ import annotations

__all__ = [
    "columns_of",
    "correlations",
    "deviations",
    "filled",
    "in_units",
    "look_of",
    "telling_columns",
]

from typing import Any

import numpy as np
import numpy.typing as npt

from ...data import Values
from ...report.portrait import Column, Look
from ..model import Model

Array = npt.NDArray[Any]


def look_of(model: Model, rows: Array | None) -> Look:
    """Return how rows of a model are to be shown.

    Arguments:
        model: The model.
        rows: Some rows, in data units; None where there are none.
    """
    schema = model.schema
    if schema.kind != "images":
        columns = columns_of(model)
        telling = [*range(len(columns))]
        if rows is not None:
            telling = telling_columns(rows)
        return Look(False, "flat", 0.0, 1.0, columns, tuple(map(int, telling)))
    low, high = 0.0, 1.0
    if not schema.dequantize:
        low, high = schema.extent or (0.0, 1.0)
        if rows is not None:
            low, high = float(rows.min()), float(rows.max())
    if not low < high:
        low, high = low - 0.5, low + 0.5
    return Look(True, schema.layout, low, high)


def columns_of(model: Model) -> tuple[Column, ...]:
    """Return the columns of a table, with the levels of those that are categories."""
    table = model.schema.table
    if table is not None:
        return tuple(Column(part.name, part.labels, part.form == "date") for part in table.in_model)
    return tuple(Column(model.schema.feature_name(j)) for j in range(model.schema.n_features))


def deviations(model: Model, rows: Values | None) -> Array:
    """Return the standard deviation of each value of rows, (D,); without rows, the scale of the
    model."""
    if rows is None:
        scale = model.schema.to_user_flat(model.schema.scale)
        return np.broadcast_to(scale, (model.schema.n_features,))
    return np.asarray(filled(in_units(model, rows.array).reshape(len(rows), -1)).std(0))


def in_units(model: Model, rows: Array) -> Array:
    """Return 8-bit rows as x = (u8 + 1/2) / 256, others as they are."""
    if model.schema.dequantize and rows.dtype == np.uint8:
        return (rows + 0.5) / 256
    return rows


def telling_columns(rows: Array, most: int = 200) -> list[int]:
    """Return the columns that vary, the two that are most correlated first.

    Arguments:
        rows: Rows (n, D).
        most: The number of columns, from the first, whose correlations are compared.
    """
    rows = filled(rows)
    varying = [j for j in range(rows.shape[1]) if np.ptp(rows[:, j]) > 0] or [0]
    few = varying[:most]
    if len(few) < 2 or len(rows) < 3:
        return varying
    correlation = np.abs(np.triu(correlations(rows[:, few]), 1))
    i, j = np.unravel_index(int(correlation.argmax()), correlation.shape)
    first = [few[int(i)], few[int(j)]]
    return first + [k for k in varying if k not in first]


def filled(rows: Array) -> Array:
    """Return rows in which a missing value is the mean of its column."""
    rows = np.asarray(rows, dtype=np.float64)
    lost = np.isnan(rows)
    if not lost.any():
        return rows
    there = np.where(lost, 0.0, rows).sum(0) / np.maximum((~lost).sum(0), 1)
    return np.where(lost, there, rows)


def correlations(rows: Array) -> Array:
    """Return the correlations of columns (d, d); 0 where a column does not vary."""
    spread = filled(rows)
    spread = spread - spread.mean(0)
    unit = spread / np.sqrt(np.square(spread).mean(0)).clip(np.finfo(float).tiny)
    return np.asarray(unit.T @ unit / len(unit))
