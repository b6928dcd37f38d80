"""Rows held out, as `Calibration` takes them."""

from __future__ import annotations

__all__ = ["calibration_of"]

from typing import Any

from ..fitted import Fitted
from .conformal import Calibration
from .improbability import improbability


def calibration_of(model: Fitted, X: Any) -> Calibration:
    """Return the scores of ordinary rows that a model was not fitted to.

    Arguments:
        model: The model.
        X: Those rows.

    Raises:
        ValueError: X does not fit, is fewer than 20 rows, or most of it was fitted, and so looks
            more probable than new rows.
    """
    values = model.values(X)
    known = 0
    if model.known is not None:
        known = int(model.trained_on(values).sum())
    if 2 * known > len(values):
        raise ValueError(
            f"{known:,} of these {len(values):,} rows were fitted, and look more probable than new "
            "ones: p-values beside them would be too small. Take rows that were held out."
        )
    return Calibration(improbability(model, values))
