"""Rows beside what the model makes of them: blocks, extremes, neighbours of samples."""

from __future__ import annotations

__all__ = ["blocks", "extremes", "neighbours"]

from typing import Any

import numpy as np
import numpy.typing as npt

from ...data import Values
from ...report.portrait import Absent, Blocks, Extremes, Neighbours
from ..model import Model
from .look import filled, in_units
from .rows import Limits, Rows

Array = npt.NDArray[Any]


def blocks(model: Model, rows: Rows, limits: Limits, seed: int = 0) -> Blocks:
    """Return data, reconstructions, and samples without and with noise, all at the same z."""
    count = limits.images
    if model.schema.kind != "images":
        count = limits.points_of_pair
    given: Any = None
    if model.condition is not None:
        given = model.condition.draw(count, seed)
    data = reconstructions = np.empty((0, *model.schema.data_shape))
    if rows.judged is not None:
        some = rows.judged[:count]
        data, reconstructions = in_units(model, some.array), model.reconstruct(some)
        if some.conditions is not None:
            given, count = some.conditions, len(some)
    means = model.sample(count, noise=False, seed=seed, c=given)
    samples = model.sample(count, seed=seed, c=given)
    return Blocks(rows.which, rows.numbers[: len(data)], data, reconstructions, means, samples)


def extremes(model: Model, rows: Rows, log_p: Array, limits: Limits) -> Extremes | Absent:
    """Return the rows of the smallest, the middle and the largest log p(x)."""
    judged = rows.judged
    if judged is None or len(judged) < 3:
        return Absent("There are fewer than three rows to compare.")
    known = np.flatnonzero(~np.isnan(log_p))
    order = known[np.argsort(log_p[known], kind="stable")]
    count = min(limits.extremes, len(order) // 3)
    middle = (len(order) - count) // 2
    groups = (order[:count], order[middle : middle + count], order[::-1][:count])
    array = in_units(model, judged.array)
    return Extremes(
        ("Least probable", "Typical: around the median", "Most probable"),
        tuple(rows.numbers[group] for group in groups),
        tuple(log_p[group] for group in groups),
        tuple(array[group] for group in groups),
        log_p[known],
        f"Of {len(known):,} rows {rows.which}. What is most probable is often simplest, and "
        "no more typical than what is least probable.",
    )


def neighbours(model: Model, rows: Rows, limits: Limits, seed: int = 1) -> Neighbours | Absent:
    """Look for the training rows that are nearest to samples, and to rows that are new."""
    train = rows.train
    if train is None:
        return Absent("No training rows were passed, so none can be nearest to a sample.")
    images = model.schema.kind == "images"
    given, count = None, 200
    if train.conditions is not None:
        count = min(count, len(train))
        given = train.conditions[:count]
    samples = model.sample(count, noise=not images, seed=seed, c=given)
    known = _flat(model, train)
    unit = np.ones(known.shape[1])
    how = "Distances are Euclidean, samples are shown and compared without noise"
    if not images:
        unit = 1 / np.where(known.std(0) > 0, known.std(0), np.inf)
        how = "Distances are Euclidean in standardised columns"
    distance, which = _nearest(
        samples.reshape(len(samples), -1) * unit, known * unit, limits.nearest
    )
    of_rows = np.empty(0)
    if rows.new and rows.judged is not None:
        few = rows.judged[:count]
        queries = _flat(model, few)
        if images:  # smooth beside smooth
            queries = model.reconstruct(few).reshape(len(few), -1)
            how += ", and so are held-out rows, as their reconstructions"
        of_rows = _nearest(queries * unit, known * unit, 1)[0][:, 0]
    shown = min(limits.samples, len(samples))
    array = in_units(model, train.array)
    return Neighbours(
        samples[:shown],
        array[which[:shown]],
        rows.train_numbers[which[:shown]],
        distance[:shown],
        distance[:, 0],
        of_rows,
        f"{how}; {len(known):,} training rows were searched.",
    )


def _flat(model: Model, values: Values) -> Array:
    """Return rows (n, D) in data units, missing values at the mean of their columns."""
    return filled(in_units(model, values.array).reshape(len(values), -1))


def _nearest(queries: Array, known: Array, count: int) -> tuple[Array, Array]:
    """Return the distances of queries (n, D) to the nearest of known rows (m, D), and which these
    are: both (n, count)."""
    queries, known = filled(queries), np.asarray(known, dtype=np.float64)
    square = np.square(queries).sum(1)[:, None] - 2 * queries @ known.T + np.square(known).sum(1)
    count = min(count, len(known))
    first = np.argpartition(square, count - 1, axis=1)[:, :count]
    best = np.take_along_axis(square, first, 1)
    order = np.argsort(best, axis=1, kind="stable")
    which = np.take_along_axis(first, order, 1)
    return np.sqrt(np.take_along_axis(square, which, 1).clip(0)), which
