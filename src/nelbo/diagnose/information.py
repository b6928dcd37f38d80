r"""Where the nats go: rate, distortion, and what of the rate is information.

.. math::
    -ELBO = R + D, \qquad R = E_x \, KL(q(z \mid x) \| p(z)) = I_q(x; z) + KL(q(z) \| p(z)), \qquad
    D = -E_x E_q \log p(x \mid z)

(Alemi et al., 2018; Hoffman & Johnson, 2016), with the aggregate posterior
:math:`q(z) = E_x q(z \mid x)`.
"""

from __future__ import annotations

__all__ = ["MutualInformation", "RateDistortion", "mutual_information", "rate_distortion"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ..brief import Brief
from ..data.units import Units
from ..distributions import DiagonalNormal, closed_form_kl, is_independent_normal
from ..evaluate import (
    BLOCK,
    MEMORY,
    Examples,
    Normal,
    encoder_source,
    from_encoder,
    judged,
    normals,
    rows_at_once,
    sampled_terms,
)
from ..vae import VAE
from ..watching import pieces
from .standard_error import Estimate, jackknife, log_density, mean


@dataclass(frozen=True, repr=False)
class RateDistortion(Brief):
    """The two parts of the ELBO (Alemi et al., 2018), in nats per row.

    Attributes:
        rate: R, the mean KL(q(z|x) || p(z)); exact for each row where it has a closed form.
        distortion: D, the mean -log p(x|z), in the units of the data.
        elbo: -(R + D).
        per_dimension: Mean KL of each latent dimension, of shape (latent_dim,); None unless q and p
            are diagonal normals.
    """

    rate: Estimate
    distortion: Estimate
    elbo: Estimate
    per_dimension: Tensor | None


@dataclass(frozen=True, repr=False)
class MutualInformation(Brief):
    r"""The rate's two parts (Hoffman & Johnson, 2016), each between two estimates, in nats.

    q(z) is taken to be the mixture of the n rows' own q(z|x). Where a row's own component is part
    of the mixture, I(x;z) comes out too low and never above log n; where it is left out, too high
    (Poole et al., 2019). Up to sampling noise the truth of the population is in between, and
    KL(q(z) || p(z)) is what I leaves of the rate.

    Attributes:
        lower, upper: Estimates of I(x;z) under q. ``upper`` is at most the rate.
        ceiling: log n. Where ``lower`` is within a nat of it, n rows cannot tell how large I is,
            only that it is large.
        kl_lower, kl_upper: Estimates of KL(q(z) || p(z)). Where p is a diagonal normal ``kl_lower``
            is at least the KL of a normal with the mean and covariance of q(z), which no q(z) with
            these falls below.
        mean, variance: Moments of q(z) in each dimension, of shape (latent_dim,); those of N(0, I)
            are 0 and 1.
    """

    lower: Estimate
    upper: Estimate
    ceiling: float
    kl_lower: Estimate
    kl_upper: Estimate
    mean: Tensor
    variance: Tensor

    @property
    def saturated(self) -> bool:
        """Whether log n rather than the model limits ``lower``."""
        return self.lower.value > self.ceiling - 1


def rate_distortion(
    vae: VAE,
    x: Tensor,
    samples: int = 16,
    units: Units | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
) -> RateDistortion:
    """Measure rate and distortion.

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units.
        samples: Draws of z for each row.
        units: Units of the data; None are the model's own.
        seed: The seed of the draws.
        memory: Bytes for intermediate results.
        c: Conditions (n, k), for a model of p(x|c).

    Raises:
        ValueError: The rows do not fit the model.
    """
    shift = log_density(units)
    with judged(vae, x, c) as (model, rows):
        rate, distortion = _row_rates(model, rows, samples, seed, memory)
        each = _per_dimension(model, rows)
        return RateDistortion(
            mean(rate), mean(distortion, -shift), mean(-(rate + distortion), shift), each
        )


def _row_rates(
    vae: VAE, x: Examples, samples: int, seed: int, memory: int
) -> tuple[Tensor, Tensor]:
    """Return KL(q(z|x) || p(z)), exact where it has a closed form, and the mean -log p(x|z),
    both (n,) and float64.
    """
    rate, distortion = [], []
    for part in pieces(
        x.split(rows_at_once(vae, x, min(samples, BLOCK), memory)), "rate and distortion"
    ):
        kl, sampled, found = closed_form_kl(part.encode(vae), vae.prior()), [], []
        for terms in sampled_terms(vae, part, encoder_source(vae, part), samples, seed, len(part)):
            sampled.append((terms.log_post - terms.log_prior).double())
            found.append(-terms.log_lik.double())
        if kl is None:
            kl = torch.cat(sampled).mean(0)
        rate.append(kl.double())
        distortion.append(torch.cat(found).mean(0))
    return torch.cat(rate).cpu(), torch.cat(distortion).cpu()


def _per_dimension(vae: VAE, x: Examples) -> Tensor | None:
    """Return the mean KL of each dimension, of shape (latent_dim,), between diagonal normals."""
    q, p = x.encode(vae), vae.prior()
    if not (is_independent_normal(q) and is_independent_normal(p)):
        return None
    spread, centre = (q.stddev / p.stddev).double(), ((q.loc - p.loc) / p.stddev).double()
    return (0.5 * (centre.square() + spread.square() - 1) - spread.log()).mean(0).cpu()


def mutual_information(
    vae: VAE,
    x: Tensor,
    samples: int = 4,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
) -> MutualInformation:
    """Split the rate into I(x;z) and KL(q(z) || p(z)).

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), at least 2.
        samples: Draws of z for each row that are held against all n components of q(z).
        seed: The seed of the draws.
        memory: Bytes for intermediate results.
        c: Conditions (n, k), for a model of p(x|c).

    Raises:
        ValueError: Rows that do not fit or fewer than 2.
    """
    if len(x) < 2:
        raise ValueError(f"x needs at least 2 rows for q(z) to be a mixture, got {len(x)}.")
    with judged(vae, x, c) as (model, rows):
        normal = from_encoder(model, rows)[0]
        components, z = _components(model, rows, samples, seed)
        own, other = _mixture(components, z)
        n = len(rows)
        rate = _row_rates(model, rows, samples, seed, memory)[0]
        own, other = own.cpu(), other.cpu()
        if not float(other.mean()) < float(rate.mean()):
            other = rate
        loc, scale = normal.loc.double(), normal.scale.double()
        centre = loc.mean(0)
        variance = loc.var(0, correction=0) + normal.marginal_std.double().square().mean(0)
        p = model.prior()
        kl_upper, kl_lower = mean(rate - own), mean(rate - other)
        if is_independent_normal(p):
            std = p.stddev.double()
            if normal.full:
                std = std.expand_as(p.loc)[:, None]
            scale = (scale / std).cpu()
            moments = _moment_bound(((loc - p.loc.double()) / std.flatten()).cpu(), scale)
            kl_lower = max(kl_lower, moments, key=lambda bound: bound.value)
        kl_lower = Estimate(max(kl_lower.value, 0.0), kl_lower.standard_error, n)
        return MutualInformation(
            mean(own), mean(other), math.log(n), kl_lower, kl_upper, centre.cpu(), variance.cpu()
        )


def _components(
    vae: VAE, x: Examples, samples: int, seed: int
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return the log-densities of each row's q(z|x) at given z, and draws of each,
    (samples, n, latent_dim), float64.

    The function takes z of shape (..., 1, latent_dim) and returns (..., n), in nats.
    """
    source = encoder_source(vae, x)
    if not isinstance(source, Normal):
        density = x.encode(vae).log_prob
        z = source.draws(x.keys(), samples, seed, 0, x.x)
        return lambda z: density(z.to(x.x)).double(), z.double()
    loc, scale = source.loc.double(), source.scale.double()
    u = normals(x.keys(), samples, vae.latent_dim, seed, 0, x.x).double()
    if source.full:
        full = MultivariateNormal(loc, scale_tril=scale, validate_args=False)
        return full.log_prob, Normal(loc, scale).from_noise(u)
    return DiagonalNormal(loc, scale).log_prob, loc + scale * u


def _mixture(
    log_prob: Callable[[Tensor], Tensor], z: Tensor, numbers: int = 2**23
) -> tuple[Tensor, Tensor]:
    """Return log q(z|x) - log q(z) of each row, (n,), with and without the row's own component in
    q(z), ``numbers`` of the table (z, components, latent_dim) at a time.
    """
    samples, n, d = z.shape
    own, other = [], []
    together = max(1, numbers // (n * d * samples))
    for index in torch.arange(n, device=z.device).split(together):
        table = log_prob(z[:, index, None])  # (samples, rows, components)
        mine = index[None, :, None].expand(samples, -1, 1)
        itself = table.gather(2, mine)[..., 0]
        own.append((itself - table.logsumexp(2) + math.log(n)).mean(0))
        rest = table.scatter(2, mine, -math.inf).logsumexp(2)
        other.append((itself - rest + math.log(n - 1)).mean(0))
    return torch.cat(own), torch.cat(other)


def _moment_bound(loc: Tensor, scale: Tensor) -> Estimate:
    """Return KL(N(m, S) || N(0, I)) with the mean and covariance of q(z),
    less what n rows alone would show, about.
    """

    def within(rows: Tensor) -> Tensor:
        if scale.ndim > loc.ndim:
            return (scale[rows] @ scale[rows].mT).mean(0)
        return torch.diag(scale[rows].square().mean(0))

    def statistic(rows: Tensor) -> float:
        n, d = len(rows), loc.shape[1]
        middle = loc[rows].mean(0)
        centred = loc[rows] - middle
        covariance = centred.T @ centred / n + within(rows)
        kl = 0.5 * (
            covariance.trace()
            + middle.square().sum()
            - d
            - torch.linalg.slogdet(covariance).logabsdet
        )
        return float(kl) - d * (d + 3) / (4 * n)

    return jackknife(statistic, len(loc))
