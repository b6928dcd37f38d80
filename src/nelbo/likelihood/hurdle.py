r"""Amounts: nothing, or a positive number with normal noise around its logarithm."""

from __future__ import annotations

__all__ = ["HurdleLogNormal"]

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from .. import distributions
from .base import VARIANCE_FLOOR, returned
from .noise import Noise
from .shared import SharedVariance


class HurdleLogNormal(SharedVariance):
    r""":math:`P(x > 0) = \sigma(a)`, and then :math:`\log x \sim \mathcal{N}(m, \beta^2)`.

    See Cragg (1971).

    What is computed of a 0 is its probability, and of all else its density.

    Arguments:
        shape: The shape of one example. The decoder outputs twice its first dimension: first the
            logits a, then the means m.
        variance: :math:`\beta^2` of the logarithm of positive amounts: as for `Gaussian`, but
            without a unit.
        floor: The smallest value a learned :math:`\beta^2` may take.

    Raises:
        ValueError: A fixed variance or the floor is not positive, the word is unknown, or ``shape``
            is ().
    """

    takes = "amounts"
    measure = "probability at 0, density above"
    starts_linear = False
    variance_steps = 1
    expects = "an amount: 0 or a positive number"

    def __init__(
        self,
        shape: tuple[int, ...],
        variance: Literal["learned", "per_feature"] | float | Tensor = "learned",
        floor: float = VARIANCE_FLOOR,
    ) -> None:
        super().__init__(shape, variance, floor)
        self.in_shape = (2 * shape[0], *shape[1:])

    def forward(self, h: Tensor) -> distributions.HurdleLogNormal:
        """Map features h, of shape (*batch, 2 * shape[0], *shape[1:]), to p(x|z)."""
        logits, loc = h.chunk(2, dim=-len(self.shape))
        return distributions.HurdleLogNormal(logits, loc, self.scale(h), len(self.shape))

    def noise(self) -> Noise:
        """Return that the variance of x depends on its mean."""
        return Noise("from z", "zero or log-normal")

    def possible(self, x: Tensor) -> Tensor:
        """Return which values are amounts, or missing."""
        return x.isnan() | ((x >= 0) & x.isfinite())

    def reading(self) -> dict[str, Any]:
        """Return that a network is to read whether there is an amount, and its logarithm."""
        return {"as": "amount"}

    def squared_residual(self, p: Distribution, x: Tensor) -> Tensor:
        """Return (log x - m)^2, NaN where x is 0, which says nothing of it.

        Raises:
            TypeError: p is not what `forward` returns.
        """
        loc = returned(p, distributions.HurdleLogNormal).above.log.loc
        return (_positive(x).log() - loc).square()

    @torch.no_grad()
    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor:
        """Take the variance of the logarithms of positive amounts, and return the logits of how
        frequent these are and the means of their logarithms, of shape ``in_shape``.
        """
        some, none = (x > 0).sum(0).double() + 0.5, (x == 0).sum(0).double() + 0.5
        loc = super().at_marginals(_positive(x).log(), left)
        return torch.cat([some.log() - none.log(), loc])


def _positive(x: Tensor) -> Tensor:
    """Return x with NaN in place of 0."""
    return x.masked_fill(x == 0, math.nan)
