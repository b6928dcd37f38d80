r"""The ELBO with another weight on its KL:
:math:`\frac1L \sum_l \log p(x \mid z_l) - g(KL(q(z \mid x) \| p(z)))`.

While training they return that; in ``eval()`` mode the ELBO itself, so that numbers of different
weights compare. The KL is exact where it has a closed form, and an average over the same samples
where not. The likelihood always has weight one, so a learned :math:`\beta^2` of the noise is still
the mean squared residual. Early stopping chooses weights by the ELBO: pass ``early_stopping=False``
where another optimum than the ELBO's is wanted.
"""

from __future__ import annotations

__all__ = ["BetaVAE", "Capacity", "FreeBits", "KLWarmUp"]

import abc

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.kl import kl_divergence

from ..distributions import DiagonalNormal, is_independent_normal
from ..vae import VAE, Terms
from .base import Objective, average, checked, mean_kl


class Weighted(Objective):
    """Abstract ELBO whose KL costs something else in training, and itself in ``eval()`` mode."""

    averages = True
    weighted = True

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None, c: Tensor | None = None
    ) -> Tensor:
        """Return the objective of each x (*batch, *shape): (*batch,); in eval() the ELBO."""
        terms = self.terms(x, generator, c)
        if not self.training:
            return average(terms)
        return terms.log_lik.mean(0) - self.cost(terms)

    @abc.abstractmethod
    def cost(self, terms: Terms) -> Tensor:
        """Return what the KL costs each example in training, of shape (*batch,)."""


class BetaVAE(Weighted):
    r""":math:`E_q[\log p(x \mid z)] - \beta \, KL(q(z \mid x) \| p(z))` (Higgins et al., 2017).

    A bound for :math:`\beta \ge 1`, and the ELBO for 1. This :math:`\beta` is not the noise level.

    Arguments:
        vae: The model.
        samples: How many z are drawn for each example.
        beta: Weight of the KL, at least 0.

    Raises:
        ValueError: ``samples`` is less than 1, or ``beta`` is negative.
    """

    def __init__(self, vae: VAE, samples: int = 1, beta: float = 4.0) -> None:
        super().__init__(vae, samples)
        self.beta = checked("beta", beta, 0)
        self.is_bound = self.beta >= 1

    def cost(self, terms: Terms) -> Tensor:
        """Return what the KL costs each example in training, of shape (*batch,)."""
        return self.beta * mean_kl(terms)


class KLWarmUp(Weighted):
    r""":math:`E_q[\log p(x \mid z)] - c \, KL(q(z \mid x) \| p(z))`, c rising from 0 to 1 (Bowman
    et al., 2016; Sønderby et al., 2016).

    c is in proportion to the part of the run's budget that is spent, be it steps or seconds, is 1
    once ``share`` of it is, and stays there. Outside of a run it is 1. Training does not stop early
    before.

    Arguments:
        vae: The model.
        samples: How many z are drawn for each example.
        share: Part of the run over which c rises, above 0 and at most 0.9.

    Raises:
        ValueError: ``samples`` is less than 1, or ``share`` is out of range.
    """

    is_bound = False

    def __init__(self, vae: VAE, samples: int = 1, share: float = 0.3) -> None:
        super().__init__(vae, samples)
        self.ramp = _share(share)

    def cost(self, terms: Terms) -> Tensor:
        """Return what the KL costs each example in training, of shape (*batch,)."""
        return self.done() * mean_kl(terms)


class FreeBits(Weighted):
    r""":math:`E_q[\log p(x \mid z)] - \sum_j \max(\lambda, \overline{KL}_j)`, the bar a mean over
    the batch (Kingma et al., 2016).

    A latent dimension may hold :math:`\lambda` nats at no cost, so that none need be given up early
    in training. Dimensions are counted one by one where q(z|x) and p(z) are diagonal normals; else
    all are one group, with :math:`\lambda` times their number free. Rows of a batch share its
    verdict: a dimension below :math:`\lambda` costs each of them :math:`\lambda`, one above costs
    each its own KL. The mean over the batch is the formula's.

    Arguments:
        vae: The model.
        samples: How many z are drawn for each example.
        free: :math:`\lambda`, in nats per latent dimension, at least 0, where it is the ELBO.

    Raises:
        ValueError: ``samples`` is less than 1, or ``free`` is negative.
    """

    is_bound = False

    def __init__(self, vae: VAE, samples: int = 1, free: float = 0.25) -> None:
        super().__init__(vae, samples)
        self.free = checked("free", free, 0)

    def cost(self, terms: Terms) -> Tensor:
        """Return what the KL costs each example in training, of shape (*batch,)."""
        kl = kl_by_group(terms)
        free = self.free * self.vae.latent_dim / kl.shape[-1]
        batch = tuple(range(kl.ndim - 1))
        mean = kl.detach()
        if batch:
            mean = mean.mean(batch)
        costs = mean > free
        return torch.where(costs, kl, free).sum(-1)


class Capacity(Weighted):
    r""":math:`E_q[\log p(x \mid z)] - \gamma \, |KL(q(z \mid x) \| p(z)) - C|`, C rising from 0
    (Burgess et al., 2018).

    Each example is pulled to C nats; C is in proportion to the part of the run's budget that is
    spent, and is ``capacity`` once ``share`` of it is. Outside of a run it is ``capacity``.
    Training does not stop early before.

    Arguments:
        vae: The model.
        samples: How many z are drawn for each example.
        capacity: The last C, in nats per example, at least 0.
        gamma: How hard the pull is, at least 0.
        share: Part of the run over which C rises, above 0 and at most 0.9.

    Raises:
        ValueError: ``samples`` is less than 1, or an option is out of range.
    """

    is_bound = False

    def __init__(
        self,
        vae: VAE,
        samples: int = 1,
        capacity: float = 25.0,
        gamma: float = 1000.0,
        share: float = 0.5,
    ) -> None:
        super().__init__(vae, samples)
        self.capacity = checked("capacity", capacity, 0)
        self.gamma = checked("gamma", gamma, 0)
        self.ramp = _share(share)

    def cost(self, terms: Terms) -> Tensor:
        """Return what the KL costs each example in training, of shape (*batch,)."""
        return self.gamma * (mean_kl(terms) - self.capacity * self.done()).abs()


def _share(value: object) -> float:
    """Return the share of a run over which a weight changes.

    It is at most 0.9, since a last step always starts before the run's time is up.
    """
    return checked("share", value, 0, 0.9, above=True)


def kl_by_group(terms: Terms) -> Tensor:
    """Return the KL of each latent dimension, (*batch, latent_dim), or in all, (*batch, 1)."""
    if is_independent_normal(terms.q) and is_independent_normal(terms.p):
        return kl_divergence(_apart(terms.q), _apart(terms.p))
    return mean_kl(terms).unsqueeze(-1)


def _apart(distribution: DiagonalNormal) -> Distribution:
    """Return the same normals, each coordinate an event of its own."""
    return DiagonalNormal(distribution.loc.unsqueeze(-1), distribution.stddev.unsqueeze(-1))
