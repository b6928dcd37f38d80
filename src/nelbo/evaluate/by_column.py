r"""What each column of a row adds to its log p(x).

.. math:: \log p(x) = \sum_j E_{p(z \mid x)}[\log p(x_j \mid z)]
    - \mathrm{KL}(p(z \mid x) \,\|\, p(z))

The expectation is over importance samples of z with normalised weights :math:`W_k`, and what is
left of the estimate of log p(x) is put down to z, so that the terms sum to it exactly:

.. math:: \log \frac1K \sum_k w_k
    = \sum_j \sum_k W_k \log p(x_j \mid z_k) - \sum_k W_k \log \frac{K W_k r(z_k \mid x)}{p(z_k)}
"""

from __future__ import annotations

__all__ = ["of_each_column"]

import torch
from torch import Tensor

from ..distributions import Factorised, of_observed
from ..vae import VAE
from ..watching import pieces
from . import row_noise
from .examples import Examples
from .gauss_newton import mixture
from .importance import sampled_terms
from .judging import MEMORY, judged, rows_at_once


def of_each_column(
    vae: VAE,
    x: Tensor,
    samples: int = 100,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what each value of rows x (n, *vae.shape) adds to log p(x), and what z adds.

    Arguments:
        vae: A model whose p(x|z) has independent coordinates.
        x: Rows, in which values may be missing, where the model takes such.
        samples: Importance samples of each row: the same as those of `log_likelihood` with
            ``proposal="mixture"``.
        seed: Their seed.
        memory: Bytes for intermediate results.
        c: Conditions (n, k), for a model of p(x|c).

    Returns:
        (n, D), 0 where a value is missing, and (n,), in float64 and nats in the units of x: they
        sum to the estimate of log p(x), a lower bound in expectation.

    Raises:
        TypeError: Coordinates are not independent given z.
    """
    found = []
    with judged(vae, x, c) as (model, rows):
        size = rows_at_once(model, rows, min(samples, row_noise.BLOCK), memory)
        for part in pieces(rows.split(size), "terms of columns"):
            found.append(_of_rows(model, part, samples, seed, memory))
    columns, of_z = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return columns, of_z


def _of_rows(vae: VAE, x: Examples, samples: int, seed: int, memory: int) -> tuple[Tensor, Tensor]:
    """Return both of a few rows, in one pass over blocks of samples.

    Sums are kept relative to the largest weight so far, as `importance` does.
    """
    source, _ = mixture(samples, vae, x, memory)
    peak = x.x.new_full((len(x),), -torch.inf, dtype=torch.float64)
    weight = torch.zeros_like(peak)
    total = torch.zeros(len(x), x.x[0].numel(), dtype=torch.float64, device=x.device)
    for terms in sampled_terms(vae, x, source, samples, seed, len(x)):
        log_weight = terms.log_weight.double()
        highest = torch.maximum(peak, log_weight.amax(0))
        shrink = (peak - highest).exp()
        share = (log_weight - highest).exp()
        each = _each(vae, x, terms.z)
        total = total * shrink[:, None] + torch.einsum("kn,knd->nd", share, each)
        weight, peak = weight * shrink + share.sum(0), highest
    columns = total / weight[:, None]
    log_p = peak + (weight / samples).log()
    return columns, log_p - columns.sum(1)


def _each(vae: VAE, x: Examples, z: Tensor) -> Tensor:
    """Return log p(x_j|z) of each coordinate, (samples, n, D), 0 where it is missing."""
    p = of_observed(x.decode(vae, z))
    if not isinstance(p, Factorised):
        raise TypeError(
            f"p(x|z) is of type {type(p).__name__}, whose coordinates are not independent given z, "
            "so that log p(x) is no sum over columns. Fit with another likelihood or scale."
        )
    return p.each_observed(x.x).flatten(2).double()
