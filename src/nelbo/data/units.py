"""From the units of a model to those of its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nelbo.brief import Brief

__all__ = ["Units"]


@dataclass(frozen=True, repr=False)
class Units(Brief):
    """How to turn model units into the user's.

    Attributes:
        log_density: Added to every bound: minus the sum of log scale over features.
        scale: The data's standard deviations per model unit, () or one per feature.
        columns: From rows of a table in model units, (n, *shape), to its columns in data units, (n,
            D), float64; None for images and unscaled data.
        name: From the number of such a column to its name; None where columns have none.
        numbers: Which of these are numbers, counts or amounts, a mask (D,), where columns are of
            different kinds: only these have variances and correlations. None where all are.
    """

    log_density: float = 0.0
    scale: Tensor | float = 1.0
    columns: Callable[[Tensor], Tensor] | None = None
    name: Callable[[int], str] | None = None
    numbers: Tensor | None = None
