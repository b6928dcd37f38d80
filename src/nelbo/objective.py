r"""Objectives: modules that map a batch to one lower bound on log p(x) per example, in nats.

.. math:: \log p(x) \ge E_q[\log p(x \mid z)] - KL(q(z \mid x) \| p(z)) =: ELBO(x)

An objective is maximised; the loss is ``-objective(x).mean()``. Wrap the objective, not the model,
in ``DistributedDataParallel`` or ``torch.compile``.
"""

from __future__ import annotations

__all__ = ["ELBO", "IWAE", "Autoencoder", "Objective"]

import abc
import math

import torch
from torch import Tensor, nn

from .vae import VAE


class Objective(nn.Module, abc.ABC):
    """Abstract objective.

    Arguments:
        vae: The model.
        samples: How many z are drawn from q(z|x) for each example.

    Raises:
        ValueError: ``samples`` is less than 1.
    """

    is_bound = True
    """Whether its values are bounds on log p(x), in nats."""

    def __init__(self, vae: VAE, samples: int = 1) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}.")
        self.vae = vae
        self.samples = samples

    @abc.abstractmethod
    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the bound for each example of x (*batch, *shape), of shape (*batch,)."""


class ELBO(Objective):
    r""":math:`\frac1L \sum_l \log p(x \mid z_l) - KL(q(z \mid x) \| p(z))` (Kingma & Welling, 2014).

    The KL term is exact where it has a closed form, and an average over the same samples where not.
    """

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the ELBO of each example of x (*batch, *shape), of shape (*batch,), in nats."""
        terms = self.vae.terms(x, self.samples, generator)
        if terms.kl is None:
            return terms.log_weight.mean(0)
        return terms.log_lik.mean(0) - terms.kl


class IWAE(Objective):
    r""":math:`\log \frac1K \sum_k p(x, z_k) / q(z_k \mid x)`, which tightens as K grows (Burda et al., 2016)."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the importance-weighted bound of each example of x (*batch, *shape), of shape (*batch,), in nats."""
        terms = self.vae.terms(x, self.samples, generator)
        return terms.log_weight.logsumexp(0) - math.log(self.samples)


class Autoencoder(Objective):
    r"""The plain autoencoder, :math:`-\|x - f(\mu(x))\|^2`: what is left of the ELBO as :math:`\beta^2 \to 0`.

    For comparison only: it is not a bound on log p(x), and q(z|x) keeps the width it started with.
    """

    is_bound = False

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return minus the squared distance of each example to its reconstruction, of shape (*batch,)."""
        x_hat = self.vae.decode(self.vae.encode(x).mean).mean
        dims = tuple(range(-len(self.vae.shape), 0))
        return -(x - x_hat).square().sum(dims)
