"""Names of columns, as scikit-learn keeps and compares them."""

from __future__ import annotations

__all__ = ["check_names", "names_of"]

from collections.abc import Sequence
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from ..data import Values


def names_of(X: Any) -> tuple[str, ...] | None:
    """Return the column names of X as scikit-learn keeps them, or None.

    Raises:
        TypeError: Some names are strings and some are not.
    """
    if isinstance(X, Values):
        return X.columns
    probe = BaseEstimator()
    if hasattr(X, "columns"):
        validate_data(probe, X, skip_check_array=True)
    names = getattr(probe, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


def check_names(estimator: BaseEstimator, X: Any, fitted: Sequence[str] | None, width: int) -> None:
    """Let scikit-learn compare the names of a data frame's columns with those fitted.

    Raises:
        ValueError: They differ.
    """
    if isinstance(X, Values):
        return  # their names are compared with those of the schema
    if fitted is not None and hasattr(X, "columns"):
        got = [str(name).strip() for name in X.columns]
        if got == [name.strip() for name in fitted]:
            return  # some programs keep blanks around names, some do not
    if hasattr(X, "columns") or (fitted is not None and getattr(X, "shape", ())[1:] == (width,)):
        validate_data(estimator, X, reset=False, skip_check_array=True)
