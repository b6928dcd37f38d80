"""Coin flips."""

from __future__ import annotations

__all__ = ["Bernoulli"]

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .factorised import Factorised
from .kernels import CoinFlips


class Bernoulli(Factorised):
    r"""Independent coin flips, :math:`\log p(x) = \sum_i x_i \log p_i + (1 - x_i) \log(1 - p_i)`.

    Arguments:
        logits: log(p / (1 - p)), of shape (*batch, *event).
        event_dim: How many trailing dimensions make up one event.
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, logits: Tensor, event_dim: int = 1) -> None:
        self.logits, self.event_dim = logits, event_dim
        split = logits.ndim - event_dim
        super().__init__(logits.shape[:split], logits.shape[split:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The probabilities, of shape (*batch, *event)."""
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        """The more probable side, of shape (*batch, *event)."""
        return (self.logits > 0).to(self.logits.dtype)

    def probabilities(self) -> Tensor:
        """Return the probabilities of 0 and of 1, of shape (*batch, *event, 2)."""
        return torch.stack([-self.logits, self.logits], -1).sigmoid()

    @property
    def variance(self) -> Tensor:
        """p (1 - p), of shape (*batch, *event)."""
        return self.mean * (1 - self.mean)

    @torch.no_grad()
    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw zeros and ones, of shape (*sample_shape, *batch, *event)."""
        shape = torch.Size(sample_shape) + self.logits.shape
        uniform = torch.rand(
            shape, generator=generator, dtype=self.logits.dtype, device=self.logits.device
        )
        return (uniform < self.mean).to(self.logits.dtype)

    def local_quadratic(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits; and at the first sample the gradient of log p(x) for them and their
        Fisher information (see `Likelihood.local_quadratic`).
        """
        logits = self.logits.flatten(2)
        mean = logits[0].sigmoid()
        return logits, x.flatten(1) - mean, mean * (1 - mean)

    def each(self, value: Tensor) -> Tensor:
        """Return the log-probability of each coin, of the logits' shape."""
        return value * self.logits - softplus(self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of ``value`` (*sample, *batch, *event), in nats."""
        if self.missing:
            return self.log_prob_of_observed(value)
        log_prob: Tensor = CoinFlips.apply(  # type: ignore[no-untyped-call]
            self.logits, value, self.event_dim
        )
        return log_prob
