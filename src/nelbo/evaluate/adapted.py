"""Mixtures of normals that are adapted to p(z|x) by draws: mixture population Monte Carlo (Cappé et
al., 2008).

A normal at a mode has the curvature there, and no more: of a posterior that bends it reaches the
middle alone, and weights have a heavy tail. Weighted draws say where the mass is; a few steps of EM
fit normals to them; and so on, a few times. The draws that count are made afterwards, with noise of
their own, so that the mean of their weights is unbiased whatever the mixture.
"""

from __future__ import annotations

__all__ = ["Adapted"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..vae import VAE
from . import row_noise
from .examples import Examples
from .importance import sampled_terms
from .judging import rows_at_once
from .modes import Around, Modes, PlaceAround
from .proposal import Normal
from .result import Cost


@dataclass(frozen=True)
class Adapted:
    """How mixtures are adapted.

    Attributes:
        draws: Draws of each row in a round.
        rounds: How often the mixture is fitted anew.
        components: Normals of the mixture.
        steps: Steps of EM in a round.
        own: One draw in so many is the encoder's.
        known: Share of the others that the normals at known modes keep, whose tails are wide.
        least: Effective draws for each latent dimension that weights must have to be used as they
            are. Else a power of them is, below 1 (Koblents & Míguez, 2015): a mixture that is too
            wide leads on, one of two draws does not.
        widen: How much wider than fitted the normals are.
        of_each: Draws that a round must have for each latent dimension: with fewer the normals at
            modes are better (digits with 16 to 32 latents).
        seed: Added to the seed of the noise for each round.
    """

    draws: int = 400
    rounds: int = 3
    components: int = 1
    steps: int = 4
    own: int = 8
    known: float = 0.2
    least: float = 4.0
    widen: float = 1.1
    of_each: int = 8
    seed: int = 7_000_003

    def among(self, latent_dim: int) -> Adapted | None:
        """Return this where draws are enough for the covariance of so many latents, else None."""
        if self.draws < self.of_each * latent_dim:
            return None
        return self

    def cost(self, rows: int) -> Cost:
        """Return what it takes to adapt the mixtures of so many rows."""
        return Cost(decodes=self.rounds * self.draws * rows)

    def place(
        self, vae: VAE, known: PlaceAround, samples: int, seed: int, memory: int
    ) -> PlaceAround:
        """Return what ``samples`` draws come from in place of normals at known modes."""
        # draws in float64, seen from each component, three times over
        size = 24 * self.draws * self.components * (vae.latent_dim + 1)

        def place(x: Examples, rows: Tensor) -> Around:
            parts = torch.arange(len(x), device=x.device).split(max(1, memory // size))
            at_once = rows_at_once(vae, x, row_noise.BLOCK, memory)
            around = known(x, rows)
            if len(parts) == 1:
                found = self.adapted(vae, x, around, seed, at_once)
            else:
                found = Modes.joined([
                    self.adapted(vae, x[part], known(x[part], rows[part]), seed, at_once)
                    for part in parts
                ])  # fmt: skip
            return Around(around.encoder, found, samples, self.own)

        return place

    def adapted(self, vae: VAE, x: Examples, known: Around, seed: int, at_once: int) -> Modes:
        """Return normals that are adapted to the posterior of each row, beside the known ones;
        ``at_once`` is for how many rows a block of draws fits into memory.
        """
        source, modes = known, known.modes
        for number in range(1, self.rounds + 1):
            own = seed + self.seed * number
            blocks = list(sampled_terms(vae, x, source, self.draws, own, at_once))
            z = torch.cat([terms.z for terms in blocks]).movedim(0, 1).double()
            log_weight = torch.cat([terms.log_weight for terms in blocks]).mT.double()
            normals, log_share = self.fitted(z, self.flattened(log_weight, z.shape[-1]))
            wider = [Normal(n.loc.to(x.x), (self.widen * n.scale).to(x.x)) for n in normals]
            modes = known.modes.beside(Modes(wider, log_share.to(x.x)), self.known)
            source = Around(known.encoder, modes, self.draws, self.own)
        return modes

    def flattened(self, log_weight: Tensor, latent_dim: int) -> Tensor:
        """Return normalised weights (n, draws), to the greatest power up to 1 that leaves enough
        effective draws.
        """
        log_weight = log_weight.nan_to_num(-math.inf, -math.inf, -math.inf)
        log_weight = (log_weight - log_weight.amax(1, keepdim=True)).nan_to_num(0.0).clamp_min(-1e6)
        enough = min(self.least * latent_dim, self.draws / 4)
        low, high = torch.zeros(2, len(log_weight), 1).to(log_weight)
        high += 1
        for _ in range(14):
            power = (low + high) / 2
            effective = (power * log_weight).softmax(1).square().sum(1, keepdim=True).reciprocal()
            low = torch.where(effective >= enough, power, low)
            high = torch.where(effective >= enough, high, power)
        found: Tensor = (low * log_weight).softmax(1)
        return found

    def fitted(self, z: Tensor, weight: Tensor) -> tuple[list[Normal], Tensor]:
        """Fit a mixture to weighted draws (n, draws, latent_dim), by EM.

        It starts at slices with equal weight along the main axis of each row.

        Returns:
            The normals, and the logarithm of their shares, (components, n).
        """
        draws, size = z.shape[1:]
        far = torch.finfo(torch.float32).max ** 0.5  # its square is a number, too
        z = z.nan_to_num(0.0, far, -far).clamp(-far, far)
        effective = weight.square().sum(1).reciprocal()
        whole = covariance(z, weight)
        # few draws leave directions out, which those of the proposals have, and wider
        plain = covariance(z, torch.full_like(weight, 1 / draws))
        known = (effective / (effective + size))[:, None, None]
        whole = known * whole + (1 - known) * plain
        if self.components == 1:
            return self._moments(z, weight, torch.ones_like(weight)[None], whole)
        axis = torch.linalg.eigh(whole)[1][..., -1]
        # of both signs one, whatever rounding does
        largest = axis.gather(1, axis.abs().argmax(1, keepdim=True))
        along = (z * (axis * largest.sign())[:, None]).sum(-1)
        order = along.argsort(1)
        below = torch.zeros_like(weight).scatter(1, order, weight.gather(1, order).cumsum(1))
        slices = (below * self.components).long().clamp_max(self.components - 1)
        share = one_hot(slices, self.components).to(z).movedim(-1, 0)
        normals, log_share = self._moments(z, weight, share, whole)
        for _ in range(self.steps):
            of_each = torch.stack([normal.log_prob(z.movedim(1, 0)).mT for normal in normals])
            share = (of_each + log_share[..., None]).softmax(0)
            normals, log_share = self._moments(z, weight, share, whole)
        return normals, log_share

    def _moments(
        self, z: Tensor, weight: Tensor, share: Tensor, whole: Tensor
    ) -> tuple[list[Normal], Tensor]:
        """Return normals of the draws of each component, of which it has a share (components, n,
        draws), with covariances drawn towards that of the whole, and the logarithm of their shares.
        """
        effective, size = weight.square().sum(1).reciprocal(), z.shape[-1]
        mass = (weight * share).sum(-1).clamp_min(1e-6)
        normals = []
        for part, own in zip(weight * share / mass[..., None], mass, strict=True):
            known = (effective * own / (effective * own + size))[:, None, None]
            spread = known * covariance(z, part) + (1 - known) * whole
            normals.append(Normal(torch.matmul(part[:, None], z)[:, 0], triangle(spread)))
        return normals, (mass / mass.sum(0)).log()


def triangle(covariance: Tensor) -> Tensor:
    """Return the lower triangle L, L L^T = C, of each C (n, d, d); where rounding leaves none, that
    of its diagonal.
    """
    lower, failed = torch.linalg.cholesky_ex(covariance)
    width = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-30).sqrt()
    return torch.where(failed[:, None, None] == 0, lower, torch.diag_embed(width))


def covariance(z: Tensor, weight: Tensor) -> Tensor:
    """Return the covariance (n, d, d) of draws (n, draws, d) whose weights (n, draws) sum to 1."""
    off = z - torch.matmul(weight[:, None], z)
    found: Tensor = torch.matmul((weight[..., None] * off).mT, off)
    return found
