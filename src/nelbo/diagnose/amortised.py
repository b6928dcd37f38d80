r"""What an encoder loses of what z could tell: the share of variance that reconstructions account
for at the encoder's means, beside that at the means of each row's best q*.

.. math:: \text{lost} = 1 - R^2(\mu(x)) / R^2(\mu^*)

A gap of inference in nats says what the ELBO loses, and is large wherever :math:`\beta^2` is small:
nats count squared errors in units of it. Scores that fit q to each row do not lose them. Who reads
z or reconstructions loses what is measured here.
"""

from __future__ import annotations

__all__ = ["Amortised", "amortised"]

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.units import Units
from ..evaluate import MEMORY, Examples, Normal, judged, rows_at_once
from ..vae import VAE
from .explained import compared, ratio
from .standard_error import Estimate


@dataclass(frozen=True)
class Amortised:
    """What the encoder's z explain, beside the best z of each row.

    Attributes:
        encoder: R² of reconstructions at the encoder's means; where no column is of numbers, R² of
            these means as guesses of the best z.
        best: R² of reconstructions at the means of each row's q*; 1 where no column is of numbers.
        lost: The share of the latter that the encoder loses.
        of_z: Whether the numbers are about z itself, and not about reconstructions.
    """

    encoder: Estimate
    best: Estimate
    lost: Estimate
    of_z: bool = False


def amortised(
    vae: VAE,
    x: Tensor,
    q: Normal,
    train: Tensor | None = None,
    units: Units | None = None,
    memory: int = MEMORY,
    c: Tensor | None = None,
    train_c: Tensor | None = None,
) -> Amortised:
    """Measure what the encoder loses of what the best z of each row explain.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units.
        q: Each row's own q*, as `best_normal` finds it.
        train: Rows it was fitted to, whose mean and spread the rows are measured from; None takes
            x.
        units: Units of the data. Columns of a table are standardised; None, and images, keep the
            model's scale.
        memory: Bytes for intermediate results.
        c, train_c: Conditions of the rows, (n, k) and (m, k), for a model of p(x|c).

    Raises:
        ValueError: The rows do not fit the model.
    """
    means, decoded = _at_both(vae, x, q, c, memory)
    known = Examples(x, c)
    if train is not None:
        known = Examples(train, train_c)
    pairs = [compared(x, x_hat, known, units, c)[:2] for x_hat in decoded]
    there = ~pairs[0][0].isnan()
    if not there.any():
        own, best = (z.cpu().double() for z in (means, q.loc))
        spread, off = (best - best.mean(0)).square().sum(1), (own - best).square().sum(1)
        whole = Estimate(1.0, 0.0, len(x))
        return Amortised(ratio(spread - off, spread), whole, ratio(off, spread), of_z=True)
    rows = pairs[0][0].nan_to_num(0.0)
    total = rows.square().sum(1)
    at_encoder, at_best = (
        (rows - torch.where(there, x_hat, 0.0)).square().sum(1) for _, x_hat in pairs
    )
    return Amortised(
        ratio(total - at_encoder, total),
        ratio(total - at_best, total),
        ratio(at_encoder - at_best, total - at_best),
    )


def _at_both(
    vae: VAE, x: Tensor, q: Normal, c: Tensor | None, memory: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the encoder's means, and reconstructions at these and at those of q, on the CPU."""
    means, own, best, start = [], [], [], 0
    with judged(vae, x, c) as (model, rows):
        for part in rows.split(rows_at_once(model, rows, 2, memory)):
            z = part.encode(model).mean
            loc = q.loc[start : start + len(part)].to(z)
            start += len(part)
            means.append(z.cpu())
            own.append(part.decode(model, z).mean.cpu())
            best.append(part.decode(model, loc).mean.cpu())
    return torch.cat(means), (torch.cat(own), torch.cat(best))
