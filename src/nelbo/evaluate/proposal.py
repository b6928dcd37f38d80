r"""Where samples of z start: a normal for each row, from the encoder, from the prior, or fitted to p(z|x) itself.

The fitted one is :math:`\mathcal{N}(m, H^{-1})` at a maximum m of :math:`\log p(x, z)`, found by damped Newton steps; H
is the curvature there, by differences of gradients a posterior standard deviation apart, which averages it over the
width that matters (Laplace's method; Tierney & Kadane, 1986). It needs nothing of a decoder but its gradient.
"""

from __future__ import annotations

__all__ = ["PROPOSALS", "Normal", "Proposal", "from_encoder", "from_prior", "refined"]

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import LOG_2PI, DiagonalNormal, Normal01
from ..vae import VAE
from .ready import MEMORY, rows_at_once
from .result import Cost

ITERATIONS = 12
"""Newton steps at most."""
SETTLED = 0.02
"""Expected gain of a Newton step, in nats, below which a row has arrived."""
STEPS = (1.0, 0.5, 0.2, 0.05, 0.01)
"""Lengths tried along a Newton step."""
WIDEST = 2.0
"""Largest standard deviation of a fitted normal, in units of the prior's: flat directions are no wider than that."""


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
    """p(z), the same for every row.

    Raises:
        ValueError: It is not a normal.
    """
    p = vae.prior()
    if not isinstance(p, DiagonalNormal):
        raise ValueError(f"A start at the prior needs a normal prior, got {type(p).__name__}. Use another start.")
    shape = (len(x), vae.latent_dim)
    return Normal(p.loc.to(x).expand(shape), p.stddev.to(x).expand(shape)), Cost()


def refined(vae: VAE, x: Tensor, memory: int = MEMORY) -> tuple[Normal, Cost]:
    """Fit a normal to p(z|x) of each row, beginning at the encoder's.

    Arguments:
        vae: The model.
        x: Rows (n, *shape).
        memory: Bytes for intermediate results.
    """
    start, _ = from_encoder(vae, x)
    step = rows_at_once(vae, x, 2 * vae.latent_dim + 1, memory, gradients=True)
    parts = [_fit(vae, *piece) for piece in zip(*(t.split(step) for t in (x, start.loc, start.scale)), strict=True)]
    loc, scale = (torch.cat([part[i] for part in parts]) for i in (0, 1))  # type: ignore[misc]
    return Normal(loc, scale), sum((part[2] for part in parts), Cost())


PROPOSALS: dict[str, Proposal] = {"encoder": from_encoder, "prior": from_prior, "refined": refined}


def _fit(vae: VAE, x: Tensor, loc: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Cost]:
    """Climb to a maximum of log p(x, z) and return it with a triangle L, L L^T = H^-1."""
    loc, cost = loc.clone(), Cost()
    std = std.clamp_max(1.0)
    n, d = loc.shape
    lower = torch.diag_embed(std)
    active = torch.arange(n, device=x.device)
    for iteration in range(ITERATIONS + 1):
        rows, centre, width = x[active], loc[active], _marginal(lower[active])
        gradient, curvature = _curvature(vae, rows, centre, width)
        cost += Cost((2 * d + 1) * len(active), (2 * d + 1) * len(active))
        inverse = _inverse_root(curvature)
        lower[active] = inverse
        if iteration == ITERATIONS:
            break
        whitened = torch.matmul(gradient[:, None], inverse)[:, 0]
        move = torch.matmul(inverse, whitened[..., None])[..., 0]
        tried = torch.stack([centre + length * move for length in (0.0, *STEPS)])
        height = _log_joint(vae, rows, tried)
        cost += Cost(decodes=len(tried) * len(active))
        best = height.argmax(0)
        loc[active] = tried[best, torch.arange(len(active), device=x.device)]
        arrived = (0.5 * whitened.square().sum(-1) < SETTLED) | (best == 0)
        active = active[~arrived] if iteration else active  # the first curvature is measured in the encoder's width
        if len(active) == 0:
            break
    return loc, lower, cost


def _marginal(lower: Tensor) -> Tensor:
    """Return the conditional standard deviations of a normal with covariance L L^T: how far each axis may be probed."""
    precision = torch.cholesky_inverse(lower)
    return precision.diagonal(dim1=-2, dim2=-1).rsqrt()


def _curvature(vae: VAE, x: Tensor, centre: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of log p(x, z) at z = centre and minus its Hessian, by differences of ``width``."""
    d = centre.shape[-1]
    offsets = torch.diag_embed(width).movedim(1, 0)  # (d, n, d)
    z = torch.cat([centre[None], centre + offsets, centre - offsets])
    _, gradient = log_joint_and_gradient(vae, x, z)
    difference = (gradient[1 + d :] - gradient[1 : 1 + d]) / (2 * width.T[..., None])
    hessian = difference.movedim(0, 1)
    return gradient[0], 0.5 * (hessian + hessian.mT)


def _inverse_root(curvature: Tensor) -> Tensor:
    """Return the lower triangle L with L L^T = H^-1, where directions that curve too little count as wide ones."""
    values, vectors = torch.linalg.eigh(curvature.double().nan_to_num(0.0, 0.0, 0.0))
    variance = values.abs().clamp_min(1 / WIDEST**2).reciprocal()
    covariance = (vectors * variance[:, None]) @ vectors.mT
    lower: Tensor = torch.linalg.cholesky(covariance)
    return lower.to(curvature.dtype)


def _log_joint(vae: VAE, x: Tensor, z: Tensor) -> Tensor:
    terms = vae.terms_at(x, z, Normal01(z[0]))
    return terms.log_joint.nan_to_num(-math.inf)


def log_joint_and_gradient(vae: VAE, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(x, z) and its gradient for z, for z of shape (samples, n, latent_dim)."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        height = _log_joint(vae, x, z)
        (gradient,) = torch.autograd.grad(height.sum(), z)
    return height.detach(), gradient
