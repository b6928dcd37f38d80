r"""Positive numbers: normal noise around the logarithm."""

from __future__ import annotations

__all__ = ["LogNormal"]

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from .. import distributions
from .base import returned
from .noise import Noise
from .shared import SharedVariance


class LogNormal(SharedVariance):
    r""":math:`\log x \sim \mathcal{N}(h, \beta^2)`, a density of x itself.

    :math:`\beta^2` is fixed or learned.

    Arguments:
        shape: The shape of one example. The decoder outputs the mean h of each logarithm.
        variance: :math:`\beta^2` of the logarithm: as for `Gaussian`, but without a unit.
        floor: The smallest value a learned :math:`\beta^2` may take.

    Raises:
        ValueError: A fixed variance or the floor is not positive, the word is unknown, or ``shape``
            is ().
    """

    takes = "positive"
    starts_linear = False
    variance_steps = 1
    expects = "a number greater than 0"

    def forward(self, h: Tensor) -> distributions.LogNormal:
        """Map means h of logarithms, of shape (*batch, *shape), to p(x|z)."""
        return distributions.LogNormal(h, self.scale(h), len(self.shape))

    def noise(self) -> Noise:
        """Return that the variance of x depends on its mean."""
        return Noise("from z", "log-normal")

    def possible(self, x: Tensor) -> Tensor:
        """Return which values are positive, or missing."""
        return x.isnan() | ((x > 0) & x.isfinite())

    def reading(self) -> dict[str, Any]:
        """Return that a network is to read log x."""
        return {"as": "positive"}

    def squared_residual(self, p: Distribution, x: Tensor) -> Tensor:
        """Return (log x - h)^2.

        Raises:
            TypeError: p is not what `forward` returns.
        """
        return (x.log() - returned(p, distributions.LogNormal).log.loc).square()

    @torch.no_grad()
    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Take the variance of the logarithms, and return their means, of shape ``shape``."""
        return super().at_marginals(x.log(), left)
