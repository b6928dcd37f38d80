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
    With ``input_noise`` it sees x with normal noise on every value, likewise in ``train()`` mode
    only. Either is a bound whatever z is drawn from (the denoising criterion; Im et al., 2017), and
    an encoder that never sees the same x twice overfits less.

    Arguments:
        vae: The model.
        samples: How many z are drawn for each example.
        corruption: Share of the values that are set to 0, at most 0.9.
        input_noise: Standard deviation of the noise that the encoder sees, in units of x.

    Raises:
        ValueError: ``samples`` is less than 1, or ``corruption`` or ``input_noise`` is out of
            range.
    """

    averages = True

    def __init__(
        self, vae: VAE, samples: int = 1, corruption: float = 0.0, input_noise: float = 0.0
    ) -> None:
        super().__init__(vae, samples)
        self.corruption = checked("corruption", corruption, 0, 0.9)
        self.input_noise = checked("input_noise", input_noise, 0)
        self.weighted = self.corruption > 0 or self.input_noise > 0

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the ELBO of each example of x (*batch, *shape), of shape (*batch,), in nats."""
        if not (self.training and self.weighted):
            return average(self.terms(x, generator, c))
        q = self.vae.encode(self.seen(x, generator), c)
        return average(self.vae.terms_at(x, draw(q, (self.samples,), generator), q, c))

    def seen(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return examples x (*batch, *shape) as the encoder sees them in training."""
        if self.corruption:
            hidden = round(256 * self.corruption)  # of the 256 values of a byte
            shown = (random_bytes(x.shape, generator, x.device) >= hidden).to(x.dtype)
            x = x * shown * (256 / (256 - hidden))
        if self.input_noise:
            x = noisy(x, self.input_noise, generator)
        return x


def noisy(x: Tensor, std: float, generator: torch.Generator | None) -> Tensor:
    """Return x with independent normal noise of this standard deviation on every value."""
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return torch.add(x, noise, alpha=std)


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
