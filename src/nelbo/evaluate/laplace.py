r"""A normal fitted to p(z|x) itself: a mode, and the curvature there.

:math:`\mathcal{N}(m, H^{-1})` at a maximum m of :math:`\log p(x, z)`, found by damped Newton steps;
H is the curvature there, by differences of gradients a posterior standard deviation apart, which
averages it over the width that matters (Laplace's method; Tierney & Kadane, 1986). It needs nothing
of a decoder but its gradient.

An encoder can lead to a mode that is not the one with the mass, and nothing seen from there would
tell. So `searched` anneals a few short chains from the prior as well; where one finds more mass,
its mode is taken.
"""

from __future__ import annotations

__all__ = ["PROPOSALS", "mass", "refined", "searched"]

from collections.abc import Callable

import torch
from torch import Tensor

from ..vae import VAE
from ..watching import pieces
from .chains import Schedule, Stream, anneal, start_noise, stream, temperatures
from .judging import MEMORY, rows_at_once
from .proposal import Normal, Proposal, from_encoder, from_prior, log_joint, log_joint_and_gradient
from .result import Cost
from .row_noise import row_keys

ITERATIONS = 12
"""Newton steps at most."""
SETTLED = 0.02
"""Expected gain of a Newton step, in nats, below which a row has arrived."""
STEPS = (1.0, 0.5, 0.2, 0.05, 0.01)
"""Lengths tried along a Newton step."""
WIDEST = 2.0
"""Largest standard deviation of a fitted normal, in units of the prior's: flat directions are no
wider than that.
"""
SEARCHERS, TEMPERATURES, LEAPFROGS = 3, 50, 4
"""Chains of each row that look for modes, and how they move."""
FIRST_STEP, NARROW = 0.4, 0.1
"""Step size they begin with, and a width around where they end that is safe to probe, in units of
the prior's.
"""


def refined(vae: VAE, x: Tensor, memory: int = MEMORY) -> tuple[Normal, Cost]:
    """Fit a normal to p(z|x) of each row, at the mode that the encoder leads to.

    Arguments:
        vae: The model.
        x: Rows (n, *shape).
        memory: Bytes for intermediate results.
    """
    return _in_pieces(vae, x, memory, _climb)


def searched(vae: VAE, x: Tensor, memory: int = MEMORY) -> tuple[Normal, Cost]:
    """Like `refined`, at the best mode found from the encoder and from chains annealed from the
    prior.
    """
    return _in_pieces(vae, x, memory, _best)


PROPOSALS: dict[str, Proposal] = {
    "encoder": from_encoder,
    "prior": from_prior,
    "refined": refined,
    "searched": searched,
}
Fit = tuple[Tensor, Tensor, Cost]


def mass(vae: VAE, x: Tensor, normal: Normal) -> Tensor:
    """Return what log p(x) would be if p(z|x) were this normal, of shape (n,), up to a constant."""
    return log_joint(vae, x, normal.loc[None])[0] + normal.log_scale


def _in_pieces(
    vae: VAE, x: Tensor, memory: int, fit: Callable[[VAE, Tensor], Fit]
) -> tuple[Normal, Cost]:
    samples = max(2 * vae.latent_dim + 1, SEARCHERS)
    split = x.split(rows_at_once(vae, x, samples, memory, gradients=True))
    parts = [fit(vae, piece) for piece in pieces(split, "looking for modes")]
    loc, scale = (torch.cat([part[i] for part in parts]) for i in (0, 1))  # type: ignore[misc]
    return Normal(loc, scale), sum((part[2] for part in parts), Cost())


def _climb(vae: VAE, x: Tensor) -> Fit:
    """Climb from the encoder's mean."""
    start, _ = from_encoder(vae, x)
    return _fit(vae, x, start.loc, start.conditional_std)


def _best(vae: VAE, x: Tensor) -> Fit:
    """Return the mode and the triangle L with the greatest mass, as far as a normal can tell."""
    loc, lower, cost = _climb(vae, x)
    found, spent = _search(vae, x)
    height, ends = log_joint(vae, x, loc[None])[0], log_joint(vae, x, found[None])[0]
    cost += spent + Cost(decodes=2 * len(x))
    # A posterior sample lies d/2 nats below its mode on average: far below that, another mode
    # cannot have the mass.
    worth = (ends > height - vae.latent_dim).nonzero()[:, 0]
    if len(worth) == 0:
        return loc, lower, cost
    others, triangles, spent = _fit(
        vae, x[worth], found[worth], torch.full_like(found[worth], NARROW)
    )
    gain = (
        mass(vae, x[worth], Normal(others, triangles))
        - (height + Normal(loc, lower).log_scale)[worth]
    )
    better = worth[gain > 0]
    loc[better], lower[better] = others[gain > 0], triangles[gain > 0]
    return loc, lower, cost + spent + Cost(decodes=len(worth))


def _search(vae: VAE, x: Tensor) -> tuple[Tensor, Cost]:
    """Anneal a few chains from the prior and return, for each row, the highest place where one
    ends.
    """
    prior, cost = from_prior(vae, x)
    t = temperatures(TEMPERATURES, "power")
    sizes = torch.full((TEMPERATURES, len(x)), FIRST_STEP, dtype=torch.float64, device=x.device)
    keys, seed = row_keys(x), stream(0, Stream.SEARCH)
    u = start_noise(keys, SEARCHERS, vae.latent_dim, seed, x)
    run = anneal(vae, x, keys, prior, u, Schedule(t, sizes), seed, LEAPFROGS, target=0.8)
    z = prior.from_noise(run.u)
    highest = log_joint(vae, x, z).argmax(0)
    return z[highest, torch.arange(len(x), device=x.device)], cost + run.cost + Cost(
        decodes=len(x) * SEARCHERS
    )


def _fit(vae: VAE, x: Tensor, loc: Tensor, std: Tensor) -> Fit:
    """Climb to a maximum of log p(x, z) and return it with a triangle L, L L^T = H^-1."""
    loc, cost = loc.clone(), Cost()
    std = std.clamp_max(1.0)
    n, d = loc.shape
    lower = torch.diag_embed(std)
    active = torch.arange(n, device=x.device)
    for iteration in range(ITERATIONS + 1):
        rows, centre = x[active], loc[active]
        width = Normal(centre, lower[active]).conditional_std
        gradient, curvature = _curvature(vae, rows, centre, width)
        cost += Cost((2 * d + 1) * len(active), (2 * d + 1) * len(active))
        inverse = _inverse_root(curvature)
        lower[active] = inverse
        if iteration == ITERATIONS:
            break
        whitened = torch.matmul(gradient[:, None], inverse)[:, 0]
        move = torch.matmul(inverse, whitened[..., None])[..., 0].nan_to_num(0.0)
        tried = torch.stack([centre + length * move for length in (0.0, *STEPS)])
        height = log_joint(vae, rows, tried)
        cost += Cost(decodes=len(tried) * len(active))
        best = height.argmax(0)
        loc[active] = tried[best, torch.arange(len(active), device=x.device)]
        arrived = (0.5 * whitened.square().sum(-1) < SETTLED) | (best == 0)
        # the first curvature is measured in the encoder's width
        active = active[~arrived] if iteration else active
        if len(active) == 0:
            break
    return loc, lower, cost


def _curvature(vae: VAE, x: Tensor, centre: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of log p(x, z) at z = centre and minus its Hessian, by differences of
    ``width``.
    """
    d = centre.shape[-1]
    offsets = torch.diag_embed(width).movedim(1, 0)  # (d, n, d)
    z = torch.cat([centre[None], centre + offsets, centre - offsets])
    _, gradient = log_joint_and_gradient(vae, x, z)
    difference = (gradient[1 + d :] - gradient[1 : 1 + d]) / (2 * width.T[..., None])
    hessian = difference.movedim(0, 1)
    return gradient[0], 0.5 * (hessian + hessian.mT)


def _inverse_root(curvature: Tensor) -> Tensor:
    """Return the lower triangle L with L L^T = H^-1, where directions that curve too little count
    as wide ones.
    """
    values, vectors = torch.linalg.eigh(curvature.double().nan_to_num(0.0, 0.0, 0.0))
    variance = values.abs().clamp_min(1 / WIDEST**2).reciprocal()
    covariance = (vectors * variance[:, None]) @ vectors.mT
    lower: Tensor = torch.linalg.cholesky(covariance)
    return lower.to(curvature.dtype)
