"""Where samples of z start: a normal for each row, from the encoder or from the prior (from p(z|x) itself: `mode`)."""

from __future__ import annotations

__all__ = ["Normal", "Proposal", "from_encoder", "from_prior", "log_joint", "log_joint_and_gradient"]

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import LOG_2PI, DiagonalNormal, Normal01, draw
from ..vae import VAE
from .ready import MEMORY
from .result import Cost

DRAWS = 4096
"""Draws of a prior that is no normal, for its mean and variance."""


class Normal(Distribution):
    r"""One normal per row, :math:`\mathcal{N}(m, L L^\top)`, that maps noise to samples.

    Arguments:
        loc: m, of shape (n, latent_dim).
        scale: L: standard deviations (n, latent_dim), or lower triangles (n, latent_dim, latent_dim).
    """

    arg_constraints = {}  # noqa: RUF012 (the base class asks for a dict)

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale
        self.full = scale.ndim > loc.ndim
        diagonal = scale.diagonal(dim1=-2, dim2=-1) if self.full else scale
        self.log_scale = diagonal.log().sum(-1)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def from_noise(self, u: Tensor) -> Tensor:
        """Return m + L u for u of shape (samples, n, latent_dim)."""
        if self.full:
            moved: Tensor = self.loc + torch.matmul(self.scale, u.movedim(0, -1)).movedim(-1, 0)
            return moved
        return torch.addcmul(self.loc, self.scale, u)

    def to_noise(self, z: Tensor) -> Tensor:
        """Return u with z = m + L u, for z of shape (samples, n, latent_dim)."""
        centred = z - self.loc
        if self.full:
            solved: Tensor = torch.linalg.solve_triangular(self.scale, centred.movedim(0, -1), upper=False)
            return solved.movedim(-1, 0)
        return centred / self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (samples, n, latent_dim), in nats."""
        return self.log_prob_of_noise(self.to_noise(value))

    def log_prob_of_noise(self, u: Tensor) -> Tensor:
        """Return the log-density of ``from_noise(u)``, in nats."""
        return -0.5 * (u.square().sum(-1) + LOG_2PI * u.shape[-1]) - self.log_scale


Proposal = Callable[[VAE, Tensor, int], tuple[Normal, Cost]]
"""From a model, rows (n, *shape) and bytes of memory to one normal per row, and what that took."""


def from_encoder(vae: VAE, x: Tensor, memory: int = MEMORY) -> tuple[Normal, Cost]:
    """q(z|x).

    Raises:
        ValueError: It is not a diagonal normal.
    """
    q = vae.encode(x)
    if not isinstance(q, DiagonalNormal):
        raise ValueError(f"Evaluation needs a posterior that is a function of normal noise, got {type(q).__name__}.")
    return Normal(q.loc, q.stddev), Cost()


def from_prior(vae: VAE, x: Tensor, memory: int = MEMORY) -> tuple[Normal, Cost]:
    """p(z), the same for every row; for a prior that is no diagonal normal, one of the same means and variances."""
    p = vae.prior()
    if isinstance(p, DiagonalNormal):
        loc, scale = p.loc, p.stddev
    else:
        drawn = draw(p, (DRAWS,), torch.Generator(x.device).manual_seed(0), gradients=False)
        loc, scale = drawn.mean(0), drawn.std(0)
    shape = (len(x), vae.latent_dim)
    return Normal(loc.to(x).expand(shape), scale.to(x).expand(shape)), Cost()


def log_joint(vae: VAE, x: Tensor, z: Tensor) -> Tensor:
    """Return log p(x, z) for z of shape (samples, n, latent_dim), minus infinity where it overflows."""
    terms = vae.terms_at(x, z, Normal01(z[0]))
    return terms.log_joint.nan_to_num(-math.inf, math.inf, -math.inf)


def log_joint_and_gradient(vae: VAE, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(x, z) and its gradient for z, for z of shape (samples, n, latent_dim)."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        height = log_joint(vae, x, z)
        (gradient,) = torch.autograd.grad(height.sum(), z)
    return height.detach(), gradient
