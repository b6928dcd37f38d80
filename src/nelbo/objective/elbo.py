"""The evidence lower bound, and what is left of it without noise."""

from __future__ import annotations

__all__ = ["ELBO", "Autoencoder"]

import torch
from torch import Tensor

from .base import Objective, average


class ELBO(Objective):
    r""":math:`\frac1L \sum_l \log p(x \mid z_l) - KL(q(z \mid x) \| p(z))` (Kingma & Welling, 2014).

    The KL term is exact where it has a closed form, and an average over the same samples where not.
    """

    averages = True

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the ELBO of each example of x (*batch, *shape), of shape (*batch,), in nats."""
        return average(self.vae.terms(x, self.samples, generator))


class Autoencoder(Objective):
    r"""The plain autoencoder, :math:`-\|x - f(\mu(x))\|^2`: what is left of the ELBO as :math:`\beta^2 \to 0`.

    For comparison only: it is not a bound on log p(x), and q(z|x) keeps the width it started with.
    """

    is_bound = False
    in_nats = False

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return minus the squared distance of each example to its reconstruction, of shape (*batch,)."""
        x_hat = self.vae.decode(self.vae.encode(x).mean).mean
        dims = tuple(range(-len(self.vae.shape), 0))
        return -(x - x_hat).square().sum(dims)
