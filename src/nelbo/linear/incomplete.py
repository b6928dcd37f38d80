r"""Mean and covariance of rows with missing values, by expectation maximisation.

Under a linear model the values that are missing from a row, given those that are there, are normal
(Little & Rubin, 2002, section 11.3). The E step adds their mean and covariance to what is there,

.. math:: E[x_M \mid x_O] = b_M + W_M m, \quad
    \operatorname{Cov}[x_M \mid x_O] = W_M S W_M^\top + \Psi_M, \qquad
    S = (I + W_O^\top \Psi_O^{-1} W_O)^{-1}, \; m = S W_O^\top \Psi_O^{-1} (x_O - b_O)

and the M step is probabilistic PCA of the moments that result.
"""

from __future__ import annotations

__all__ = ["IncompleteMoments"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .closed_form import ppca
from .model import LinearGaussian


@dataclass(frozen=True)
class IncompleteMoments:
    """How the moments of incomplete rows are found.

    Attributes:
        factors: Directions that columns may have in common. With fewer columns every correlation is
            its own.
        steps: Steps of EM, at most.
        settled: The change of a correlation by a step below which it was the last.
        work: Products that a step may take: of more rows, evenly spaced ones are looked at.
        floor: Least noise, relative to the mean variance.
        together: Numbers that are held at once.
    """

    factors: int = 16
    steps: int = 50
    settled: float = 1e-3
    work: float = 1e9
    floor: float = 1e-6
    together: int = 2**22

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (D,) and covariance (D, D) of rows x (n, D), float64; both are 0 of a column
        without any value.
        """
        x = x.double()
        columns = x.shape[1]
        factors = max(1, min(self.factors, columns - 1, len(x) // 4))
        x = x[:: max(1, math.ceil(len(x) * columns**2 * factors / self.work))]
        seen = (~x.isnan()).any(0)
        mean = x.nanmean(0).nan_to_num(0.0)
        deviation = (x - mean).square().nanmean(0).nan_to_num(0.0).sqrt()
        unit = torch.where(deviation > 0, deviation, 1.0)
        t = (x - mean) / unit
        t[:, ~seen] = 0.0  # which says nothing, as it does not vary
        centre, found = torch.zeros_like(mean), t.nan_to_num(0.0).T @ t.nan_to_num(0.0) / len(t)
        for _ in range(self.steps if columns > 1 else 0):
            before = found
            model = ppca(centre, _positive(found), factors, floor=self.floor)
            centre, found = self.expected(model, t)
            if float((found - before).abs().max()) < self.settled:
                break
        varies = deviation > 0
        found = found * varies * varies[:, None]
        return mean + unit * centre, found * unit * unit[:, None]

    def expected(self, model: LinearGaussian, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and covariance of rows x (n, D) and of what is missing from them, under a
        linear model.
        """
        weight, bias = model.weight, model.bias
        columns, factors = weight.shape
        psi = model.variance.expand(columns)
        eye = torch.eye(factors, dtype=torch.float64)
        total, second = torch.zeros_like(bias), torch.zeros(columns, columns, dtype=torch.float64)
        for part in x.split(max(1, self.together // (columns * factors))):
            gone = part.isnan()
            precision = (~gone) / psi
            weighted = precision[:, :, None] * weight
            spread = torch.linalg.inv(eye + weight.T @ weighted)
            pull = weighted.mT @ (part - bias).masked_fill(gone, 0.0)[:, :, None]
            z = (spread @ pull)[..., 0]
            filled = torch.where(gone, z @ weight.T, part - bias)
            total += filled.sum(0)
            second += filled.T @ filled
            root = gone[:, :, None] * (weight @ torch.linalg.cholesky(spread))
            flat = root.movedim(1, 0).flatten(1)
            second += flat @ flat.T + torch.diag(psi * gone.sum(0))
        centre = total / len(x)
        covariance = second / len(x) - torch.outer(centre, centre)
        return bias + centre, (covariance + covariance.T) / 2


def _positive(covariance: Tensor) -> Tensor:
    """Return a covariance in which a column that does not vary has variance 1."""
    found = covariance.clone()
    found.diagonal()[found.diagonal() <= 0] = 1.0
    return found
