"""Frames out where scikit-learn's `set_output` asks for them:
also of methods other than transform.
"""

from __future__ import annotations

__all__ = ["framed"]

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.base import BaseEstimator


def framed(
    estimator: BaseEstimator,
    values: npt.NDArray[Any],
    names: Sequence[str] | None,
    like: Any = None,
) -> Any:
    """Return rows as the container
    that ``set_output(transform=...)`` or scikit-learn's configuration names.

    Arguments:
        estimator: Whose setting counts.
        values: (n, d); images of more axes have no columns, and so stay arrays.
        names: Of the d columns; None are "x0", "x1", ..., as scikit-learn names columns without a
            name.
        like: What the rows were computed from: a pandas frame hands down its index.
    """
    own = getattr(estimator, "_sklearn_output_config", {}).get("transform")
    container = own or sklearn.get_config()["transform_output"]
    if container == "default" or values.ndim != 2:
        return values
    columns = (
        [f"x{j}" for j in range(values.shape[1])]
        if names is None
        else [str(name) for name in names]
    )
    # "pandas" or "polars", which scikit-learn has checked
    library = importlib.import_module(container)
    if container == "polars":
        return library.DataFrame(values, schema=columns, orient="row")
    index = like.index if isinstance(like, library.DataFrame) else None
    return library.DataFrame(
        values, columns=np.asarray(columns, dtype=object), index=index, copy=False
    )
