r"""How far two tables are apart, column by column and pair by pair: 0 where they agree, 1 at most.

Each is one less the score of the same name in SDMetrics (DataCebo, 2023), whose means are called
column shapes and column pair trends. What is missing plays no part.

.. math::
    \mathrm{KS} = \max_x |F(x) - G(x)|, \qquad
    \mathrm{TV} = \tfrac12 \sum_v |p(v) - q(v)|, \qquad
    \tfrac12 |r - s|
"""

from __future__ import annotations

__all__ = [
    "contingency",
    "correlation",
    "kolmogorov_smirnov",
    "shapes",
    "total_variation",
    "trends",
]

import math
from itertools import combinations

import numpy as np
import numpy.typing as npt

from .tables import Tables

Array = npt.NDArray[np.float64]


def kolmogorov_smirnov(a: Array, b: Array) -> float:
    """Return the greatest difference of two empirical distribution functions, of numbers (n,) and
    (m,); NaN where one has none.
    """
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not len(a) or not len(b):
        return math.nan
    at = np.concatenate([a, b])
    shares = [np.searchsorted(x, at, side="right") / len(x) for x in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def total_variation(a: Array, b: Array) -> float:
    """Return half the sum of the differences of how frequent each value is, of values (n,) and
    (m,); NaN where one has none.
    """
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if not len(a) or not len(b):
        return math.nan
    values, index = np.unique(np.concatenate([a, b]), return_inverse=True)
    return _distance(index[: len(a)], index[len(a) :], len(values))


def correlation(a: Array, b: Array) -> float:
    """Return half the difference of Pearson's correlations of two tables of two columns, (n, 2) and
    (m, 2); NaN where a column does not vary.
    """
    found = []
    for rows in (a, b):
        x = rows[~np.isnan(rows).any(1)]
        x = x - x.mean(0) if len(x) else x
        norm = float(np.sqrt(np.square(x).sum(0)).prod())
        if norm == 0:
            return math.nan
        found.append(float(x[:, 0] @ x[:, 1]) / norm)
    return abs(found[0] - found[1]) / 2


def contingency(
    a: Array, b: Array, levels: tuple[bool, bool] = (True, True), bins: int = 10
) -> float:
    """Return the total variation distance of two tables of two columns, (n, 2) and (m, 2).

    Arguments:
        a, b: The tables, a of the data.
        levels: Which of the columns hold levels; numbers are put into bins.
        bins: How many bins, of equal width between the least and the greatest number of a.
    """
    a, b = (rows[~np.isnan(rows).any(1)] for rows in (a, b))
    if not len(a) or not len(b):
        return math.nan
    both = [_indices(a[:, k], b[:, k], levels[k], bins) for k in range(2)]
    size = 1 + max(int(index.max()) for index in both[1])
    joint = [first * size + second for first, second in zip(*both, strict=True)]
    return _distance(joint[0], joint[1], 1 + max(int(index.max()) for index in joint))


def shapes(tables: Tables) -> Array:
    """Return how far each column of the synthetic table is from that of the data, (d,): the
    Kolmogorov-Smirnov distance of numbers, the total variation distance of levels.
    """
    columns = zip(tables.data.T, tables.synthetic.T, tables.levels, strict=True)
    measure = {True: total_variation, False: kolmogorov_smirnov}
    return np.array([measure[bool(levels)](a, b) for a, b, levels in columns])


def trends(tables: Tables) -> Array:
    """Return how far each pair of columns of the synthetic table is from that of the data, (d, d),
    NaN on the diagonal: the `correlation` of two numbers, the `contingency` of all else.
    """
    d = len(tables.names)
    found = np.full((d, d), math.nan)
    for i, j in combinations(range(d), 2):
        pair, kinds = [i, j], (bool(tables.levels[i]), bool(tables.levels[j]))
        a, b = tables.data[:, pair], tables.synthetic[:, pair]
        if any(kinds):
            found[i, j] = contingency(a, b, kinds)
        else:
            found[i, j] = correlation(a, b)
        found[j, i] = found[i, j]
    return found


def _indices(
    a: Array, b: Array, levels: bool, bins: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return which level, or which bin, each value is in."""
    if levels:
        _, index = np.unique(np.concatenate([a, b]), return_inverse=True)
        return index[: len(a)], index[len(a) :]
    edges = np.histogram_bin_edges(a, bins)[1:-1]
    return np.digitize(a, edges), np.digitize(b, edges)


def _distance(a: npt.NDArray[np.intp], b: npt.NDArray[np.intp], size: int) -> float:
    """Return the total variation distance of indices below ``size``."""
    shares = [np.bincount(index, minlength=size) / len(index) for index in (a, b)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
