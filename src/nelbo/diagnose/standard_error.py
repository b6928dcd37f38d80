"""Numbers measured on rows, with their standard errors."""

from __future__ import annotations

__all__ = ["Estimate", "jackknife", "log_density", "mean", "subsample"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..data.units import Units
from ..evaluate import Examples, mean_error

Rows = TypeVar("Rows", Tensor, Examples)


@dataclass(frozen=True, repr=False)
class Estimate:
    """A number measured on rows.

    Attributes:
        value: The number.
        standard_error: Over rows, as an estimate for new rows; infinite where the rows are too few
            to tell.
        rows: How many rows stand behind it.
    """

    value: float
    standard_error: float
    rows: int

    def __repr__(self) -> str:
        return f"Estimate({self}, {self.rows:,} rows)"

    def __str__(self) -> str:
        """Both to two digits of the error, and at most four decimals."""
        if not math.isfinite(self.standard_error):
            return f"{self.value:,.4g} ± ?"
        digits = 4
        if self.standard_error > 0:
            digits = min(max(1 - math.floor(math.log10(self.standard_error)), 0), digits)
        return f"{round(self.value, digits) + 0.0:,.{digits}f} ± {self.standard_error:,.{digits}f}"

    def above(self, limit: float) -> bool:
        """Return whether the value exceeds a limit by two standard errors."""
        return self.value - 2 * self.standard_error > limit

    def below(self, limit: float) -> bool:
        """Return whether the value falls short of a limit by two standard errors."""
        return self.value + 2 * self.standard_error < limit


def log_density(units: Units | None) -> float:
    """Return what is added to log p(x) in model units for that in the data's,
    in nats; 0 without units.
    """
    if units is None:
        return 0.0
    return units.log_density


def mean(values: Tensor, shift: float = 0.0) -> Estimate:
    """Return the mean of one value per row, of shape (n,), plus a constant,
    with its standard error.
    """
    values = values.double()
    return Estimate(float(values.mean()) + shift, mean_error(values), len(values))


def jackknife(statistic: Callable[[Tensor], float], rows: int, blocks: int = 10) -> Estimate:
    """Estimate a statistic of many rows,
    and its standard error by leaving out blocks of them (Tukey, 1958).

    Arguments:
        statistic: From the indices of the rows to use, of shape (m,), to a number.
        rows: How many rows there are. Fewer than two a block are too few for a standard error.
        blocks: Blocks of rows that are left out in turn.
    """
    every = torch.arange(rows)
    value = statistic(every)
    if rows < 2 * blocks:
        return Estimate(value, math.inf, rows)
    left = torch.tensor(
        [statistic(every[every % blocks != block]) for block in range(blocks)], dtype=torch.float64
    )
    error = math.sqrt((blocks - 1) * float((left - left.mean()).square().mean()))
    return Estimate(value, error, rows)


def subsample(x: Rows, rows: int, seed: int) -> Rows:
    """Return at most ``rows`` rows of x, drawn without replacement, in their order."""
    if len(x) <= rows:
        return x
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:rows]
    return x[chosen.sort().values.to(x.device)]
