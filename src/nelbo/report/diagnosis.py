"""A fitted model diagnosed in the units of its data."""

from __future__ import annotations

__all__ = ["examine"]

from typing import Any

import torch
from torch import Tensor

from ..diagnose import Diagnosis, diagnose
from ..estimator import VariationalAutoencoder
from ..training.history import Units


def examine(
    model: VariationalAutoencoder, rows: Any, train: Any | None = None, limit: int = 1000, seed: int = 0
) -> Diagnosis:
    """Diagnose a fitted model.

    Arguments:
        model: The model.
        rows: An array or data frame in data units, best of rows it has not seen.
        train: The rows it was fitted to, likewise, or None.
        limit: How many rows to look at.
        seed: Of everything drawn.

    Raises:
        ValueError: Rows that do not fit or are too few.
    """
    schema = model.schema_

    def inside(array: Any) -> Tensor:
        wide = all(dtype == "float64" for dtype in getattr(array, "dtypes", [getattr(array, "dtype", None)]))
        return schema.to_model(array, noise="hash", dtype=torch.float64 if wide else torch.float32)

    units = Units(-schema.log_scale_sum, torch.tensor(schema.scale))
    known = None if train is None else inside(train)
    return diagnose(model.model_, inside(rows), known, rows=limit, units=units, seed=seed)
