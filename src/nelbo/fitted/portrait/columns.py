"""A table beside a synthetic one: marginals, pairs, correlations, and what is missing."""

from __future__ import annotations

__all__ = ["missing", "synthetic"]

from typing import Any

import numpy as np
import numpy.typing as npt

from ...report.portrait import Absent, Column, ColumnPair, Look, Marginal, Missing, Synthetic
from ...report.style import span
from ..model import Model
from .look import correlations
from .rows import Limits, Rows, spread

Array = npt.NDArray[Any]


def synthetic(model: Model, rows: Rows, look: Look, limits: Limits) -> Synthetic | Absent:
    """Hold samples against rows: those that were held out where there are any."""
    if look.images:
        return Absent("Rows are images: their columns are pixels.")
    values = rows.judged
    if values is None:
        return Absent("No rows were passed to hold samples against.")
    which = rows.which
    if len(values) < 200 and rows.train is not None:
        values, which = rows.train, "trained on"
    values = values[spread(len(values), limits.table, 0)]
    given, count = values.conditions, len(values)
    if given is None:
        count = max(count, 1000)
    drawn = np.asarray(model.sample(count, seed=2, c=given), dtype=np.float64)
    data = np.asarray(values.array, dtype=np.float64)
    shown = [*look.telling[: limits.marginals]]
    marginals = tuple(_marginal(data[:, j], drawn[:, j], look.columns[j], j) for j in sorted(shown))
    pairs, both = _pairs(data, drawn, look, limits)
    left = len(look.columns) - len(shown)
    return Synthetic(len(data), which, marginals, pairs, both, left)


def missing(rows: Rows, look: Look) -> Missing | Absent:
    """Count what is missing, by column and by row."""
    if look.images:
        return Absent("Rows are images.")
    if rows.any is None:
        return Absent("No rows were passed.")
    for values, which in ((rows.train, "trained on"), (rows.judged, rows.which)):
        if values is not None and values.incomplete:
            gone = np.isnan(np.asarray(values.array, dtype=np.float64))
            return Missing(gone.mean(0), int(gone.any(1).sum()), len(gone), which)
    return Absent("No value is missing in the rows that were looked at.")


def _marginal(data: Array, drawn: Array, column: Column, j: int, bins: int = 25) -> Marginal:
    """Return the shares of values of one column in bins, or of its categories."""
    lost = float(np.isnan(data).mean())
    data, drawn = data[~np.isnan(data)], drawn[~np.isnan(drawn)]
    if column.levels:
        count = len(column.levels)
        shares = [
            np.bincount(part.round().astype(int).clip(0, count - 1), minlength=count)
            / max(len(part), 1)
            for part in (data, drawn)
        ]
        return Marginal(j, np.empty(0), shares[0], shares[1], lost)
    low, high = span(data)
    edges = np.linspace(low, high, bins + 1)
    found = [np.histogram(part, edges)[0] / max(len(part), 1) for part in (data, drawn)]
    return Marginal(j, edges, found[0], found[1], lost)


def _pairs(
    data: Array, drawn: Array, look: Look, limits: Limits, most: int = 60
) -> tuple[tuple[ColumnPair, ...], Array]:
    """Return the most correlated pairs, and the correlations of all pairs of the first columns."""
    order = look.numbers[:most]
    if len(order) < 2 or len(data) < 3:
        return (), np.empty((0, 2))
    real, made = correlations(data[:, order]), correlations(drawn[:, order])
    i, j = np.triu_indices(len(order), 1)
    both = np.column_stack([real[i, j], made[i, j]])
    chosen = np.argsort(-np.abs(both[:, 0]), kind="stable")[: limits.pairs]
    few = spread(len(data), limits.points_of_pair, 1)
    found = []
    for k in chosen:
        columns = order[int(i[k])], order[int(j[k])]
        found.append(
            ColumnPair(
                columns,
                data[few][:, columns],
                drawn[: len(few)][:, columns],
                (float(both[k, 0]), float(both[k, 1])),
            )
        )
    return tuple(found), both
