r"""Amounts: nothing, or a positive number whose logarithm is normal.

.. math:: P(x_i = 0) = 1 - \pi_i, \qquad
    p(x_i) = \pi_i \, \mathcal{N}(\log x_i \mid m_i, s_i^2) / x_i \quad (x_i > 0)
"""

from __future__ import annotations

__all__ = ["HurdleLogNormal"]

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .factorised import Factorised
from .log_normal import LogNormal


class HurdleLogNormal(Factorised):
    r"""Independent amounts (Cragg, 1971). What is computed of a 0 is its probability, and of all
    else its density: together they sum and integrate to 1.

    Arguments:
        logits: :math:`\log \pi / (1 - \pi)` of the chance of any amount, of shape (*batch, *event).
        loc: The mean m of the logarithm of positive amounts, likewise.
        scale: Its standard deviation s, which broadcasts against ``loc``.
        event_dim: How many trailing dimensions make up one event.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, event_dim: int = 1) -> None:
        self.logits, self.event_dim = logits, event_dim
        self.above = LogNormal(loc, scale, event_dim)
        super().__init__(self.above.batch_shape, self.above.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, zeros included, of shape (*batch, *event)."""
        return self.logits.sigmoid() * self.above.mean

    @property
    def mode(self) -> Tensor:
        """0 where that has a probability of at least a half, else the mode of positive amounts."""
        return torch.where(self.logits > 0, self.above.mode, 0.0)

    @property
    def variance(self) -> Tensor:
        """The variance, zeros included, of shape (*batch, *event)."""
        any_ = self.logits.sigmoid()
        return any_ * (self.above.variance + (1 - any_) * self.above.mean.square())

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw amounts, of shape (*sample_shape, *batch, *event)."""
        amounts = self.above.sample(sample_shape, generator)
        uniform = torch.rand(
            amounts.shape, generator=generator, dtype=amounts.dtype, device=amounts.device
        )
        return torch.where(uniform < self.logits.sigmoid(), amounts, 0.0)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-probability of each 0 and the log-density of each positive amount, of
        value's and loc's shape.
        """
        zero = value == 0
        density = self.above.each(torch.where(zero, 1.0, value))
        return torch.where(zero, logsigmoid(-self.logits), logsigmoid(self.logits) + density)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, and then the means of logarithms; and at the first sample the gradient of
        log p(x) for both and their information (see `Likelihood.local_quadratic`).
        """
        some = (x != 0).to(x.dtype)
        chance = self.logits[0].sigmoid()
        loc, score, precision = self.above.local_quadratic(torch.where(x == 0, 1.0, x))
        some, chance = some.flatten(1), chance.flatten(1)
        # Of m the information is pi / s^2, what is observed 1 / s^2 or 0: their mean does not
        # overshoot where a positive amount was hardly expected.
        information = torch.cat([chance * (1 - chance), 0.5 * (chance + some) * precision], -1)
        features = torch.cat([self.logits.flatten(2), loc], -1)
        return features, torch.cat([some - chance, some * score], -1), information
