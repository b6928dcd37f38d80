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

__all__ = ["PROPOSALS", "refined", "searched"]

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..vae import VAE
from ..watching import pieces
from .chains import Schedule, Stream, anneal, start_noise, stream, temperatures
from .examples import Examples
from .judging import MEMORY, rows_at_once
from .proposal import Normal, Proposal, from_encoder, from_prior, log_joint, log_joint_and_gradient
from .result import Cost

Fit = tuple[Tensor, Tensor, Cost]


def refined(vae: VAE, x: Examples, memory: int = MEMORY) -> tuple[Normal, Cost]:
    """Fit a normal to p(z|x) of each row, at the mode that the encoder leads to.

    Arguments:
        vae: The model.
        x: The examples.
        memory: Bytes for intermediate results.
    """
    return _in_pieces(vae, x, memory, Newton().from_encoder)


def searched(vae: VAE, x: Examples, memory: int = MEMORY) -> tuple[Normal, Cost]:
    """Like `refined`, at the best mode found from the encoder
    and from chains annealed from the prior.
    """
    return _in_pieces(vae, x, memory, Search().best)


PROPOSALS: dict[str, Proposal] = {
    "encoder": from_encoder,
    "prior": from_prior,
    "refined": refined,
    "searched": searched,
}


def mass(vae: VAE, x: Examples, normal: Normal) -> Tensor:
    """Return what log p(x) would be if p(z|x) were this normal, of shape (n,), up to a constant."""
    return log_joint(vae, x, normal.loc[None])[0] + normal.log_scale


def _in_pieces(
    vae: VAE, x: Examples, memory: int, fit: Callable[[VAE, Examples], Fit]
) -> tuple[Normal, Cost]:
    """Fit as many rows at once as the memory holds."""
    samples = max(2 * vae.latent_dim + 1, Search.chains)
    split = x.split(rows_at_once(vae, x, samples, memory, gradients=True))
    parts = [fit(vae, piece) for piece in pieces(split, "looking for modes")]
    loc = torch.cat([part[0] for part in parts])
    scale = torch.cat([part[1] for part in parts])
    return Normal(loc, scale), sum((part[2] for part in parts), Cost())


@dataclass(frozen=True)
class Newton:
    """Damped Newton steps to a mode of log p(x, z).

    Attributes:
        iterations: Steps, at most.
        settled: Expected gain of a step, in nats, below which a row has arrived.
        lengths: Lengths tried along a step.
        widest: Largest standard deviation of a fitted normal, in units of the prior's: flat
            directions are no wider than that.
    """

    iterations: int = 12
    settled: float = 0.02
    lengths: tuple[float, ...] = (1.0, 0.5, 0.2, 0.05, 0.01)
    widest: float = 2.0

    def from_encoder(self, vae: VAE, x: Examples) -> Fit:
        """Climb from the encoder's mean."""
        start, _ = from_encoder(vae, x)
        return self.climb(vae, x, start.loc, start.conditional_std)

    def climb(self, vae: VAE, x: Examples, loc: Tensor, std: Tensor) -> Fit:
        """Climb to a maximum of log p(x, z) and return it with a triangle L, L L^T = H^-1.

        Arguments:
            vae: The model.
            x: The examples.
            loc: Where to begin, (n, latent_dim).
            std: How far each axis may be probed there, (n, latent_dim).
        """
        loc = loc.clone()
        cost = Cost()
        std = std.clamp_max(1.0)
        n, d = loc.shape
        lower = torch.diag_embed(std)
        active = torch.arange(n, device=x.device)
        for iteration in range(self.iterations + 1):
            rows, centre = x[active], loc[active]
            width = Normal(centre, lower[active]).conditional_std
            gradient, curvature = _curvature(vae, rows, centre, width)
            cost += Cost((2 * d + 1) * len(active), (2 * d + 1) * len(active))
            inverse = self.inverse_root(curvature)
            lower[active] = inverse
            if iteration == self.iterations:
                break
            whitened = torch.matmul(gradient[:, None], inverse)[:, 0]
            move = torch.matmul(inverse, whitened[..., None])[..., 0].nan_to_num(0.0)
            tried = torch.stack([centre + length * move for length in (0.0, *self.lengths)])
            height = log_joint(vae, rows, tried)
            cost += Cost(decodes=len(tried) * len(active))
            best = height.argmax(0)
            loc[active] = tried[best, torch.arange(len(active), device=x.device)]
            arrived = (0.5 * whitened.square().sum(-1) < self.settled) | (best == 0)
            # the first curvature is measured in the encoder's width
            if iteration:
                active = active[~arrived]
            if len(active) == 0:
                break
        return loc, lower, cost

    def inverse_root(self, curvature: Tensor) -> Tensor:
        """Return the lower triangle L with L L^T = H^-1 of each H (n, d, d), where directions that
        curve too little count as wide ones.
        """
        values, vectors = torch.linalg.eigh(curvature.double().nan_to_num(0.0, 0.0, 0.0))
        variance = values.abs().clamp_min(1 / self.widest**2).reciprocal()
        covariance = (vectors * variance[:, None]) @ vectors.mT
        lower: Tensor = torch.linalg.cholesky(covariance)
        return lower.to(curvature.dtype)


@dataclass(frozen=True)
class Search:
    """Chains annealed from the prior, which look for modes that the encoder does not lead to.

    Attributes:
        chains: Chains of each row.
        temperatures: How many they go through.
        leapfrogs: Gradient steps of each move.
        first_step: The step size they begin with, in units of the prior's standard deviation.
        narrow: A width around where they end that is safe to probe, in the same units.
        newton: How modes are climbed to.
    """

    chains: int = 3
    temperatures: int = 50
    leapfrogs: int = 4
    first_step: float = 0.4
    narrow: float = 0.1
    newton: Newton = field(default_factory=Newton)

    def best(self, vae: VAE, x: Examples) -> Fit:
        """Return the mode and the triangle L with the greatest mass,
        as far as a normal can tell.
        """
        loc, lower, cost = self.newton.from_encoder(vae, x)
        found, spent = self.ends(vae, x)
        height = log_joint(vae, x, loc[None])[0]
        ends = log_joint(vae, x, found[None])[0]
        cost += spent + Cost(decodes=2 * len(x))
        # A posterior sample lies d/2 nats below its mode on average: far below that, another mode
        # cannot have the mass.
        worth = (ends > height - vae.latent_dim).nonzero()[:, 0]
        if len(worth) == 0:
            return loc, lower, cost
        rows, start = x[worth], found[worth]
        width = torch.full_like(start, self.narrow)
        others, triangles, spent = self.newton.climb(vae, rows, start, width)
        known = (height + Normal(loc, lower).log_scale)[worth]
        gain = mass(vae, rows, Normal(others, triangles)) - known
        better = worth[gain > 0]
        loc[better] = others[gain > 0]
        lower[better] = triangles[gain > 0]
        return loc, lower, cost + spent + Cost(decodes=len(worth))

    def ends(self, vae: VAE, x: Examples) -> tuple[Tensor, Cost]:
        """Anneal a few chains from the prior and return, for each row,
        the highest place where one ends, (n, latent_dim).
        """
        prior, cost = from_prior(vae, x)
        t = temperatures(self.temperatures, "power")
        sizes = torch.full(
            (self.temperatures, len(x)), self.first_step, dtype=torch.float64, device=x.device
        )
        keys, seed = x.keys(), stream(0, Stream.SEARCH)
        u = start_noise(keys, self.chains, vae.latent_dim, seed, x.x)
        run = anneal(vae, x, keys, prior, u, Schedule(t, sizes), seed, self.leapfrogs, target=0.8)
        z = prior.from_noise(run.u)
        highest = log_joint(vae, x, z).argmax(0)
        cost += run.cost + Cost(decodes=len(x) * self.chains)
        return z[highest, torch.arange(len(x), device=x.device)], cost


def _curvature(vae: VAE, x: Examples, centre: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of log p(x, z) at z = centre and minus its Hessian,
    by differences of ``width``.
    """
    d = centre.shape[-1]
    offsets = torch.diag_embed(width).movedim(1, 0)  # (d, n, d)
    z = torch.cat([centre[None], centre + offsets, centre - offsets])
    _, gradient = log_joint_and_gradient(vae, x, z)
    difference = (gradient[1 + d :] - gradient[1 : 1 + d]) / (2 * width.T[..., None])
    hessian = difference.movedim(0, 1)
    return gradient[0], 0.5 * (hessian + hessian.mT)
