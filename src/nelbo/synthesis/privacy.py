"""Whether synthetic rows are copies of training rows, or closer to them than new data are.

Distances are Euclidean, between numbers in units of their standard deviation; two levels are at a
distance of 1, and so are a missing value and any that is there.
"""

from __future__ import annotations

__all__ = ["Privacy", "privacy"]

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..brief import Brief
from ..diagnose import Estimate
from .tables import Tables, spaced

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Privacy(Brief):
    """What synthetic rows give away of the training rows.

    Attributes:
        copies: The share of synthetic rows that equal a training row in all columns.
        copies_held_out: That of rows held out: what equals one by chance.
        distance: The median distance of a synthetic row to the closest training row.
        distance_held_out: That of a row held out.
        memorised: The share of synthetic rows that stem from a training row: 0 of a good model, 1
            where all are copies, or nearly. With c the share of synthetic rows whose closest row of
            data is a training row, and p the share of these among the data, which c is by chance,
            it is (c - p) / (1 - p).
        rows: How many synthetic rows were looked at.
    """

    copies: float
    copies_held_out: float
    distance: float
    distance_held_out: float
    memorised: Estimate
    rows: int


@dataclass(frozen=True)
class Limits:
    """How many rows are looked at.

    Attributes:
        rows: Synthetic rows, and rows held out, whose closest row is looked for, at most.
        training: Rows among which it is looked for, at most, evenly spaced.
        memory: MiB for distances.
    """

    rows: int = 5_000
    training: int = 100_000
    memory: int = 128


def privacy(tables: Tables, limits: Limits = Limits()) -> Privacy:
    """Compare the distances of synthetic rows, and of rows held out, to training rows.

    Arguments:
        tables: The tables; there must be rows held out.
        limits: How many rows are looked at.

    Raises:
        ValueError: No rows were held out.
    """
    if tables.held_out is None:
        raise ValueError(
            "What synthetic rows give away is told by rows that were not trained on, but there are "
            "none. Hold some out."
        )
    made, held = (spaced(x, limits.rows) for x in (tables.synthetic, tables.held_out))
    training = spaced(tables.data, limits.training)
    others = spaced(tables.held_out, limits.training)
    space = _Space(tables)
    near, far, of_held = (
        space.closest(x, among, limits.memory)
        for x, among in ((made, training), (made, others), (held, training))
    )
    known = {row.tobytes() for row in _canonical(tables.data)}
    return Privacy(
        copies=_share(tables.synthetic, known),
        copies_held_out=_share(tables.held_out, known),
        distance=float(np.median(near)),
        distance_held_out=float(np.median(of_held)),
        memorised=_memorised(near, far, len(training), len(others)),
        rows=len(made),
    )


def _memorised(near: Array, far: Array, training: int, others: int) -> Estimate:
    """Return the share of synthetic rows that stem from a training row.

    Arguments:
        near, far: The distances of synthetic rows to the closest training row, and to the closest
            row held out.
        training, others: How many rows of these there are.
    """
    chance = training / (training + others)
    closer = np.where(near == far, chance, near < far)
    error = math.inf
    if len(closer) > 1:
        # the rows held out are a sample, too
        error = math.sqrt(closer.var(ddof=1) * (1 / len(closer) + 1 / others)) / (1 - chance)
    return Estimate(float(closer.mean() - chance) / (1 - chance), error, len(closer))


def _share(rows: Array, known: set[bytes]) -> float:
    """Return the share of rows that are known."""
    return float(np.mean([row.tobytes() in known for row in _canonical(rows)]))


def _canonical(rows: Array) -> Array:
    """Return rows in which equal values have equal bits."""
    return np.ascontiguousarray(np.where(np.isnan(rows), math.nan, rows + 0.0))


class _Space:
    """Where rows are points: each column of numbers a coordinate, each level one, and each column
    that has missing values one for these.
    """

    def __init__(self, tables: Tables) -> None:
        self.levels = tables.levels
        every = [x for x in (tables.data, tables.synthetic, tables.held_out) if x is not None]
        self.values = [
            np.unique(np.concatenate([x[:, j] for x in every])) for j in np.flatnonzero(self.levels)
        ]
        self.holes = np.any([np.isnan(x).any(0) for x in every], axis=0) & ~self.levels
        numbers = np.ma.masked_invalid(tables.data[:, ~self.levels])
        self.centre = np.ma.filled(numbers.mean(0), 0.0)
        spread = np.ma.filled(numbers.std(0), 1.0)
        self.spread = np.where(spread > 0, spread, 1.0)

    def closest(self, rows: Array, among: Array, memory: int) -> Array:
        """Return the distance of each row to the closest one among others."""
        config_context, neighbours = _sklearn()
        with config_context(working_memory=memory):
            found = neighbours(n_neighbors=1, algorithm="brute").fit(self.points(among))
            distance, _ = found.kneighbors(self.points(rows))
        return np.asarray(distance[:, 0], dtype=np.float64)

    def points(self, rows: Array) -> Any:
        """Return the coordinates of rows, sparse."""
        numbers = (rows[:, ~self.levels] - self.centre) / self.spread
        blocks = [sparse.csr_array(np.nan_to_num(numbers)), *self._one_hot(rows)]
        blocks.append(sparse.csr_array(np.isnan(rows[:, self.holes]).astype(np.float64)))
        found = sparse.hstack(blocks, format="csr")
        if found.shape[1] > 1000:
            return found
        return found.toarray()

    def _one_hot(self, rows: Array) -> Iterator[Any]:
        """Yield the levels of each column, so long that two are at a distance of 1."""
        n = len(rows)
        for j, values in zip(np.flatnonzero(self.levels), self.values, strict=True):
            index = np.searchsorted(values, rows[:, j])  # a missing value is the last
            cells = (np.full(n, math.sqrt(0.5)), (np.arange(n), index))
            yield sparse.csr_array(cells, shape=(n, len(values)))


def _sklearn() -> tuple[Any, Any]:
    """Import scikit-learn's nearest neighbours; its own imports draw from Python's random state."""
    before = random.getstate()
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    random.setstate(before)
    return config_context, NearestNeighbors
