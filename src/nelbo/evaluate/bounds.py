r"""The ELBO under the encoder's q(z|x), and under one refined for each row.

.. math:: ELBO(q) = E_q[\log p(x, z) - \log q(z)] = \log p(x) - KL(q(z) \| p(z \mid x))

for any q: what an encoder loses is its own q's divergence. A normal fitted to the row's posterior
loses less (`gauss_newton`); it is exact where the posterior is normal, as for a linear model.
"""

from __future__ import annotations

__all__ = ["RefinedBound", "check_seed", "elbo"]

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.rows import Rows
from ..vae import VAE
from .examples import Examples
from .gauss_newton import GaussNewton, fitted
from .importance import elbo_and_rate, sampled_terms
from .judging import MEMORY, judged, read, rows_at_once
from .proposal import Normal, Source, encoder_source


@dataclass(frozen=True)
class RefinedBound:
    """The ELBO of each row under the better of two q: the encoder's, and a normal fitted to p(z|x).

    Attributes:
        samples: Draws of z for each row.
        seed: The seed of the draws.
        memory: Bytes for intermediate results.
        choosing: Draws for each row that choose q.
        apart: Added to the seed for those: they must not judge it, or the bound would be too high.
        sure: Standard errors by which the encoder's q must be better to be taken.
        steps: How the normal is fitted. Its mean may be off by 1e-4 nats, so that the bound is
            exact where the posterior is normal.
    """

    samples: int = 16
    seed: int = 0
    memory: int = MEMORY
    choosing: int = 16
    apart: int = 4_000_037
    sure: float = 2.0
    steps: GaussNewton = field(default_factory=lambda: GaussNewton(settled=1e-4))

    def __call__(self, vae: VAE, x: Examples) -> Tensor:
        """Return the bound of each row, of shape (n,), in nats and float64."""
        normal, _ = fitted(vae, x, self.memory, steps=self.steps)
        own = self.is_better(vae, x, normal)
        bound = torch.empty(len(x), dtype=torch.float64, device=x.device)
        for rows, q in ((own, None), (~own, normal[~own])):
            if bool(rows.any()):
                found = elbo_and_rate(vae, x[rows], self.samples, self.seed, self.memory, q)
                bound[rows] = found[0]
        return bound

    def is_better(self, vae: VAE, x: Examples, normal: Normal) -> Tensor:
        """Return for which rows the encoder's q is better than the normal, of shape (n,)."""
        found = []
        number = torch.arange(len(x), device=x.device)
        for rows in number.split(rows_at_once(vae, x, self.choosing, self.memory)):
            part = x[rows]
            own = self.log_weight(vae, part, encoder_source(vae, part))
            gain = own - self.log_weight(vae, part, normal[rows])
            error = gain.std(0) / math.sqrt(len(gain))
            found.append(gain.mean(0) > self.sure * error)
        return torch.cat(found)

    def log_weight(self, vae: VAE, x: Examples, q: Source) -> Tensor:
        """Return log p(x, z) - log q(z) at the draws that choose, of shape (choosing, n)."""
        blocks = sampled_terms(vae, x, q, self.choosing, self.seed + self.apart, len(x))
        return torch.cat([terms.log_weight.double() for terms in blocks])


def elbo(
    vae: VAE,
    x: Tensor | Rows,
    samples: int = 16,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
    *,
    refined: bool = False,
) -> Tensor:
    """Return the ELBO of each row of x (n, *vae.shape), of shape (n,), in nats and float64.

    An average of log p(x, z) - log q(z) over ``samples`` draws of z. With the exact posterior
    every draw is log p(x) itself, which a closed-form KL beside sampled reconstructions would only
    match on average.

    Arguments:
        vae: The model. It is evaluated in the precision of x.
        x: Rows, a tensor or `nelbo.data.Rows`, which bring their conditions along.
        samples: Draws of z for each row.
        seed: The seed of the draws, from 0 to 2**62 - 1.
        memory: Bytes for intermediate results.
        c: Conditions (n, k), for a model of p(x|c).
        refined: Whether z is drawn from a normal fitted to each row's posterior, from the encoder's
            mean on, where that is better than q(z|x) itself: a tighter bound, which says little of
            the encoder (Kim et al., 2018).

    Raises:
        ValueError: ``samples`` is below 1, the seed is out of range, or the rows do not fit.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    check_seed(seed)
    x, c = read(x, c)
    with judged(vae, x, c) as (model, rows):
        if refined:
            return RefinedBound(samples, seed, memory)(model, rows).cpu()
        return elbo_and_rate(model, rows, samples, seed, memory)[0].cpu()


def check_seed(seed: int) -> None:
    """Refuse a seed that is out of range."""
    if not 0 <= seed < 2**62:
        raise ValueError(f"seed must be at least 0 and below 2**62, got {seed}.")
