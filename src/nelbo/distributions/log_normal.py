r"""Positive numbers whose logarithm is normal.

.. math:: \log p(x) = \sum_i \log \mathcal{N}(\log x_i \mid m_i, s_i^2) - \log x_i
"""

from __future__ import annotations

__all__ = ["LogNormal"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .factorised import Factorised
from .normal import DiagonalNormal


class LogNormal(Factorised):
    """Independent positive numbers; of any other number the density is 0.

    Arguments:
        loc: The mean m of log x, of shape (*batch, *event).
        scale: The standard deviation s of log x; it broadcasts against ``loc``.
        event_dim: How many trailing dimensions make up one event.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)
    fill = 1.0

    def __init__(self, loc: Tensor, scale: Tensor, event_dim: int = 1) -> None:
        self.log, self.event_dim = DiagonalNormal(loc, scale, event_dim), event_dim
        super().__init__(self.log.batch_shape, self.log.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """exp(m + s^2 / 2), of shape (*batch, *event)."""
        return (self.log.loc + 0.5 * self.log.scale.square()).exp()

    @property
    def mode(self) -> Tensor:
        """exp(m - s^2), of shape (*batch, *event)."""
        return (self.log.loc - self.log.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        """(exp(s^2) - 1) exp(2 m + s^2), of shape (*batch, *event)."""
        return self.mean.square() * torch.expm1(self.log.scale.square())

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw positive numbers, of shape (*sample_shape, *batch, *event)."""
        return self.log.sample(sample_shape, generator).exp()

    def each(self, value: Tensor) -> Tensor:
        """Return the log-density of each number, of value's and loc's shape."""
        positive = value > 0
        log = torch.where(positive, value, 1.0).log()
        return torch.where(positive, self.log.each(log) - log, -math.inf)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the normal of log x does (see `Likelihood.local_quadratic`)."""
        return self.log.local_quadratic(x.log())
