r"""What the other values of a row say of each of its values: log p(x_j|x_-j) and E[x_j|x_-j].

.. math:: p(x_j \mid x_{-j}) = \sum_k \tilde w_{jk} \, p(x_j \mid z_k), \qquad
    \tilde w_{jk} \propto \frac{p(x_{-j} \mid z_k) \, p(z_k)}{r(z_k)}, \quad
    r = \frac1{D + 1} \sum_{i=0}^D r_i

Normals are fitted to p(z|x), :math:`r_0`, and to each p(z|x_-i), :math:`r_i`. They lie close to
each other, so draws from all of them serve every column, as draws from their mixture (Veach &
Guibas, 1995), and are decoded once. Those from p(z|x) are what an improbable value is explained by.
"""

from __future__ import annotations

__all__ = ["given_others"]

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import Factorised, given_observed, of_observed
from ..vae import VAE
from ..watching import pieces
from . import row_noise
from .exact import solved
from .examples import Examples
from .gauss_newton import Blend, fitted
from .judging import MEMORY, judged, rows_at_once
from .posterior import levels_of, weighted
from .proposal import Normal


def given_others(
    vae: VAE,
    x: Tensor,
    samples: int = 1000,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
    least: int = 16,
) -> tuple[Tensor, Tensor]:
    """Return what is known of each value of rows by the others of its row.

    Arguments:
        vae: The model; it takes missing values.
        x: Rows (n, D) of a table, in which a missing value is NaN.
        samples: Draws of z for each row.
        seed: Their seed.
        memory: Bytes for intermediate results.
        c: Conditions (n, k), for a model of p(x|c).
        least: Draws from each normal, at least.

    Returns:
        log p(x_j|x_-j), 0 where x_j is missing; and E[x_j|x_-j], of categories the most probable
        level: both (n, D), float64, in the units of the model.
    """
    if c is None and solved(vae) is not None:
        return _exactly(vae, x, memory)
    each = max(least, math.ceil(samples / (x.shape[1] + 1)))
    found = []
    with judged(vae, x.to(vae.dtype), c) as (model, rows):
        few = max(1, rows_at_once(model, rows, each * (x.shape[1] + 1), memory) // 2)
        for part in pieces(rows.split(few), "columns given the others"):
            found.append(_of_rows(model, part, each, seed, memory))
    log_p, expected = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return log_p.masked_fill(x.isnan(), 0.0), expected


def _exactly(vae: VAE, x: Tensor, memory: int) -> tuple[Tensor, Tensor]:
    """Return both for a model of which x is a mixture of normals."""
    x = x.to(vae.device)
    log_p = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    expected = x.double().clone()
    for column in range(x.shape[1]):
        for found in weighted(vae, _without(x, column), memory=memory):
            rows = slice(found.start, found.end)
            value = x[rows].double().nan_to_num(0.0)
            there = ~x[rows, column].isnan()
            log_p[rows, column] = _each(found.p, value)[0, :, column] * there
            expected[rows, column] = found.p.mean[0, :, column]
    return log_p.cpu(), expected.cpu()


def _of_rows(vae: VAE, x: Examples, each: int, seed: int, memory: int) -> tuple[Tensor, Tensor]:
    """Return both of a few rows, by ``each`` draws from every normal."""
    normals = _normals(vae, x, memory)
    keys = x.keys()
    drawn = []
    for number, normal in enumerate(normals):
        noise = row_noise.normals(keys, each, vae.latent_dim, seed, number, x.x)
        drawn.append(normal.from_noise(noise))
    z = torch.cat(drawn)
    density = torch.stack([normal.log_prob(z) for normal in normals]).logsumexp(0)
    decoded = of_observed(x.decode(vae, z))
    rest = (x.prior(vae)().log_prob(z) - density).double()
    if isinstance(decoded, Factorised):
        of_each = decoded.each_observed(x.x).double()
        others = rest[..., None] + of_each.sum(-1, keepdim=True) - of_each
        mean = decoded.mean
    else:
        others, of_each, mean = _correlated(decoded, x.x, rest)
    log_weight = others.log_softmax(0)
    log_p = (log_weight + of_each).logsumexp(0)
    weight = log_weight.exp()
    expected = (weight * mean.double()).sum(0)
    for column, how in enumerate(vae.likelihood.readings()):
        levels = None
        if how["as"] == "levels":
            levels = levels_of(decoded, column)
        if levels is not None:
            share = (weight[..., column, None] * levels).sum(0)
            expected[:, column] = share.argmax(-1).to(expected)
    return log_p, expected


def _normals(vae: VAE, x: Examples, memory: int) -> list[Normal]:
    """Return normals fitted to p(z|x) of each row, and to p(z|x_-j) for every column."""
    n, columns = x.x.shape
    rows = torch.cat([x.x, *(_without(x.x, column) for column in range(columns))])
    given = None
    if x.c is not None:
        given = x.c.repeat(columns + 1, 1)
    normal, _ = fitted(vae, Examples(rows, given), memory, starts=1)
    normal = Blend().wider(normal)
    return [normal[start : start + n] for start in range(0, len(rows), n)]


def _correlated(p: Distribution, x: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p(x_-j, z) less the density of z, log p(x_j|x_-j, z), and E[x_j|x_-j, z], all
    (samples, n, D), of values that are correlated given z.
    """
    others, of_each, means = [], [], []
    for column in range(x.shape[1]):
        without = _without(x, column)
        others.append(rest + p.log_prob(without).double())
        q = given_observed(p, without)
        of_each.append(_each(q, x.nan_to_num(0.0))[..., column].double())
        means.append(q.mean[..., column])
    return torch.stack(others, -1), torch.stack(of_each, -1), torch.stack(means, -1)


def _each(p: Distribution, x: Tensor) -> Tensor:
    """Return the log-density of each value that p does not know."""
    found: Tensor = p.each(x)  # type: ignore[attr-defined]
    return found


def _without(x: Tensor, column: int) -> Tensor:
    """Return rows in which a column is missing."""
    x = x.clone()
    x[:, column] = math.nan
    return x
