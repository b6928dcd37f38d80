"""What a recipe needs to know about the rows."""

from __future__ import annotations

__all__ = ["Facts"]

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..data import Values
from ..data.moments import varying
from ..training import VALIDATED
from .whitening import whitens


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts about the rows of a fit; costly ones are found when they are asked for.

    Attributes:
        values: All rows, in data units.
        fraction: The share of them that is to be held out for validation.
    """

    values: Values
    fraction: float

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.values)

    @property
    def columns(self) -> int:
        """How many values a row has."""
        return math.prod(self.values.shape[1:])

    @property
    def conditioned(self) -> bool:
        """Whether the model is to be one of p(x|c)."""
        return self.values.conditions is not None

    @property
    def are_images(self) -> bool:
        """Whether a row has more than one axis."""
        return len(self.values.shape) > 2

    @property
    def incomplete(self) -> bool:
        """Whether any value is missing."""
        return self.values.incomplete

    @cached_property
    def varying(self) -> npt.NDArray[np.bool_]:
        """Which columns of a table have two values: most show it in the first rows."""
        return varying(self.values.array)

    def whitens(self, latent_dim: int) -> bool:
        """Whether rows held out are predicted as well with every correlation as by pPCA."""
        values = self.values
        if not self.varying.all():
            values = values.keeping(self.varying)
        return whitens(values, latent_dim)

    def held_out(self, least: int) -> int:
        """Return how many rows to hold out: a share, but ``least`` rows or a quarter of few.

        More than a run looks at would be lost to training.
        """
        n = self.rows
        if self.fraction == 0 or n < 4:
            return 0
        count = max(math.ceil(self.fraction * n), min(least, n // 4))
        return min(count, n - 2, VALIDATED)
