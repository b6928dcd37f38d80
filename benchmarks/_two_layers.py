r"""The net of two stochastic layers of Burda et al. (2016), and IWAE with a thrifty backward pass.

.. math:: p(x, h_1, h_2) = p(h_2) \, p(h_1 \mid h_2) \, p(x \mid h_1), \qquad
    q(h_1, h_2 \mid x) = q(h_1 \mid x) \, q(h_2 \mid h_1), \qquad z = (h_2, h_1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nelbo import VAE, likelihood, networks, posterior, prior
from nelbo.distributions import DiagonalNormal, FromNoise, Layered, Normal01
from nelbo.objective import DReG

from ._common import guess


def two_layer_net(mean: Tensor, lower: int = 100, upper: int = 50) -> VAE:
    """784-200-200-[100]-100-100-[50] and back, tanh, Bernoulli; the same weights each time."""
    head = likelihood.Bernoulli((784,))
    shape: dict[str, Any] = {"activation": "tanh", "generator": torch.Generator().manual_seed(0)}
    wide, narrow = {"hidden": (200, 200), **shape}, {"hidden": (100, 100), **shape}
    decoder = _Lower(networks.MLP((lower,), head.in_shape, **wide), upper)
    encoder = networks.MLP((784,), (2 * lower,), **wide)
    guess(decoder, mean, 1e-3)
    p = _TopDown(networks.MLP((upper,), (2 * lower,), **narrow), upper, lower)
    q = _BottomUp(networks.MLP((lower,), (2 * upper,), **narrow), upper, lower)
    return VAE(p, decoder, head, encoder, q)


class _Lower(nn.Module):
    """A decoder that sees h_1 of z = (h_2, h_1) alone."""

    def __init__(self, network: nn.Module, upper: int) -> None:
        super().__init__()
        self.network, self.upper = network, upper

    def forward(self, z: Tensor) -> Tensor:
        """Return the features of p(x | h_1)."""
        features: Tensor = self.network(z[..., self.upper :])
        return features


class _TopDown(prior.Prior):
    """p(h_2) p(h_1 | h_2)."""

    def __init__(self, network: nn.Module, upper: int, lower: int) -> None:
        super().__init__()
        self.network, self.latent_dim = network, upper + lower
        self.register_buffer("origin", torch.zeros(upper), persistent=False)

    def forward(self) -> Layered:
        """Return p(z)."""
        return Layered(Normal01(self.origin), self._lower, self.latent_dim)

    def _lower(self, upper: Tensor) -> DiagonalNormal:
        return _normal(self.network(upper))


class _BottomUp(posterior.Posterior):
    """q(h_1 | x) q(h_2 | h_1)."""

    def __init__(self, network: nn.Module, upper: int, lower: int) -> None:
        super().__init__()
        self.network, self.latent_dim = network, upper + lower
        self.in_shape = (2 * lower,)

    def forward(self, h: Tensor) -> _Flipped:
        """Return q(z|x)."""
        return _Flipped(Layered(_normal(h), self._upper, self.latent_dim))

    def _upper(self, lower: Tensor) -> DiagonalNormal:
        return _normal(self.network(lower))


def _normal(features: Tensor) -> DiagonalNormal:
    """Return the normal with these means and log standard deviations."""
    loc, log_std = features.float().chunk(2, -1)
    return DiagonalNormal(loc, log_std.exp())


class _Flipped(FromNoise):
    """(b, a) for a draw (a, b) of two layers."""

    def __init__(self, layered: Layered) -> None:
        self.layered, self.like = layered, layered.like
        super().__init__(layered.batch_shape, layered.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self._flip(self.layered.mean, self.layered.parts)

    @property
    def variance(self) -> Tensor:
        """The variance, at the mean of a."""
        return self._flip(self.layered.variance, self.layered.parts)

    def from_noise(self, u: Tensor) -> Tensor:
        """Map noise to z."""
        return self._flip(self.layered.from_noise(u), self.layered.parts)

    def to_noise(self, value: Tensor) -> Tensor:
        """Undo `from_noise`."""
        return self.layered.to_noise(self._flip(value, self.layered.parts[::-1]))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of z."""
        return self.layered.log_prob(self._flip(value, self.layered.parts[::-1]))

    def _flip(self, value: Tensor, parts: Sequence[int]) -> Tensor:
        a, b = value.split(parts, -1)
        return torch.cat([b, a], -1)


class Resampled(DReG):
    r"""`DReG` whose backward pass sees but a few of the K samples, drawn by their weights.

    :math:`\sum_k \tilde w_k g_k = E[\frac1m \sum_j g_{k_j}]` for :math:`k_j \sim \tilde w`, drawn
    systematically (Burda et al., 2016, section 3, with m = 1). No gradient is kept of the others.
    """

    def __init__(self, vae: VAE, samples: int, kept: int = 6) -> None:
        super().__init__(vae, samples)
        self.kept = kept

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the importance-weighted bound of each x, (*batch,), in nats."""
        if not torch.is_grad_enabled() or self.kept >= self.samples:
            return super().forward(x, generator, c)
        q = self.vae.encode(x)
        noise = (self.samples, len(x), self.vae.latent_dim)
        u = torch.randn(noise, generator=generator, device=x.device)
        with torch.no_grad():
            log_weight = self.vae.terms_at(x, q.from_noise(u), q).log_weight
        share = log_weight.softmax(0)
        chosen = self._chosen(share, generator)
        few = u.gather(0, chosen[..., None].expand(-1, -1, u.shape[-1]))
        z = q.from_noise(few)
        terms = self.vae.terms_at(x, z, q)
        leaf = z.detach().requires_grad_()
        log_post = q.log_prob(leaf)
        (slope,) = torch.autograd.grad(log_post.sum(), leaf)
        path = terms.log_joint - (slope * (z - z.detach())).sum(-1)
        weight = share.gather(0, chosen)[..., None]
        z.register_hook(lambda gradient: gradient * weight)
        bound = log_weight.logsumexp(0) - math.log(self.samples)
        return bound + (path - path.detach()).mean(0)

    def _chosen(self, share: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw numbers of samples by their weights, (kept, n)."""
        first = torch.rand(share.shape[1], 1, generator=generator, device=share.device)
        steps = (torch.arange(self.kept, device=share.device) + first) / self.kept
        ends = share.cumsum(0).T.contiguous()
        return torch.searchsorted(ends, steps).clamp_max(self.samples - 1).T
