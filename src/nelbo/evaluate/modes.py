r"""Normals at several modes of p(z|x), which climbs from several starts find.

.. math:: r(z \mid x) \propto \sum_j \sqrt{M_j} \; \mathcal{N}(z \mid m_j, c^2 H_j^{-1}), \qquad
    M_j = p(x, m_j) \, |H_j|^{-1/2}

c is a little above 1, and M_j is the mass of mode j by Laplace's method, up to a constant. Its
square root leaves some draws to modes that this method underrates; two climbs that end at one mode
do no harm.

Modes with mass that a single climb found say that there may be others that none has found (Good,
1953): nothing in the weights of draws would tell.
"""

from __future__ import annotations

__all__ = ["Modes", "several"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vae import VAE
from . import row_noise
from .examples import Examples
from .gauss_newton import Blend, GaussNewton, Mixture, fitted, is_known
from .judging import rows_at_once
from .laplace import Newton, mass
from .proposal import Normal, Source, encoder_source, from_encoder
from .result import Cost


@dataclass(frozen=True)
class Distinct:
    """When a mode is another one, and when it matters.

    Attributes:
        apart: Posterior standard deviations between two modes; draws of a normal at one of them
            reach what is nearer.
        matters: Nats of mass below the best mode down to which a mode counts: one with less than a
            twentieth of the mass changes log p(x) by less than a twentieth.
        unseen: Share of climbs that found a mode which no other climb found from which on there may
            be modes that none has found: about what a further climb would find new (Good, 1953).
    """

    apart: float = 3.0
    matters: float = 3.0
    unseen: float = 0.25

    def unexplored(self, q: Normal, normals: list[Normal], mass: Tensor) -> Tensor:
        """Return whether there may be further modes that matter, (n,).

        Arguments:
            q: The encoder's q(z|x), from which some draws come: what it reaches is seen.
            normals: Of the climb from the encoder's mean, and of those from further starts.
            mass: The logarithm of the mass of each, (climbs, n).
        """
        means = torch.stack([normal.loc for normal in normals])
        seen = q.reaches(means, self.apart)
        heavy = mass > mass.amax(0) - self.matters
        alone, ended = torch.zeros(2, *heavy.shape[1:], device=mass.device)
        for index, normal in enumerate(normals[1:], 1):
            near = normal.reaches(means, self.apart)
            alone += heavy[index] & (near.sum(0) == 1) & ~seen[index]  # near itself alone
            ended += heavy[index] | (near[0] & heavy[0])
        found: Tensor = alone > self.unseen * ended
        return found


class Modes(Source):
    """One mixture of normals per row.

    Arguments:
        normals: The normals of all rows, one object for each component.
        mass: The logarithm of the mass at each, (components, n).
    """

    def __init__(self, normals: list[Normal], mass: Tensor) -> None:
        self.normals = normals
        least = torch.finfo(mass.dtype).min / 4
        known = mass.nan_to_num(least, least, least).clamp(least, -least)
        self.log_weight = (0.5 * known).log_softmax(0)
        super().__init__(normals[0].batch_shape, normals[0].event_shape, validate_args=False)

    def draws(self, keys: Tensor, count: int, seed: int, number: int, like: Tensor) -> Tensor:
        """Draw the first ``count`` of block ``number``, of shape (count, n, latent_dim)."""
        d = self.event_shape[0]
        noise = row_noise.block(keys, d + 1, seed, number, like)[:count]
        share = torch.special.ndtr(noise[..., d])
        below = self.log_weight.exp().cumsum(0)[:-1, None]
        which = (share > below).sum(0)[..., None]
        z = self.normals[0].from_noise(noise[..., :d])
        for component, normal in enumerate(self.normals[1:], 1):
            z = torch.where(which == component, normal.from_noise(noise[..., :d]), z)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (samples, n, latent_dim), in nats."""
        pairs = zip(self.log_weight, self.normals, strict=True)
        return torch.stack([weight + normal.log_prob(value) for weight, normal in pairs]).logsumexp(
            0
        )


def several(
    samples: int, starts: int, vae: VAE, x: Examples, memory: int
) -> tuple[Mixture, Tensor, Cost]:
    """Return what ``samples`` draws of each row come from: the encoder's q(z|x), and wider normals
    at the modes that the encoder and ``starts`` further starts lead to; whether there may be modes
    besides, (n,); and what it took.
    """
    rule = Blend()
    first = encoder_source(vae, x)
    normal, cost = fitted(vae, x, memory, rule.starts(samples))
    q = from_encoder(vae, x, memory)[0]
    others, spent = _from_elsewhere(vae, x, q.loc, normal, starts, memory)
    masses = torch.stack([mass(vae, x, each) for each in (normal, *others)])
    cost += spent + Cost(decodes=masses.numel())
    unexplored = Distinct().unexplored(q, [normal, *others], masses)
    wide = [rule.widened(normal, first)]
    wide += [rule.wider(other) for other in others]
    # a climb that stopped near the first mode is not at one of its own
    again = normal.reaches(torch.stack([other.loc for other in others]), Distinct().apart)
    masses[1:].masked_fill_(again, -math.inf)
    return Mixture(first, Modes(wide, masses), samples, rule.own), unexplored, cost


def _from_elsewhere(
    vae: VAE, x: Examples, mean: Tensor, first: Normal, starts: int, memory: int
) -> tuple[list[Normal], Cost]:
    """Fit normals at the modes that further starts lead to: those of all starts together, as few
    rows at a time would take nearly as long.
    """
    start = torch.cat(_starts(x, mean, starts))
    rows = torch.arange(len(x), device=x.device).repeat(starts)
    climb = _climber(vae, x)
    found, cost = [], Cost()
    for piece in torch.arange(len(rows), device=x.device).split(
        rows_at_once(vae, x, 3 * (vae.latent_dim + 1), memory)
    ):
        which = rows[piece]
        normal, spent = climb(vae, x[which], start[piece], first[which])
        found.append(normal)
        cost += spent
    loc = torch.cat([normal.loc for normal in found])
    scale = torch.cat([normal.scale for normal in found])
    pairs = zip(loc.split(len(x)), scale.split(len(x)), strict=True)
    return [Normal(*pair) for pair in pairs], cost


def _starts(
    x: Examples, mean: Tensor, count: int, wide: float = 1.5, around: float = 0.75, seed: int = 11
) -> list[Tensor]:
    """Return starts (n, latent_dim): first near the point opposite to the encoder's mean, where
    likelihoods that do not see the sign of z have another mode, then anywhere.

    Arguments:
        x: The examples.
        mean: The encoder's means (n, latent_dim).
        count: How many starts.
        wide: Standard deviation of those anywhere; wider than the prior, they are as quick to climb
            and see more.
        around: Standard deviation around the first.
        seed: The seed of the noise.
    """
    d = mean.shape[-1]
    noise = row_noise.normals(x.keys(), count, d, seed, 0, mean)
    length = mean.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(mean.dtype).tiny)
    opposite = -mean * (math.sqrt(d) / length).clamp_max(1.0)
    return [opposite + around * noise[0], *(wide * noise[1:])]


Climb = Callable[[VAE, Examples, Tensor, Normal], tuple[Normal, Cost]]
"""From a model, examples, where to begin and a known normal to a normal at a mode, and its cost."""


def _climber(vae: VAE, x: Examples) -> Climb:
    """Return what climbs to a mode and fits a normal there: without gradients where the likelihood
    says how log p(x|z) bends.
    """
    if is_known(vae, x):
        return _by_gauss_newton
    return _by_newton


def _by_gauss_newton(vae: VAE, x: Examples, start: Tensor, known: Normal) -> tuple[Normal, Cost]:
    ones, apart = torch.ones_like(start), Distinct().apart
    loc, lower, _, cost = GaussNewton().climb(vae, x, start, ones, None, known, apart)
    return Normal(loc, lower), cost


def _by_newton(
    vae: VAE, x: Examples, start: Tensor, known: Normal, narrow: float = 0.1
) -> tuple[Normal, Cost]:
    loc, lower, cost = Newton().climb(vae, x, start, torch.full_like(start, narrow))
    return Normal(loc, lower), cost
