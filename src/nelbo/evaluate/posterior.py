r"""p(z|x) as weighted draws: what the values that are there say of all that is not.

.. math:: E[g(z) \mid x] \approx \sum_k \tilde w_k \, g(z_k), \qquad
    \tilde w_k \propto \frac{p(x \mid z_k) \, p(z_k)}{r(z_k \mid x)}, \quad z_k \sim r(z \mid x)

The draws are those of `importance`, from the encoder's q(z|x) and a normal fitted to each row's
posterior. Where a model is linear, or a mixture of linear ones, no z is drawn: x itself is a
mixture of normals, whose conditionals are exact.
"""

from __future__ import annotations

__all__ = ["Weighted", "levels_of", "weighted"]

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions import GivenNormals, given_observed
from ..linear import LinearGaussian, MixtureOfFactorAnalysers
from ..vae import VAE, Terms
from ..watching import pieces
from .exact import solved
from .examples import Examples
from .gauss_newton import mixture
from .importance import pareto_shape
from .judging import MEMORY, judged, rows_at_once
from .row_noise import BLOCK


@dataclass(frozen=True, eq=False)
class Weighted:
    """What is known of some rows.

    Attributes:
        start, end: Which rows they are.
        weight: The weight of each draw, (samples, n); one draw of weight 1 where nothing is drawn.
        p: The distribution of the rows given each z and what is there, of batch shape (samples, n).
        ess: Effective number of samples of each row, (n,); infinite where nothing is drawn.
        khat: Shape of the Pareto tail of each row's weights, (n,).
    """

    start: int
    end: int
    weight: Tensor
    p: Distribution
    ess: Tensor
    khat: Tensor

    def mean(self, of: Tensor) -> Tensor:
        """Return the weighted mean of numbers (samples, n, ...): (n, ...)."""
        weight = self.weight.reshape(*self.weight.shape, *[1] * (of.ndim - 2))
        return (weight * of.double()).sum(0)

    def resampled(self, draws: int, generator: torch.Generator) -> Tensor:
        """Return the numbers of draws of z that stand for p(z|x) with equal weights, (draws, n):
        sampling importance resampling (Rubin, 1987).
        """
        return torch.multinomial(self.weight.T, draws, replacement=True, generator=generator).T


def levels_of(p: Distribution, column: int) -> Tensor | None:
    """Return the probabilities of the levels of one column, (*batch, levels); None where it has no
    levels.

    Arguments:
        p: The distribution of rows.
        column: Its place among those of the model.
    """
    of_column = getattr(p, "probabilities", None)
    if of_column is None:
        return None
    try:
        each: Tensor | None = of_column(column)
    except TypeError:  # every column has these levels
        each = of_column()[..., column, :]
    return each


def weighted(
    vae: VAE,
    x: Tensor,
    samples: int = 1000,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
) -> Iterator[Weighted]:
    """Yield what is known of rows x (n, *vae.shape), some of them at a time.

    Arguments:
        vae: The model; it takes missing values where x holds such.
        x: Rows, in which a missing value is NaN.
        samples: Draws of z for each row.
        seed: The seed of the draws.
        memory: Bytes for intermediate results.
        c: Conditions (n, k), for a model of p(x|c).
    """
    exact = None
    if c is None and len(vae.shape) == 1:
        exact = solved(vae)
    # weights are sums of few terms, for which float32 is enough
    dtype = vae.dtype if exact is None else torch.float64
    with judged(vae, x.to(dtype), c) as (model, rows):
        few = max(1, rows_at_once(model, rows, samples, memory) // 4)
        if model.likelihood.correlated:
            matrices = 8 * rows.x.element_size() * samples * rows.x[0].numel() ** 2
            few = max(1, min(few, memory // matrices))
        start = 0
        for part in pieces(rows.split(few), "sampling z given x"):
            end = start + len(part)
            if exact is not None:
                yield _solved(exact, part.x, start, end)
            else:
                yield _drawn(model, part, samples, seed, memory, start, end)
            start = end


def _solved(
    model: LinearGaussian | MixtureOfFactorAnalysers, x: Tensor, start: int, end: int
) -> Weighted:
    """Return what is known exactly."""
    if isinstance(model, LinearGaussian):
        model = MixtureOfFactorAnalysers(torch.ones(1, dtype=torch.float64), (model,))
    parts, share = model.parts, model.share
    loc = torch.stack([part.bias for part in parts]).to(x)
    covariance = torch.stack([part.covariance for part in parts]).to(x)
    shape = (1, len(x))
    log_weight = share.log().to(x).expand(*shape, len(parts))
    p = GivenNormals(log_weight, loc.expand(*shape, *loc.shape), covariance, x[None])
    infinite = x.new_full((len(x),), torch.inf)
    return Weighted(start, end, x.new_ones(shape), p, infinite, -infinite)


def _drawn(
    vae: VAE, x: Examples, samples: int, seed: int, memory: int, start: int, end: int
) -> Weighted:
    """Draw z of some rows."""
    source, _ = mixture(samples, vae, x, memory)
    keys, z = x.keys(), []
    for number, first in enumerate(range(0, samples, BLOCK)):
        z.append(source.draws(keys, min(BLOCK, samples - first), seed, number, x.x))
    drawn = torch.cat(z)
    decoded = x.decode(vae, drawn)
    terms = Terms(decoded.log_prob(x.x), drawn, x.prior(vae)(), source)
    log_weight = terms.log_weight.double()
    weight = log_weight.softmax(0)
    p = given_observed(decoded, x.x)
    tail = min(samples, 3 * int(samples**0.5) + 1)
    khat = pareto_shape(log_weight.topk(tail, 0).values, samples)
    return Weighted(start, end, weight, p, 1 / weight.square().sum(0), khat)
