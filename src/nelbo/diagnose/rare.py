r"""Whether rare values are drawn as often as they are: the share of each in samples beside that in
the data.

A column that takes few values is continuous to a Gaussian likelihood. A draw counts for the value
it is nearest to.
"""

from __future__ import annotations

__all__ = ["RareValue", "rare_values"]

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.rare import distinct, rare
from ..data.units import Units
from ..evaluate import judged
from ..vae import VAE
from .standard_error import Estimate

DRAWN = 20_000
"""Samples."""


@dataclass(frozen=True)
class RareValue:
    """How often a value is in the data and in samples.

    Attributes:
        name: Of the column and the value, as in "smoker = 1".
        data, samples: Shares of rows that have it.
        z: Their difference in standard errors, positive where samples have it more often.
    """

    name: str
    data: Estimate
    samples: Estimate
    z: float

    @property
    def ratio(self) -> float:
        """How many times as often samples have it."""
        return self.samples.value / self.data.value


def rare_values(
    vae: VAE, x: Tensor, units: Units | None = None, seed: int = 0
) -> tuple[RareValue, ...]:
    """Count how often rare values of a table are drawn, those first that differ most.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units.
        units: Of the data; None are the model's own.
        seed: Of the samples.

    Returns:
        One entry for each value that up to a tenth of the rows have, at least five, in columns of
        at most 20 different values; none for images.
    """
    columns = None if units is None else units.columns
    if len(vae.shape) > 1 or (units is not None and columns is None):
        return ()
    with judged(vae, x[:1]) as (model, like):
        drawn = model.sample(DRAWN, generator=torch.Generator(like.device).manual_seed(seed)).cpu()
    data, samples = (
        t.flatten(1).double() if columns is None else columns(t) for t in (x.cpu(), drawn)
    )
    named = "column {}".format if units is None or units.name is None else units.name
    found = []
    for column, draws, j in zip(
        data.T.numpy(), samples.T.numpy(), range(data.shape[1]), strict=True
    ):
        values, counts = distinct(column)
        for i in rare(column):
            middles = (values[1:] + values[:-1]) / 2
            share = float(np.mean(np.searchsorted(middles, draws) == i))
            found.append(
                _compared(f"{named(j)} = {values[i]:.6g}", counts[i] / len(x), len(x), share, DRAWN)
            )
    return tuple(sorted(found, key=lambda entry: -abs(entry.z)))


def _compared(name: str, data: float, rows: int, drawn: float, samples: int) -> RareValue:
    """Compare two shares of independent rows."""
    errors = [math.sqrt(p * (1 - p) / n) for p, n in ((data, rows), (drawn, samples))]
    pooled = (data * rows + drawn * samples) / (rows + samples)
    error = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / samples))
    return RareValue(
        name,
        Estimate(data, errors[0], rows),
        Estimate(drawn, errors[1], samples),
        (drawn - data) / error,
    )
