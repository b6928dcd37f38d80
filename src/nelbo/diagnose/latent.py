"""Which latent dimensions carry information, and how many could."""

from __future__ import annotations

__all__ = ["ActiveUnits", "Collapse", "active_units", "collapse"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..brief import Brief
from ..data.rows import Batch
from ..evaluate import Examples, judged
from ..linear import Regression
from ..vae import VAE


@dataclass(frozen=True, repr=False)
class ActiveUnits(Brief):
    """Which latent dimensions carry information.

    Attributes:
        variance: Variance of each posterior mean over the data, of shape (latent_dim,); the prior's
            is 1.
        active: Whether each exceeds the threshold, 0.01 unless told.
    """

    variance: Tensor
    active: Tensor

    @property
    def count(self) -> int:
        """How many dimensions are active."""
        return int(self.active.sum())


@torch.no_grad()
def active_units(
    vae: VAE,
    x: Tensor,
    chunk: int = 4096,
    threshold: float = 0.01,
    c: Tensor | None = None,
) -> ActiveUnits:
    """Count the active units, those with Var_x(E_q[z_u]) > ``threshold`` (Burda et al., 2016).

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units.
        chunk: Rows encoded at once.
        threshold: The variance above which a latent dimension is active; the authors have 0.01.
        c: Conditions (n, k), for a model of p(x|c).
    """
    if c is not None:
        c = c.to(vae.device, vae.dtype)
    parts = Batch(x.to(vae.device, vae.dtype), c).split(chunk)
    means = torch.cat([vae.encode(part.x, part.c).mean for part in parts])
    variance = means.double().var(0, correction=0)
    return ActiveUnits(variance, variance > threshold)


@dataclass(frozen=True)
class Collapse:
    r"""How many latent dimensions are in use, beside how many a linear model would use.

    In probabilistic PCA a direction of the data is worth a latent dimension exactly if its variance
    exceeds :math:`\beta^2` (Lucas et al., 2019): more noise than that, and the best q(z|x) is the
    prior.

    Attributes:
        active: Active units.
        latent_dim: How many units there are.
        useful: Directions, at most latent_dim, that stand out of the data's own noise; None if x is
            not Gaussian.
        supported: Directions, at most latent_dim, that vary more than the model's :math:`\beta^2`;
            None likewise.
        rows: Rows behind all of these.
    """

    active: int
    latent_dim: int
    useful: int | None
    supported: int | None
    rows: int


def collapse(vae: VAE, x: Tensor, c: Tensor | None = None) -> Collapse:
    r"""Count active units, and the directions of x that deserve one,
    with and without the model's :math:`\beta^2`.

    Directions are useful, the largest first, as long as an eigenvalue exceeds what n rows of noise
    alone would show, of the mean variance of this and all smaller ones, once in a hundred times
    (Johnstone, 2001).

    Arguments:
        vae: The model.
        x: Rows of shape (n, *vae.shape), in model units.
        c: Conditions (n, k), for a model of p(x|c): then directions are those of what a linear
            regression on c leaves.

    Raises:
        ValueError: Rows that do not fit.
    """
    with judged(vae, x, c) as (model, rows):
        active = active_units(model, rows.x, c=rows.c).count
        std = noise_level(model, rows)
        useful = supported = None
        if std is not None:
            useful, supported = _directions(left_by(rows), std, model.latent_dim)
        return Collapse(active, model.latent_dim, useful, supported, len(rows))


def left_by(rows: Examples) -> Tensor:
    """Return rows (n, D), float64, less what a linear regression on their conditions says; a value
    that is missing is the mean of its column, of which directions have no more than the data.
    """
    x = rows.x.flatten(1).double()
    gone = x.isnan()
    if bool(gone.any()):
        x = torch.where(gone, x.nanmean(0).nan_to_num(0.0), x)
    if rows.c is None:
        return x
    return Regression.of(x, rows.c).residual(x.cpu(), rows.c.cpu()).to(x.device)


def noise_level(vae: VAE, x: Examples) -> Tensor | None:
    r"""Return :math:`\beta` of each feature, (D,), float64 and in model units,
    or None if p(x|z) is not Gaussian.

    Where it depends on z it is the root mean square over the posterior means of the rows.
    """
    total = torch.zeros(math.prod(vae.shape), dtype=torch.float64, device=x.device)
    means = x.encode(vae).mean
    for part, z in zip(x.split(512), means.split(512), strict=True):
        p: Distribution = part.decode(vae, z)
        beta = vae.likelihood.beta(p)
        if beta is None:
            return None
        total += beta.square().flatten(1).double().sum(0)
    return (total / len(x)).sqrt()


def _directions(x: Tensor, std: Tensor, latent_dim: int) -> tuple[int, int]:
    """Count eigenvalues of the data, where the model's noise is 1,
    above the data's own noise and above 1.
    """
    n, features = len(x), len(std)
    whitened = x.flatten(1).double() / std
    # Singular values of n rows need no covariance matrix, which many pixels would make large.
    values = torch.linalg.svdvals(whitened - whitened.mean(0)).square() / n
    useful, most = 0, min(latent_dim, len(values), features - 1)
    while useful < most:
        left = features - useful
        if not values[useful] > values[useful:].sum() / left * _largest(n, left):
            break
        useful += 1
    return useful, int((values[:latent_dim] > 1).sum())


def _largest(n: int, features: int, quantile: float = 2.02) -> float:
    """Return the largest eigenvalue that the covariance of n rows of unit noise has once
    in a hundred times.

    Arguments:
        n: Rows.
        features: Values of a row.
        quantile: The 99 % quantile of the Tracy-Widom law for real data, which the largest
            eigenvalues of noise follow (Johnstone, 2001).
    """
    a, b = math.sqrt(max(n - 1, 1)), math.sqrt(features)
    return float((a + b) ** 2 + quantile * (a + b) * (1 / a + 1 / b) ** (1 / 3)) / n
