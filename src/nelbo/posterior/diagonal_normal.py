r"""A normal with independent coordinates of z."""

from __future__ import annotations

__all__ = ["DiagonalNormal", "independent_normal", "mean_field"]

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .. import distributions
from ..linear import LinearGaussian
from .base import SMALLEST_STD, Posterior


class DiagonalNormal(Posterior):
    r""":math:`q(z \mid x) = \mathcal{N}(\mu(x), \operatorname{diag} \sigma^2(x))`
    (Kingma & Welling, 2014).

    The first half of the features is :math:`\mu`; the second half is mapped to
    :math:`\sigma > 0` by softplus, which unlike exp cannot overflow far from the data. There it
    could still underflow to 0, which is no density: :math:`\sigma` is at least `SMALLEST_STD`.

    Arguments:
        latent_dim: Number of latent dimensions, at least 1.
    """

    starts_linear = True

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}.")
        self.latent_dim = latent_dim
        self.in_shape = (2 * latent_dim,)

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        """Map features h, of shape (*batch, 2 * latent_dim), to q(z|x)."""
        loc, raw = h.chunk(2, dim=-1)
        return independent_normal(loc, raw)

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Return the exact means, and the conditional standard deviations of the exact posterior:
        of all diagonal normals these have the highest ELBO.
        """
        return mean_field(model)


def independent_normal(loc: Tensor, raw: Tensor) -> distributions.DiagonalNormal:
    """Return the normal with this mean and, by softplus, these raw standard deviations."""
    return distributions.DiagonalNormal(loc, softplus(raw.contiguous()).clamp_min(SMALLEST_STD))


def mean_field(model: LinearGaussian) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the affine encoder that gives a linear model's exact posterior
    means, and the conditional standard deviations of its posterior, raw.
    """
    gain, offset = model.posterior_affine()
    noise = model.variance.expand_as(model.bias)[:, None]
    precision = 1 + (model.weight.square() / noise).sum(0)
    raw = distributions.softplus_inverse(precision.rsqrt())
    return torch.cat([gain, torch.zeros_like(gain)]), torch.cat([offset, raw])
