r"""Missing not at random: a value's own size decides whether it is there.

.. math:: p(x_O, s \mid z) = p(x_O, s_O = 1 \mid z) \, p(s_M = 0 \mid z), \qquad
    P(s_i = 1 \mid x_i) = \sigma(w_i x_i + b_i)

A salary is left out because it is high, a sensor fails because it is hot. What is there is then no
fair sample, and a model of it alone is biased (not-MIWAE: Ipsen et al., 2021). The mechanism is
learned with the model; nothing in the data can tell it from a model that is flexible enough to have
such values seldom, so that few latents, and noise that does not depend on z, are what finds it.
"""

from __future__ import annotations

__all__ = ["SelfMasking"]

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .. import distributions
from ..linear import Chunks, LinearGaussian
from .base import Likelihood, Readings
from .noise import Noise


class SelfMasking(Likelihood):
    """A likelihood of values and of which of them are there.

    Arguments:
        head: The likelihood of the values: normal ones with independent noise.

    Attributes:
        slope, offset: w and b of each value, of the shape of one example, over ``pace``: at first
            its size makes no difference.
    """

    models_missing = True
    pace = 4.0
    """How many times further w and b move in a step of training than a weight: they are few, and
    have a long way to come."""

    def __init__(self, head: Likelihood) -> None:
        super().__init__()
        head.by_gradient = True
        self.head = head
        self.shape, self.in_shape, self.floor = head.shape, head.in_shape, head.floor
        self.starts_linear = head.starts_linear
        self.slope = nn.Parameter(torch.zeros(head.shape))
        self.offset = nn.Parameter(torch.zeros(head.shape))

    def forward(self, h: Tensor) -> Distribution:
        """Map features h, of shape (*batch, *in_shape), to p(x, s|z).

        Raises:
            TypeError: The values are not normal.
        """
        p = self.head(h)
        if not distributions.is_independent_normal(p):
            raise TypeError(
                f"missingness='self_masking' is for normal noise, got p(x|z) of type "
                f"{type(p).__name__}. Use likelihood='gaussian'."
            )
        slope, offset = (self.pace * part.to(h.dtype) for part in (self.slope, self.offset))
        return distributions.SelfMasked(p, slope, offset)

    def of_values(self) -> Likelihood:
        """Return the head."""
        return self.head

    def noise(self) -> Noise:
        """Return the noise of the values."""
        return self.head.noise()

    def beta(self, p: Distribution) -> Tensor | None:
        """Return the width of each value's noise."""
        return p.stddev

    @torch.no_grad()
    def start_missing(self, x: Readings) -> None:
        """Begin with the share of each value of rows that is there."""
        share = (~x.read().isnan()).double().mean(0).clamp(0.01, 0.99)
        self.slope.zero_()
        self.offset.copy_(torch.logit(share) / self.pace)

    def moments(self, x: Tensor | Chunks) -> tuple[Tensor, Tensor]:
        """Return those of the head."""
        return self.head.moments(x)

    def linear_model(self, mean: Tensor, covariance: Tensor, latent_dim: int) -> LinearGaussian:
        """Return that of the head."""
        return self.head.linear_model(mean, covariance, latent_dim)

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Start as the head does."""
        return self.head.start_at(model)

    def local_quadratic(self, p: Distribution, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return None: gradients say how log p(x, s|z) bends."""
        return None
