r"""Importance sampling, streamed:
nothing of size (n, K) is ever held but the largest few weights of each row.

.. math::
    \log p(x) \approx \log \frac1K \sum_{k=1}^K w_k, \qquad
    w_k = \frac{p(x \mid z_k) \, p(z_k)}{r(z_k \mid x)}, \quad z_k \sim r(z \mid x)

In expectation the right-hand side never exceeds log p(x) and rises with K (Burda et al., 2016). The
proposal r is the encoder's q(z|x), or a normal fitted to the posterior of each row
(`laplace`, `gauss_newton`).
"""

from __future__ import annotations

__all__ = [
    "elbo_and_rate",
    "from_encoder_itself",
    "importance",
    "pareto_shape",
    "placed",
    "sampled_terms",
]

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..vae import VAE, Terms
from ..watching import pieces
from . import row_noise
from .examples import Examples
from .judging import rows_at_once, rows_fitted
from .proposal import Normal, Proposal, Source, encoder_source
from .result import Cost, LogLikelihood, rounded

Place = Callable[[Examples, Tensor], Source]
"""From some of the examples, and their numbers, to what their samples come from."""

Sampled = Callable[[VAE, Examples, int], tuple[Place, Cost]]
"""From a model, examples and bytes of memory to what samples of them, or of some of them, come
from, and what it took."""


def from_encoder_itself(vae: VAE, x: Examples, memory: int) -> tuple[Place, Cost]:
    """Return the encoder's q(z|x), whatever distribution it is."""
    return lambda part, _: encoder_source(vae, part), Cost()


def placed(proposal: Proposal) -> Sampled:
    """Return what draws from a proposal's normals."""

    def sampled(vae: VAE, x: Examples, memory: int) -> tuple[Place, Cost]:
        normal, cost = proposal(vae, x, memory)
        return lambda _, rows: normal[rows], cost

    return sampled


def importance(
    vae: VAE, x: Examples, samples: int, seed: int, memory: int, proposal: Sampled
) -> LogLikelihood:
    """Estimate log p(x) of each row by ``samples`` draws from its proposal."""
    begun = time.perf_counter()
    columns = []
    spent = Cost()
    at_once = rows_at_once(vae, x, min(samples, row_noise.BLOCK), memory)
    for many in pieces(x.split(max(at_once, rows_fitted(vae, memory))), "importance sampling"):
        place, cost = proposal(vae, many, memory)
        spent += cost
        for rows in pieces(torch.arange(len(many), device=x.device).split(at_once), "draws"):
            part = many[rows]
            weights = Weights(len(part), samples, part.device)
            for terms in sampled_terms(vae, part, place(part, rows), samples, seed, at_once):
                weights.add(terms.log_weight.double())
            columns.append(weights.result())
    value, error, ess, khat = (torch.cat(column).cpu() for column in zip(*columns, strict=True))
    error = rounded(error, value, x.dtype)
    spent += Cost(decodes=len(x) * samples)
    cost = Cost(spent.decodes, spent.gradients, time.perf_counter() - begun)
    count = torch.full((len(x),), samples)
    return LogLikelihood(value, error, ess, khat, "importance", count, cost=cost)


def elbo_and_rate(
    vae: VAE, x: Examples, samples: int, seed: int, memory: int, normal: Normal | None = None
) -> tuple[Tensor, Tensor]:
    """Average over ``samples`` draws z of each row, from its normal q or,
    where that is None, from the encoder's.

    Returns:
        The ELBO, mean of log p(x, z) - log q(z), and the rate, mean of log q(z) - log p(z): (n,),
        float64.
    """
    bounds, rates = [], []
    at_once = rows_at_once(vae, x, min(samples, row_noise.BLOCK), memory)
    parts = torch.arange(len(x), device=x.device).split(at_once)
    for rows in pieces(parts, "ELBO"):
        part = x[rows]
        q: Source
        if normal is None:
            q = encoder_source(vae, part)
        else:
            q = normal[rows]
        bound, rate = torch.zeros(2, len(rows), dtype=torch.float64, device=x.device)
        for terms in sampled_terms(vae, part, q, samples, seed, at_once):
            bound += terms.log_weight.double().sum(0)
            rate += (terms.log_post - terms.log_prior).double().sum(0)
        bounds.append(bound / samples)
        rates.append(rate / samples)
    return torch.cat(bounds), torch.cat(rates)


def sampled_terms(
    vae: VAE,
    x: Examples,
    source: Source,
    samples: int,
    seed: int,
    at_once: int,
    decoded: int = 1024,
) -> Iterator[Terms]:
    """Yield the log-densities at ``samples`` draws z of each row, block by block.

    Arguments:
        vae: The model.
        x: Rows (n, *shape), as many as fit in memory together.
        source: Where z is drawn from.
        samples: Draws for each row.
        seed: The seed of the noise.
        at_once: Rows of which a block fits into memory: of fewer several blocks are decoded
            together, as a call takes as long as to decode a hundred draws.
        decoded: Rows that a CPU decodes at once: layers of 128 units then stay in its cache. All at
            once took a fifth longer.
    """
    keys = x.keys()
    blocks = range(math.ceil(samples / row_noise.BLOCK))
    together = max(1, min(at_once, decoded // row_noise.BLOCK) // len(x))
    for first in blocks[::together]:
        drawn = [
            source.draws(
                keys, min(row_noise.BLOCK, samples - number * row_noise.BLOCK), seed, number, x.x
            )
            for number in blocks[first : first + together]
        ]
        z = drawn[0]
        if len(drawn) > 1:
            z = torch.cat(drawn)
        few = len(z)
        if x.device.type == "cpu":
            few = max(1, decoded // len(x))
        parts = [x.terms(vae, part, source) for part in z.split(few)]
        terms = parts[0]
        if len(parts) > 1:
            terms = replace(terms, log_lik=torch.cat([p.log_lik for p in parts]), z=z)
        yield terms


class Weights:
    """Running sums of weights per row, relative to the largest weight so far,
    and the largest few weights.
    """

    def __init__(self, rows: int, samples: int, device: torch.device) -> None:
        self.samples = samples
        self.tail = min(math.ceil(0.2 * samples), math.ceil(3 * math.sqrt(samples))) + 1
        self.top = torch.full((0, rows), -math.inf, dtype=torch.float64, device=device)
        self.peak = torch.full((rows,), -math.inf, dtype=torch.float64, device=device)
        self.sum = torch.zeros(rows, dtype=torch.float64, device=device)
        self.square = torch.zeros(rows, dtype=torch.float64, device=device)

    def add(self, log_weight: Tensor) -> None:
        """Take log-weights of shape (samples, rows); one that is no number, of a draw so far out
        that both densities are 0, counts for nothing.
        """
        log_weight = log_weight.nan_to_num(-math.inf, math.inf, -math.inf)
        peak = torch.maximum(self.peak, log_weight.amax(0))
        safe = torch.where(peak.isfinite(), peak, 0.0)
        shrink = (self.peak - safe).exp()
        weight = (log_weight - safe).exp()
        self.sum = self.sum * shrink + weight.sum(0)
        self.square = self.square * shrink.square() + weight.square().sum(0)
        self.peak = peak
        joined = torch.cat([self.top, log_weight])
        self.top = joined.topk(min(self.tail, len(joined)), dim=0).values

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the value, its standard error,
        the effective sample size and the Pareto shape of each row.
        """
        k = self.samples
        value = self.peak + (self.sum / k).log()
        ess = (self.sum.square() / self.square).nan_to_num(0.0)
        variance = (1 / ess - 1 / k).clamp_min(0) * k / max(k - 1, 1)
        error = variance.sqrt()
        if k == 1:
            error = torch.full_like(value, math.inf)
        return value, error, ess, pareto_shape(self.top, k)


def pareto_shape(top: Tensor, samples: int, agreed: float = 0.01) -> Tensor:
    """Fit a generalised Pareto distribution to the largest weights
    of each row (Zhang & Stephens, 2009).

    Arguments:
        top: The largest log-weights in decreasing order, (m + 1, n); the last is the threshold.
        samples: How many weights there were in all.
        agreed: Share to which the largest weights of a row without a tail agree: what differs may
            be rounding alone.

    Returns:
        The shape k of each row, with the weak prior towards 0.5 of Vehtari et al. (2024), of shape
        (n,).
    """
    m = len(top) - 1
    if samples < 25 or m < 5:
        return torch.full_like(top[0], math.nan)
    excess = (top[:-1] - top[0]).exp() - (top[-1:] - top[0]).exp()
    excess = excess.flip(0)  # increasing
    count = 30 + int(math.sqrt(m))
    quartile = excess[int(m / 4 + 0.5) - 1].clamp_min(1e-300)
    steps = torch.arange(1, count + 1, dtype=top.dtype, device=top.device)[:, None]
    theta = 1 / excess[-1].clamp_min(1e-300) + (1 - (count / (steps - 0.5)).sqrt()) / (3 * quartile)
    shape = torch.stack([torch.log1p(-t * excess).mean(0) for t in theta])
    profile = m * ((-theta / shape).log() - shape - 1)
    weight = profile.nan_to_num(-math.inf).softmax(0)
    mean = (theta * weight).sum(0)
    k = torch.log1p(-mean * excess).mean(0)
    k = (k * m + 5) / (m + 10)
    found = torch.where(excess[-1] > agreed, k, -math.inf)
    return torch.where(top[0].isfinite(), found, math.inf)
