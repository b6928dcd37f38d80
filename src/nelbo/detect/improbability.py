r"""The score of an anomaly: :math:`-\log p(x)` in nats, in the units of the data."""

from __future__ import annotations

__all__ = ["improbability", "price", "usual_there"]

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Values
from ..fitted import Fitted


def improbability(model: Fitted, X: Any) -> npt.NDArray[np.float64]:
    r"""Return -log p(x) of each row in nats, (n,): large where a row is improbable.

    A column that had one value in all N rows of the fit is no part of the model, which says
    p(x) = 0 of a row with another value there. So that such rows can be compared, each such value
    counts :math:`\log (N + 2)` nats instead: the rule of succession (Laplace, 1814).

    Arguments:
        model: The model.
        X: Rows.

    Raises:
        ValueError: X does not fit the training data.
    """
    values = model.values(X)
    changed = {}
    if model.schema.left_out:
        changed = model.schema.impossible_values(values)
    if changed:
        values = usual_there(model, values)
    scores = -np.asarray(model.score_samples(values), dtype=np.float64)
    for rows in changed.values():
        scores[rows] += price(model)
    return scores


def usual_there(model: Fitted, values: Values) -> Values:
    """Return rows of a table whose columns left out of the model have the value that they had."""
    array = np.array(values.array, dtype=np.float64)
    for j, value in model.schema.left_out:
        array[:, j] = value
    return Values.of(array, columns=values.columns, c=values.conditions, missing=True)


def price(model: Fitted) -> float:
    r"""Return :math:`\log (N + 2)`: what a value counts that no row of the fit had, in nats.

    Of models saved before rows were remembered N is not known, and taken to be 0.
    """
    rows = 0
    if model.known is not None:
        rows = len(model.known.keys)
    return math.log(rows + 2)
