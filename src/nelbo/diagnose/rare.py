r"""Whether rare values are drawn as often as they are:
the share of each in samples beside that in the data.

A column that takes few values is continuous to a Gaussian likelihood. A draw counts for the value
it is nearest to.
"""

from __future__ import annotations

__all__ = ["RareValue", "rare_values"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..data.rare import distinct, rare
from ..data.units import Units
from ..evaluate import judged
from ..vae import VAE
from .drawn import drawn_like
from .standard_error import Estimate


@dataclass(frozen=True)
class RareValue:
    """How often a value is in the data and in samples.

    Attributes:
        name: Column and value, as in "smoker = 1".
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
    vae: VAE,
    x: Tensor,
    units: Units | None = None,
    seed: int = 0,
    samples: int = 20_000,
    c: Tensor | None = None,
) -> tuple[RareValue, ...]:
    """Count how often rare values of a table are drawn, those first that differ most.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units.
        units: Units of the data; None are the model's own.
        seed: The seed of the samples.
        samples: How many rows are drawn from the model.
        c: Conditions (n, k), for a model of p(x|c): samples have those of the rows.

    Returns:
        One entry for each value that up to a tenth of the rows have, at least five, in columns of
        at most 20 different values; none for images.
    """
    if len(vae.shape) > 1 or (units is not None and units.columns is None):
        return ()
    read: Callable[[Tensor], Tensor] = _values
    name: Callable[[int], str] = "column {}".format
    if units is not None:
        read = units.columns or read
        name = units.name or name
    columns = read(x.cpu()).T.numpy()
    places = {j: which for j, column in enumerate(columns) if len(which := rare(column))}
    if not places:  # nothing to draw for
        return ()
    with judged(vae, x, c) as (model, rows):
        drawn = read(drawn_like(model, rows, samples, seed).cpu()).T.numpy()
    found = []
    for j, which in places.items():
        draws, (values, counts) = drawn[j], distinct(columns[j])
        for i in which:
            middles = (values[1:] + values[:-1]) / 2
            share = float(np.mean(np.searchsorted(middles, draws) == i))
            found.append(
                _compared(
                    f"{name(j)} = {values[i]:.6g}", counts[i] / len(x), len(x), share, samples
                )
            )
    return tuple(sorted(found, key=lambda entry: -abs(entry.z)))


def _values(rows: Tensor) -> Tensor:
    """Return the values of rows (n, D) as they are, in float64."""
    return rows.flatten(1).double()


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
