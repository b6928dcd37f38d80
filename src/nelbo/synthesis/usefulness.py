"""How well synthetic rows stand in for data: train on synthetic rows, test on real ones.

Xu et al. (2019) judge synthetic tables so. The predictor is gradient boosting, trained once on rows
of data and once on synthetic ones, and tested on rows of data that neither it nor the model saw.
"""

from __future__ import annotations

__all__ = ["Usefulness", "usefulness"]

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ..brief import Brief
from .tables import Tables, spaced

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Usefulness(Brief):
    """How well a column is predicted from the others.

    Attributes:
        target: The column.
        measure: "AUC" of two levels, "accuracy" of more, "R²" of numbers.
        synthetic: That of a predictor trained on synthetic rows.
        data: That of one trained on rows of data.
        rows: How many rows of data both were tested on.
        f1, f1_data: The F1 score of the rarer of two levels, likewise; None of anything else.
    """

    target: str
    measure: str
    synthetic: float
    data: float
    rows: int
    f1: float | None = None
    f1_data: float | None = None


@dataclass(frozen=True)
class Limits:
    """What predictors learn from.

    Attributes:
        rows: Rows at most: boosting gains little from more.
        categories: The most levels of a column that trees split as such; codes of more are read
            as numbers.
    """

    rows: int = 100_000
    categories: int = 255


def usefulness(tables: Tables, target: str, seed: int = 0, limits: Limits = Limits()) -> Usefulness:
    """Train a predictor of one column on synthetic rows and on data, and test both on data.

    Arguments:
        tables: The tables; there must be rows held out.
        target: The name of the column.
        seed: Seed of the predictors.
        limits: What they learn from.

    Raises:
        ValueError: There is no such column, no other one, or no rows were held out in which it is
            there.
    """
    if target not in tables.names:
        raise ValueError(f"target {target!r} is no column. There are: {', '.join(tables.names)}.")
    if tables.held_out is None or len(tables.names) < 2:
        raise ValueError(
            "Usefulness needs rows that were not trained on, and columns to predict from. Hold "
            "some out."
        )
    at = tables.names.index(target)
    task = _Task(tables, at, seed, limits)
    test = task.known(tables.held_out)
    if not len(test):
        raise ValueError(f"target {target!r} is missing in all rows held out.")
    judged = [task.judge(x, test) for x in (tables.synthetic, tables.data)]
    (synthetic, f1), (data, f1_data) = judged
    return Usefulness(target, task.measure, synthetic, data, len(test), f1, f1_data)


class _Task:
    """The prediction of one column."""

    def __init__(self, tables: Tables, at: int, seed: int, limits: Limits) -> None:
        self.at, self.seed, self.limits = at, seed, limits
        self.others = np.arange(len(tables.names)) != at
        few = np.array([np.nanmax(x, initial=0) < limits.categories for x in tables.data.T])
        self.categories = (tables.levels & few)[self.others]
        y = tables.data[:, at]
        values, counts = np.unique(y[~np.isnan(y)], return_counts=True)
        self.levels = bool(tables.levels[at])
        self.measure = "R²"
        self.rarer = math.nan
        if self.levels:
            self.measure = "accuracy"
        if self.levels and len(values) == 2:
            self.measure, self.rarer = "AUC", float(values[counts.argmin()])

    def known(self, rows: Array) -> Array:
        """Return the rows whose target is there."""
        return rows[~np.isnan(rows[:, self.at])]

    def judge(self, rows: Array, test: Array) -> tuple[float, float | None]:
        """Return how well a predictor trained on some rows does on others, and its F1 score."""
        rows = spaced(self.known(rows), self.limits.rows)
        y, truth = rows[:, self.at], test[:, self.at]
        if self.levels and len(np.unique(y)) < 2:
            return self._blind(y, truth)
        classifier, regressor = _boosting()
        kind = classifier if self.levels else regressor
        model = kind(categorical_features=self.categories, random_state=self.seed % 2**32)
        with threadpool_limits(1, "openmp"):  # more threads would wait for each other
            model.fit(self._features(rows), y)
            return self._score(model, self._features(test), truth)

    def _features(self, rows: Array) -> Array:
        return rows[:, self.others]

    def _blind(self, y: Array, truth: Array) -> tuple[float, float | None]:
        """Return what a predictor that knows one level only comes to."""
        if self.measure == "AUC":
            return 0.5, 0.0
        return float((truth == y[:1]).mean()), None

    def _score(self, model: Any, x: Array, truth: Array) -> tuple[float, float | None]:
        if self.measure != "AUC":
            return float(model.score(x, truth)), None
        from sklearn.metrics import f1_score, roc_auc_score

        chance = model.predict_proba(x)[:, list(model.classes_).index(self.rarer)]
        positive = truth == self.rarer
        if positive.all() or not positive.any():
            return math.nan, None
        f1 = f1_score(positive, chance > 0.5, zero_division=0)
        return float(roc_auc_score(positive, chance)), float(f1)


def _boosting() -> tuple[Any, Any]:
    """Import scikit-learn's gradient boosting; its own imports draw from Python's random state."""
    before = random.getstate()
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    random.setstate(before)
    return HistGradientBoostingClassifier, HistGradientBoostingRegressor
