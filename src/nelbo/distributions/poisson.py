r"""Counts whose variance is their mean.

.. math:: \log p(x) = \sum_i x_i \log \lambda_i - \lambda_i - \log x_i!
"""

from __future__ import annotations

__all__ = ["Poisson"]

from collections.abc import Sequence

import torch
from torch import Tensor

from .factorised import Factorised


class Poisson(Factorised):
    r"""Independent counts.

    Its sum is taken in float64: in float32 the terms of a count of 100,000 would cancel to a tenth
    of a nat.

    Arguments:
        log_rate: :math:`\log \lambda`, of shape (*batch, *event).
        event_dim: How many trailing dimensions make up one event.
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(self, log_rate: Tensor, event_dim: int = 1) -> None:
        self.log_rate, self.event_dim = log_rate, event_dim
        split = log_rate.ndim - event_dim
        super().__init__(log_rate.shape[:split], log_rate.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        r"""The rates :math:`\lambda`, of shape (*batch, *event)."""
        return self.log_rate.exp()

    @property
    def mode(self) -> Tensor:
        """The largest whole numbers that are at most the rates."""
        return self.mean.floor()

    @property
    def variance(self) -> Tensor:
        """The variance, equal to the mean."""
        return self.mean

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw counts, of shape (*sample_shape, *batch, *event)."""
        rate = self.mean.expand(torch.Size(sample_shape) + self.log_rate.shape)
        return torch.poisson(rate.contiguous(), generator)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-probability of each count, of value's and log_rate's shape."""
        x, log_rate = value.double(), self.log_rate.double()
        found = x * log_rate - log_rate.exp() - torch.lgamma(x + 1)
        return found.to(self.log_rate.dtype)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logarithms of the rates; and at the first sample the gradient of log p(x) for
        them and their Fisher information (see `Likelihood.local_quadratic`).
        """
        features = self.log_rate.flatten(2)
        rate = features[0].exp()
        return features, x.flatten(1) - rate, rate
