"""The evidence lower bound, and what remains of it without noise."""

from __future__ import annotations

__all__ = ["ELBO", "Autoencoder"]

import torch
from torch import Tensor

from ..distributions import draw, random_bytes
from ..vae import VAE
from .base import Objective, average, checked


class ELBO(Objective):
    r"""The evidence lower bound (Kingma & Welling, 2014).

    .. math:: \frac1L \sum_l \log p(x \mid z_l) - KL(q(z \mid x) \| p(z))

    The KL term is exact where it has a closed form, and an average over the same samples where not.

    With ``corruption``, in ``train()`` mode only, the encoder sees x with some of its values set to
    0, which in scaled data is their mean, and the others scaled up in proportion, as in dropout.
    This is a bound whatever z is drawn from (Im et al., 2017), and an encoder that has to do
    without some values overfits less.

    Arguments:
        vae: The model.
        samples: How many z are drawn for each example.
        corruption: Share of the values that are set to 0, at most 0.9.

    Raises:
        ValueError: ``samples`` is less than 1, or ``corruption`` is out of range.
    """

    averages = True

    def __init__(self, vae: VAE, samples: int = 1, corruption: float = 0.0) -> None:
        super().__init__(vae, samples)
        self.corruption = checked("corruption", corruption, 0, 0.9)
        self.weighted = self.corruption > 0

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the ELBO of each example of x (*batch, *shape), of shape (*batch,), in nats."""
        if not (self.training and self.corruption):
            return average(self.terms(x, generator, c))
        hidden = round(256 * self.corruption)  # of the 256 values of a byte
        shown = (random_bytes(x.shape, generator, x.device) >= hidden).to(x.dtype)
        q = self.vae.encode(x * shown * (256 / (256 - hidden)), c)
        return average(self.vae.terms_at(x, draw(q, (self.samples,), generator), q, c))


class Autoencoder(Objective):
    r"""The plain autoencoder, :math:`-\|x - f(\mu(x))\|^2`: what remains of the ELBO as
    :math:`\beta^2 \to 0`.

    For comparison only: it is not a bound on log p(x), and q(z|x) keeps the width it started with.
    """

    is_bound = False
    in_nats = False

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return minus the squared distance of each example to its reconstruction: (*batch,)."""
        x_hat = self.vae.decode(self.vae.encode(x, c).mean, c).mean
        dims = tuple(range(-len(self.vae.shape), 0))
        if self.vae.takes_missing:
            x = torch.where(x.isnan(), x_hat.detach(), x)
        return -(x - x_hat).square().sum(dims)
