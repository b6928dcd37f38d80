r"""What inference loses: log p(x) - ELBO, split in two (Cremer et al., 2018).

.. math::
    \log p(x) - ELBO(q) = \underbrace{\log p(x) - ELBO(q^*)}_{\text{approximation}}
        + \underbrace{ELBO(q^*) - ELBO(q)}_{\text{amortisation}}

:math:`q^*` is the best normal for each row by itself, a diagonal one unless q has correlations. The
first part is the price of the family, which a better encoder cannot lower; the second is the price
of reading q off one network for all rows.
"""

from __future__ import annotations

__all__ = ["InferenceGap", "best_normal", "inference_gap"]

import dataclasses
import enum
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.units import Units
from ..evaluate import (
    MEMORY,
    Examples,
    LogLikelihood,
    Normal,
    elbo_and_rate,
    from_encoder,
    judged,
    log_likelihood,
    normals,
    refined,
    rows_at_once,
    without_sampling,
)
from ..training.optimisers import AdamW
from ..vae import VAE
from ..watching import pieces
from .standard_error import Estimate, log_density, mean


class _Seed(enum.IntEnum):
    """Offsets of the seed: noise that q* was found with must not judge it."""

    CLIMB = 1_000_003
    CHOICE = 2_000_003
    JUDGE = 3_000_017


@dataclass(frozen=True)
class InferenceGap:
    """The inference gap and its parts, in nats per row.

    Attributes:
        log_p: Mean log p(x), in the units of the data.
        elbo: Mean ELBO of the encoder's q.
        best: Mean ELBO of each row's own q*.
        total, approximation, amortisation: The gaps; paired differences, so their errors are
            smaller than those above.
        rate: Mean KL(q* || p(z)): what there is to say about z.
        found: log p(x) of each row, in model units, and how it was found; by "importance" it is a
            lower bound, and so is the approximation gap.
        q: q* of each row, in the order of the rows.
    """

    log_p: Estimate
    elbo: Estimate
    best: Estimate
    total: Estimate
    approximation: Estimate
    amortisation: Estimate
    rate: Estimate
    found: LogLikelihood = field(repr=False, compare=False)
    q: Normal = field(repr=False, compare=False)

    @property
    def family(self) -> str:
        """What q* is the best of."""
        if self.q.full:
            return "normal"
        return "diagonal normal"


def inference_gap(
    vae: VAE,
    x: Tensor,
    units: Units | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    draws: int = 64,
    importance: int = 300,
    c: Tensor | None = None,
    steps: int = 100,
) -> InferenceGap:
    """Measure the gap between log p(x) and the ELBO, and its parts.

    log p(x) is exact, by quadrature, or by importance sampling from a normal fitted to each row's
    posterior. q* is found by `best_normal` and judged, like q, with fresh noise.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units. A hundred rows take seconds.
        units: Units of the data; None are the model's own.
        seed: The seed of all draws.
        memory: Bytes for intermediate results.
        draws: Draws of z behind each ELBO.
        importance: Importance samples behind each log p(x), where it has to be sampled.
        c: Conditions (n, k), for a model of p(x|c).
        steps: Steps of Adam that look for q*.

    Raises:
        ValueError: The rows do not fit the model.
    """
    shift = log_density(units)
    with judged(vae, x, c) as (model, rows):
        found = _log_p(model, rows, importance, seed, memory)
        elbo, _ = elbo_and_rate(model, rows, draws, seed + _Seed.JUDGE, memory)
        if found.method == "exact" and _is_exact(elbo.cpu(), found.value):
            q = from_encoder(model, rows, memory)[0]
        else:
            q = best_normal(model, rows.x, seed, memory, rows.c, steps)
        best, rate = elbo_and_rate(model, rows, draws, seed + _Seed.JUDGE, memory, q)
    elbo, best, rate = elbo.cpu(), best.cpu(), rate.cpu()
    # a lower bound like ELBO(q*), and from a bad start the lower of the two
    if found.method == "importance":
        found = dataclasses.replace(found, value=torch.maximum(found.value, best))
    log_p = found.value
    return InferenceGap(
        log_p=mean(log_p, shift),
        elbo=mean(elbo, shift),
        best=mean(best, shift),
        total=mean(log_p - elbo),
        approximation=mean(log_p - best),
        amortisation=mean(best - elbo),
        rate=mean(rate),
        found=found,
        q=q,
    )


def _is_exact(elbo: Tensor, log_p: Tensor, nothing: float = 1e-5) -> bool:
    """Return whether bounds are log p(x) but for rounding: then no q is better than q(z|x)."""
    return bool(((log_p - elbo).abs() <= nothing * (1 + log_p.abs())).all())


def _log_p(vae: VAE, x: Examples, samples: int, seed: int, memory: int) -> LogLikelihood:
    """Return log p(x) of each row by the best method that takes seconds."""
    found = without_sampling(vae, x, memory)
    if found is None or bool(found.unreliable.any()):
        return log_likelihood(
            vae, x.x, "importance", samples, seed, memory, x.c, proposal="refined"
        )
    return found


def best_normal(
    vae: VAE,
    x: Tensor,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
    steps: int = 100,
) -> Normal:
    """Find the normal of highest ELBO for each row, a diagonal one unless q(z|x) has correlations.

    It starts at the better of two, the encoder's and Laplace's (a mode of p(z|x) and the curvature
    there), and climbs by Adam with the path-wise gradient of both q's samples, each with its mirror
    image. The row keeps what is best.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape).
        seed: The seed of the noise.
        memory: Bytes for intermediate results.
        c: Conditions (n, k), for a model of p(x|c).
        steps: Steps of Adam.
    """
    ascent = _Ascent(seed, memory, steps)
    with judged(vae, x, c) as (model, rows):
        together = rows_at_once(model, rows, 2 * ascent.samples, memory, gradients=True)
        parts = pieces(rows.split(together), "looking for the best q(z|x)")
        found = [ascent.best(model, part) for part in parts]
        return Normal(torch.cat([q.loc for q in found]), torch.cat([q.scale for q in found]))


@dataclass(frozen=True)
class _Ascent:
    """How each row's q* is looked for.

    Attributes:
        seed: The seed of the noise.
        memory: Bytes for intermediate results.
        steps: Steps of Adam for each row's q*.
        step_size: The first step, in standard deviations of where it starts; a cosine takes it to
            zero.
        samples: Draws of z behind each step.
        draws: Draws of z behind each ELBO by which candidates are chosen.
    """

    seed: int
    memory: int
    steps: int = 100
    step_size: float = 0.1
    samples: int = 8
    draws: int = 64

    def best(self, vae: VAE, x: Examples) -> Normal:
        """Return the best normal of each row."""
        encoder, laplace = from_encoder(vae, x)[0], refined(vae, x)[0]
        if not encoder.full:
            laplace = laplace.mean_field
        candidates = [encoder, laplace]
        start = self.better(vae, x, candidates)
        return self.better(vae, x, [*candidates, self.climb(vae, x, start)])

    def better(self, vae: VAE, x: Examples, candidates: list[Normal]) -> Normal:
        """Return, row by row, the candidate of highest ELBO under common noise."""
        seed = self.seed + _Seed.CHOICE
        bounds = [elbo_and_rate(vae, x, self.draws, seed, self.memory, q)[0] for q in candidates]
        chosen = torch.stack(bounds).nan_to_num(-math.inf).argmax(0)
        row = torch.arange(len(x), device=x.device)
        loc = torch.stack([q.loc for q in candidates])[chosen, row]
        scale = torch.stack([q.scale for q in candidates])[chosen, row]
        return Normal(loc, scale)

    def climb(self, vae: VAE, x: Examples, start: Normal) -> Normal:
        """Raise the ELBO of each row by Adam,
        in coordinates where the start is a standard normal.
        """
        keys = x.keys()
        move, stretch = (torch.zeros_like(start.loc, requires_grad=True) for _ in range(2))
        optimiser = AdamW([move, stretch], betas=(0.9, 0.99))
        for step in pieces(range(self.steps), "looking for the best q(z|x)"):
            rate = self.step_size * 0.5 * (1 + math.cos(math.pi * step / self.steps))
            seed = self.seed + _Seed.CLIMB
            half = normals(keys, self.samples // 2, vae.latent_dim, seed, step, x.x)
            with torch.enable_grad():
                q = _moved(start, move, stretch)
                z = q.from_noise(torch.cat([half, -half]))
                # Only the path counts: the score has mean zero; without it an exact q has no noise
                # (Roeder et al., 2017).
                held = Normal(q.loc.detach(), q.scale.detach())
                bound = x.terms(vae, z, held).log_weight.mean(0)
                move.grad, stretch.grad = torch.autograd.grad(-bound.sum(), (move, stretch))
            for gradient in (move.grad, stretch.grad):
                gradient.nan_to_num_(0.0, 0.0, 0.0)
            optimiser.step(rate, None, True)
        return _moved(start, move.detach(), stretch.detach())


def _moved(start: Normal, move: Tensor, stretch: Tensor) -> Normal:
    """Return N(move, e^(2 stretch)) in the noise of the start; both are (n, latent_dim)."""
    if start.full:
        shift = torch.matmul(start.scale, move[..., None])[..., 0]
        return Normal(start.loc + shift, start.scale * stretch.exp()[:, None])
    return Normal(start.loc + start.scale * move, start.scale * stretch.exp())
