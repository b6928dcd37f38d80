"""Which rows a fitted estimator was trained on."""

from __future__ import annotations

__all__ = ["fitted", "hold_out", "trained_on", "uses"]

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from ..data import Values
from ..data.known import Use, Uses


def uses(estimator: Any, X: Any) -> Uses | None:
    """Return what each row of X was used for, a `Use` of shape (n,); None where the model does not
    know its rows.

    Raises:
        ValueError: X does not fit.
    """
    check_is_fitted(estimator)
    known = estimator.known_rows_
    if known is None:
        return None
    found: Uses = known.uses(estimator.schema_.conformed(Values.of(X).array))
    return found


def fitted(use: Uses) -> npt.NDArray[np.bool_]:
    """Return which rows the model was fitted to, those for validation included."""
    found: npt.NDArray[np.bool_] = (use == Use.TRAINED) | (use == Use.VALIDATED)
    return found


def trained_on(estimator: Any, X: Any) -> npt.NDArray[np.bool_]:
    """Return which rows of X an estimator was fitted to.

    Raises:
        ValueError: X does not fit, or the model does not know its rows.
    """
    use = uses(estimator, X)
    if use is None:
        raise ValueError(
            "This model was saved before rows were remembered, so which rows it was trained on is "
            "unknown. "
            "Fit and save it again."
        )
    return fitted(use)


def hold_out(estimator: Any, X: Any) -> None:
    """Let a fitted estimator remember rows that were kept from it, in order to be judged by
    them.
    """
    if estimator.known_rows_ is not None:
        rows = estimator.schema_.conformed(Values.of(X).array)
        estimator.known_rows_ = estimator.known_rows_.with_held_out(rows)
