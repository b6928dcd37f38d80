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

__all__ = ["ALL", "Around", "Doubt", "Modes", "PlaceAround", "several"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..vae import VAE
from . import row_noise
from .examples import Examples
from .gauss_newton import Blend, GaussNewton, Mixture, fitted, is_known, joint_heights
from .judging import rows_at_once, rows_fitted
from .laplace import Newton
from .proposal import Normal, Source, encoder_source, from_encoder, from_prior
from .result import Cost


@dataclass(frozen=True)
class Distinct:
    """When a mode is another one, and when it matters.

    Attributes:
        least: Posterior standard deviations between two modes, at least: draws of a normal at one
            of them reach what is nearer.
        further: The same beyond the root of the number of latents, at which most draws are.
        matters: Nats of mass below the best mode down to which a mode counts: one with less than a
            twentieth of the mass changes log p(x) by less than a twentieth.
        unseen: Share of climbs that found a mode which no other climb found from which on there may
            be modes that none has found: about what a further climb would find new (Good, 1953).
    """

    least: float = 3.0
    further: float = 1.0
    matters: float = 3.0
    unseen: float = 0.25

    def apart(self, latent_dim: int) -> float:
        """Return from how many posterior standard deviations on two modes are two."""
        return max(self.least, math.sqrt(latent_dim) + self.further)

    def unexplored(self, q: Normal, normals: list[Normal], mass: Tensor) -> Tensor:
        """Return whether there may be further modes that matter, (n,).

        Arguments:
            q: The encoder's q(z|x), from which some draws come: what it reaches is seen.
            normals: Of the climb from the encoder's mean, and of those from further starts.
            mass: The logarithm of the mass of each, (climbs, n).
        """
        means = torch.stack([normal.loc for normal in normals])
        apart = self.apart(means.shape[-1])
        seen = q.reaches(means, apart) | normals[0].reaches(means, apart)
        heavy = mass > mass.amax(0) - self.matters
        alone, ended = torch.zeros(2, *heavy.shape[1:], device=mass.device)
        for index, normal in enumerate(normals[1:], 1):
            near = normal.reaches(means, apart)
            alone += heavy[index] & (near.sum(0) == 1) & ~seen[index]  # near itself alone
            ended += heavy[index] | (near[0] & heavy[0])
        found: Tensor = alone > self.unseen * ended
        return found


class Modes(Source):
    """One mixture of normals per row.

    Arguments:
        normals: The normals of all rows, one object for each component.
        log_weight: The logarithm of the share of each, (components, n).
    """

    choosing = 6_000_011
    """Added to the seed of the noise that chooses components."""

    def __init__(self, normals: list[Normal], log_weight: Tensor) -> None:
        self.normals, self.log_weight = normals, log_weight
        super().__init__(normals[0].batch_shape, normals[0].event_shape, validate_args=False)

    @classmethod
    def of_mass(cls, normals: list[Normal], mass: Tensor) -> Modes:
        """Return normals whose shares are as the root of the mass at each, of which this is the
        logarithm, (components, n).
        """
        least = torch.finfo(mass.dtype).min / 4
        known = mass.nan_to_num(least, least, least).clamp(least, -least)
        return cls(normals, (0.5 * known).log_softmax(0))

    def beside(self, others: Modes, share: float) -> Modes:
        """Return these normals, which keep a share, and others."""
        own = self.log_weight + math.log(share)
        theirs = others.log_weight + math.log1p(-share)
        return Modes([*self.normals, *others.normals], torch.cat([own, theirs]))

    @classmethod
    def joined(cls, parts: Sequence[Modes]) -> Modes:
        """Return the mixtures of the rows of all parts, which have as many components each."""
        each = zip(*(part.normals for part in parts), strict=True)
        normals = [
            Normal(torch.cat([n.loc for n in same]), torch.cat([n.scale for n in same]))
            for same in each
        ]
        return cls(normals, torch.cat([part.log_weight for part in parts], 1))

    def draws(self, keys: Tensor, count: int, seed: int, number: int, like: Tensor) -> Tensor:
        """Draw the first ``count`` of block ``number``, of shape (count, n, latent_dim)."""
        noise = row_noise.block(keys, self.event_shape[0], seed, number, like)[:count]
        z = self.normals[0].from_noise(noise)
        if len(self.normals) == 1:
            return z
        # of a stream of its own: blocks of another width share numbers with this one
        uniform = row_noise.block(keys, 1, seed + self.choosing, number, like)[:count, :, 0]
        below = self.log_weight.exp().cumsum(0)[:-1, None]
        which = (torch.special.ndtr(uniform) > below).sum(0)[..., None]
        for component, normal in enumerate(self.normals[1:], 1):
            z = torch.where(which == component, normal.from_noise(noise), z)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value`` (samples, n, latent_dim), in nats."""
        pairs = zip(self.log_weight, self.normals, strict=True)
        return torch.stack([weight + normal.log_prob(value) for weight, normal in pairs]).logsumexp(
            0
        )


class Around(Mixture):
    """Draws of which every fourth, say, is the encoder's, and the others are of normals at modes.

    Arguments:
        encoder: The encoder's q(z|x).
        modes: The normals.
        samples: How many draws there will be in all.
        every: One in so many is the encoder's.
    """

    def __init__(self, encoder: Source, modes: Modes, samples: int, every: int) -> None:
        super().__init__(encoder, modes, samples, every)
        self.encoder, self.modes = encoder, modes


PlaceAround = Callable[[Examples, Tensor], Around]
"""From some of the examples, and their numbers, to what their samples come from."""


@dataclass(frozen=True)
class Doubt:
    """For which rows further starts are climbed from, in nats for each latent dimension.

    Attributes:
        near: Where a start lies no further than that below the first mode: on digits a tenth of
            the rows, on binarised MNIST a third, of tables nearly all. With 12 it is three times
            as many digits, and half instead of a sixth of those with a second mode, but the default
            score then takes more than twice the time of the encoder's draws.
        lost: Where the climb from the encoder's mean gained more than that: the encoder knows
            little of the row.
    """

    near: float = 8.0
    lost: float = 5.0

    def worth(self, gained: Tensor, below: Tensor, latent_dim: int) -> Tensor:
        """Return which starts are climbed from, (starts, n).

        Arguments:
            gained: What the climb from the encoder's mean gained, (n,).
            below: How far starts lie below the first mode, (starts, n).
            latent_dim: Latent dimensions.
        """
        return (below < self.near * latent_dim) | (gained > self.lost * latent_dim)


ALL = Doubt(math.inf)
"""Every start is climbed from."""


def several(
    samples: int, starts: int, vae: VAE, x: Examples, memory: int, doubt: Doubt = ALL
) -> tuple[PlaceAround, Tensor, Cost]:
    """Return what ``samples`` draws of each row come from: the encoder's q(z|x), and wider normals
    at the modes that the encoder and ``starts`` further starts lead to; whether there may be modes
    besides, (n,); and what it took.

    Arguments:
        samples: Draws of each row.
        starts: Further starts.
        vae: The model.
        x: The examples.
        memory: Bytes for intermediate results.
        doubt: Which of the starts are climbed from.
    """
    blend = Blend()
    normal, cost = fitted(vae, x, memory, blend.starts(samples))
    normals = [normal]
    q = from_encoder(vae, x, memory)[0]
    points = rows_at_once(vae, x, 1, memory)
    if starts:
        began, top = joint_heights(vae, x, torch.stack([q.loc, normal.loc]), points)
        start, height, spent = Starts().of(vae, x, normal, top, starts, memory)
        worth = doubt.worth(top - began, top - height, vae.latent_dim)
        found, climbed = _from_elsewhere(vae, x, start, worth, normal, memory)
        normals += found
        cost += spent + climbed + Cost(decodes=2 * len(x))
    means = torch.stack([each.loc for each in normals])
    masses = joint_heights(vae, x, means, points)
    masses += torch.stack([each.log_scale for each in normals])
    cost += Cost(decodes=masses.numel())
    rule = Distinct()
    unexplored = rule.unexplored(q, normals, masses)
    # a climb that stopped near the first mode is not at one of its own
    masses[1:].masked_fill_(normal.reaches(means[1:], rule.apart(vae.latent_dim)), -math.inf)

    def place(part: Examples, rows: Tensor) -> Around:
        first = encoder_source(vae, part)
        wide = [blend.widened(normal[rows], first)]
        wide += [blend.wider(other[rows]) for other in normals[1:]]
        return Around(first, Modes.of_mass(wide, masses[:, rows]), samples, blend.own)

    return place, unexplored, cost


def _from_elsewhere(
    vae: VAE, x: Examples, start: Tensor, worth: Tensor, first: Normal, memory: int
) -> tuple[list[Normal], Cost]:
    """Fit normals at the modes that starts (starts, n, latent_dim) lead to, where it is worth it,
    (starts, n); elsewhere it is the first normal again.

    Rows of all starts climb together, as few at a time would take nearly as long.
    """
    rows = torch.arange(len(x), device=x.device).repeat(len(start))
    start, cost = start.flatten(0, 1), Cost()
    loc, scale = first.loc[rows], first.triangle[rows]
    climb = _climber(vae, x)
    for piece in worth.flatten().nonzero()[:, 0].split(rows_fitted(vae, memory)):
        if len(piece):
            which = rows[piece]
            normal, spent = climb(vae, x[which], start[piece], first[which], memory)
            loc[piece], scale[piece] = normal.loc, normal.scale
            cost += spent
    pairs = zip(loc.split(len(x)), scale.split(len(x)), strict=True)
    return [Normal(*pair) for pair in pairs], cost


@dataclass(frozen=True)
class Starts:
    """Where further climbs start: at draws of the prior that explain a row best.

    The draws are the same for all rows, so that they are decoded once. From the best of 128 a climb
    takes half as many steps as from any draw, and finds other modes more often (digits).

    Attributes:
        pool: Draws of the prior.
        conditional: Draws for each row where the prior or the decoder reads conditions, and all
            have to be decoded.
        beyond: Posterior standard deviations from the known mode within which nothing starts.
        alike: Nats of log p(x, z) by which the mirror image of one latent may lie below the known
            mode: a sign that is lost changes nothing, and other images are worse starts than draws.
        seed: The seed of the draws.
    """

    pool: int = 128
    conditional: int = 16
    beyond: float = 6.0
    alike: float = 8.0
    seed: int = 11

    def of(
        self, vae: VAE, x: Examples, known: Normal, peak: Tensor, count: int, memory: int
    ) -> tuple[Tensor, Tensor, Cost]:
        """Return starts (count, n, latent_dim), log p(x, z) there, (count, n), and what it took.

        Each is the best of its own share of the draws; the first may be a mirror image of the known
        mode instead, where likelihoods that do not see a sign of z have another.

        Arguments:
            vae: The model.
            x: The examples.
            known: Normals of the mode that is known.
            peak: log p(x, z) there, (n,).
            count: How many.
            memory: Bytes for intermediate results.
        """
        z, height, cost = self.drawn(vae, x, count, memory)
        height = torch.where(known.reaches(z, self.beyond), -math.inf, height)
        other, top, mirrored = self.mirrored(vae, x, known, peak, memory)
        row = torch.arange(len(x), device=x.device)
        starts, heights = [], []
        for share in range(count):
            best, which = height[share::count].max(0)
            chosen = z[share::count].expand(-1, len(x), -1)[which, row]
            if not share:
                chosen = torch.where((top > best)[:, None], other, chosen)
                best = torch.maximum(top, best)
            starts.append(chosen)
            heights.append(best)
        return torch.stack(starts), torch.stack(heights), cost + mirrored

    def mirrored(
        self, vae: VAE, x: Examples, known: Normal, peak: Tensor, memory: int
    ) -> tuple[Tensor, Tensor, Cost]:
        """Return the mirror image of each known mode with the greatest log p(x, z), (n,
        latent_dim), which is that: all of z, or one latent dimension, with the opposite sign.
        """
        turned = 1 - 2 * torch.eye(vae.latent_dim).to(known.loc)
        z = torch.cat([-known.loc[None], known.loc * turned[:, None]])
        height = joint_heights(vae, x, z, rows_at_once(vae, x, 1, memory))
        unlike = known.reaches(z[1:], self.beyond) | (height[1:] < peak - self.alike)
        height[1:].masked_fill_(unlike, -math.inf)
        top, which = height.max(0)
        return z[which, torch.arange(len(x), device=x.device)], top, Cost(decodes=height.numel())

    def drawn(self, vae: VAE, x: Examples, count: int, memory: int) -> tuple[Tensor, Tensor, Cost]:
        """Return draws of the prior, (draws, n or 1, latent_dim), log p(x, z) there, (draws, n),
        and what it took.
        """
        prior, _ = from_prior(vae, x)
        if x.c is not None:
            noise = row_noise.normals(
                x.keys(), max(self.conditional, count), vae.latent_dim, self.seed, 0, x.x
            )
            z = prior.from_noise(noise)
            height = joint_heights(vae, x, z, rows_at_once(vae, x, 1, memory))
            return z, height, Cost(decodes=height.numel())
        key = torch.zeros(1, dtype=torch.int64, device=x.device)
        noise = row_noise.normals(key, self.pool, vae.latent_dim, self.seed, 0, x.x)
        z = prior[:1].from_noise(noise)
        p, log_prior = vae.decode(z), vae.prior().log_prob(z)
        # no network is evaluated for a row, so that more of them fit into memory
        parts = x.split(rows_at_once(vae, x, self.pool // 4, memory))
        height = torch.cat([p.log_prob(part.x) for part in parts], 1) + log_prior
        return z, height.nan_to_num(-math.inf, math.inf, -math.inf), Cost(decodes=self.pool)


Climb = Callable[[VAE, Examples, Tensor, Normal, int], tuple[Normal, Cost]]
"""From a model, examples, where to begin, a known normal and bytes of memory to a normal at a mode,
and its cost."""


def _climber(vae: VAE, x: Examples) -> Climb:
    """Return what climbs to a mode and fits a normal there: without gradients where the likelihood
    says how log p(x|z) bends.
    """
    if is_known(vae, x):
        return _by_gauss_newton
    return _by_newton


def _by_gauss_newton(
    vae: VAE, x: Examples, start: Tensor, known: Normal, memory: int
) -> tuple[Normal, Cost]:
    ones, apart = torch.ones_like(start), Distinct().apart(vae.latent_dim)
    loc, lower, _, cost = GaussNewton().climb(vae, x, start, ones, None, known, apart, memory)
    return Normal(loc, lower), cost


def _by_newton(
    vae: VAE, x: Examples, start: Tensor, known: Normal, memory: int, narrow: float = 0.1
) -> tuple[Normal, Cost]:
    size = rows_at_once(vae, x, 2 * vae.latent_dim + 1, memory, gradients=True)
    pairs = zip(x.split(size), start.split(size), strict=True)
    found = [Newton().climb(vae, part, at, torch.full_like(at, narrow)) for part, at in pairs]
    loc, lower, cost = zip(*found, strict=True)
    return Normal(torch.cat(loc), torch.cat(lower)), sum(cost, Cost())
