r"""What inference loses: log p(x) - ELBO, split in two (Cremer et al., 2018).

.. math::
    \log p(x) - ELBO(q) = \underbrace{\log p(x) - ELBO(q^*)}_{\text{approximation}}
        + \underbrace{ELBO(q^*) - ELBO(q)}_{\text{amortisation}}

:math:`q^*` is the best diagonal normal for each row by itself. The first part is the price of the
family, which a better encoder cannot lower; the second is the price of reading q off one network
for all rows.
"""

from __future__ import annotations

__all__ = ["InferenceGap", "best_normal", "inference_gap"]

import dataclasses
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.units import Units
from ..evaluate import (
    MEMORY,
    LogLikelihood,
    Normal,
    elbo_and_rate,
    from_encoder,
    judged,
    log_likelihood,
    normals,
    refined,
    row_keys,
    rows_at_once,
    without_sampling,
)
from ..vae import VAE
from ..watching import pieces
from .standard_error import Estimate, mean

STEPS = 100
"""Steps of Adam for each row's q*."""
STEP_SIZE = 0.1
"""Its first step, in standard deviations of where it starts; a cosine takes it to zero."""
SAMPLES = 8
"""Draws of z behind each step."""
JUDGED = 64
"""Draws of z behind each ELBO."""
IMPORTANCE = 300
"""Importance samples behind log p(x), where it has to be sampled."""
CLIMB, CHOICE, JUDGE = (1_000_003, 2_000_003, 3_000_017)
"""Offsets of the seed: noise that q* was found with must not judge it."""


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


def inference_gap(
    vae: VAE, x: Tensor, units: Units | None = None, seed: int = 0, memory: int = MEMORY
) -> InferenceGap:
    """Measure the gap between log p(x) and the ELBO, and its parts.

    log p(x) is exact, by quadrature, or by importance sampling from a normal fitted to each row's
    posterior. q* is found by `best_normal` and judged, like q, with fresh noise.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units. A hundred rows take seconds.
        units: Of the data; None are the model's own.
        seed: Of all draws.
        memory: Bytes for intermediate results.

    Raises:
        ValueError: Rows that do not fit, or a q(z|x) that is no diagonal normal.
    """
    shift = 0.0 if units is None else units.log_density
    with judged(vae, x) as (model, rows):
        found, q = _log_p(model, rows, seed, memory), best_normal(model, rows, seed, memory)
        elbo = elbo_and_rate(model, rows, JUDGED, seed + JUDGE, memory)[0].cpu()
        best, rate = (
            column.cpu() for column in elbo_and_rate(model, rows, JUDGED, seed + JUDGE, memory, q)
        )
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


def _log_p(vae: VAE, x: Tensor, seed: int, memory: int) -> LogLikelihood:
    """Return log p(x) of each row by the best method that takes seconds."""
    found = without_sampling(vae, x, memory)
    if found is None or bool(found.unreliable.any()):
        return log_likelihood(vae, x, "importance", IMPORTANCE, seed, memory, proposal="refined")
    return found


def best_normal(vae: VAE, x: Tensor, seed: int = 0, memory: int = MEMORY) -> Normal:
    """Find the diagonal normal of highest ELBO for each row.

    It starts at the better of two, the encoder's and Laplace's (a mode of p(z|x) and the curvature
    there), and climbs by Adam with the path-wise gradient of both q's samples, each with its mirror
    image. The row keeps what is best.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape).
        seed: Of the noise.
        memory: Bytes for intermediate results.
    """
    with judged(vae, x) as (model, rows):
        loc, scale = [], []
        parts = rows.split(rows_at_once(model, rows, 2 * SAMPLES, memory, gradients=True))
        for part in pieces(parts, "looking for the best q(z|x)"):
            encoder, laplace = from_encoder(model, part)[0], refined(model, part)[0].mean_field
            start = _better(model, part, [encoder, laplace], seed + CHOICE, memory)
            best = _better(
                model,
                part,
                [encoder, laplace, _climb(model, part, start, seed)],
                seed + CHOICE,
                memory,
            )
            loc.append(best.loc)
            scale.append(best.scale)
        return Normal(torch.cat(loc), torch.cat(scale))


def _better(vae: VAE, x: Tensor, candidates: list[Normal], seed: int, memory: int) -> Normal:
    """Return, row by row, the candidate of highest ELBO under common noise."""
    bounds = [elbo_and_rate(vae, x, JUDGED, seed, memory, c)[0] for c in candidates]
    heights = torch.stack(bounds).nan_to_num(-math.inf)
    chosen = heights.argmax(0)
    row = torch.arange(len(x), device=x.device)
    loc, scale = (
        torch.stack([getattr(c, name) for c in candidates])[chosen, row]
        for name in ("loc", "scale")
    )
    return Normal(loc, scale)


def _climb(vae: VAE, x: Tensor, start: Normal, seed: int) -> Normal:
    """Raise the ELBO of each row by Adam, in coordinates where the start is a standard normal."""
    keys, d = row_keys(x), vae.latent_dim
    move, stretch = (torch.zeros_like(start.loc, requires_grad=True) for _ in range(2))
    optimiser = torch.optim.Adam([move, stretch], lr=STEP_SIZE, betas=(0.9, 0.99))
    for step in pieces(range(STEPS), "looking for the best q(z|x)"):
        for group in optimiser.param_groups:
            group["lr"] = STEP_SIZE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        half = normals(keys, SAMPLES // 2, d, seed + CLIMB, step, x)
        u = torch.cat([half, -half])
        with torch.enable_grad():
            q = Normal(start.loc + start.scale * move, start.scale * stretch.exp())
            z = q.from_noise(u)
            # Only the path counts: the score has mean zero; without it an exact q has no noise
            # (Roeder et al., 2017).
            held = Normal(q.loc.detach(), q.scale.detach())
            bound = vae.terms_at(x, z, held).log_weight.mean(0)
            move.grad, stretch.grad = torch.autograd.grad(-bound.sum(), (move, stretch))
        for gradient in (move.grad, stretch.grad):
            gradient.nan_to_num_(0.0, 0.0, 0.0)
        optimiser.step()
    return Normal((start.loc + start.scale * move).detach(), (start.scale * stretch.exp()).detach())
