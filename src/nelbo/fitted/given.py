r"""Rows that are drawn given some of their values, by importance resampling.

.. math:: z_k \sim r(z \mid x_G), \quad
    \tilde w_k \propto p(x_G \mid z_k) \, p(z_k) / r(z_k \mid x_G), \quad
    z^* \sim \sum_k \tilde w_k \delta_{z_k}, \quad x \sim p(x \mid z^*, x_G)

(Rubin, 1987). Where few draws of z have all the weight, what is drawn is the same few rows again.
"""

from __future__ import annotations

__all__ = ["Resampling", "row_of"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..data import Schema
from ..data.warned import warn
from ..distributions import draw
from ..evaluate.posterior import weighted
from .incomplete import View


@dataclass(frozen=True)
class Resampling:
    """How rows are drawn given some of their values.

    Attributes:
        samples: Draws of z, at least; and at least ``each`` for each row that is drawn.
        each: The same for each row.
        most: Draws of z, at most.
        few: Effective number of draws below which rows are hardly different from one another, which
            is told.
        hopeless: The number below which nothing is drawn.
    """

    samples: int = 4_000
    each: int = 4
    most: int = 100_000
    few: float = 100.0
    hopeless: float = 10.0

    def __call__(
        self, view: View, count: int, seed: int, noise: bool
    ) -> tuple[npt.NDArray[Any], float]:
        """Return rows in data units, and the effective number of draws of z behind them.

        Arguments:
            view: One row, in which all but what is given is missing, and the model that takes it.
            count: How many rows to draw.
            seed: The seed.
            noise: Whether to draw x rather than to return its mean given z.

        Raises:
            ValueError: There are too few effective draws.
        """
        samples = min(self.most, max(self.samples, self.each * count))
        generator = torch.Generator(view.vae.device).manual_seed(seed)
        (found,) = weighted(view.vae, view.x, samples, seed, c=view.c)
        ess = float(found.ess[0])
        if not ess >= self.hopeless:
            raise ValueError(
                f"Rows with these values cannot be drawn: of {samples:,} draws of z, {ess:.1f} are "
                "effective, so that the rows would be the same few again. The values hardly occur "
                "together under this model. Give fewer of them, or others."
            )
        if ess < self.few:
            warn(
                f"Of {samples:,} draws of z given these values, {ess:.0f} are effective: the rows "
                "differ less than they should."
            )
        which = found.resampled(count, generator)[:, 0]
        exact = len(found.weight) == 1
        shape = (count,) if exact else ()
        if noise:
            x = draw(found.p, shape, generator, gradients=False)
        else:
            x = found.p.mean.expand(*shape, *found.p.mean.shape)
        x = x[:, 0, 0] if exact else x[which, 0]
        return view.schema.from_model(x, drawn=noise), ess


def row_of(schema: Schema, given: Mapping[str | int, Any]) -> npt.NDArray[np.float64]:
    """Return one row (1, D) in which all but what is given is missing.

    Raises:
        TypeError: It is no mapping.
        ValueError: It is empty, a column is unknown, or a value is no finite number.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f'given must be a dict such as {{"age": 40}}, got {given!r}.')
    if not given:
        raise ValueError("given names no column. Leave it out to draw from p(x).")
    row = np.full((1, schema.n_features), np.nan)
    for column, value in given.items():
        place = schema.place_of(column, "given")
        if schema.table is not None:
            value = schema.table.number_of(schema.feature_name(place), value)
        try:
            row[0, place] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"given[{column!r}] must be a number, got {value!r}.") from None
        if not np.isfinite(row[0, place]):
            raise ValueError(f"given[{column!r}] must be a finite number, got {value!r}.")
    return row
